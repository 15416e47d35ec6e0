// 1x1 convolutions without stride, padding or groups: matrix products with one row per pixel.
#pragma once

#include "kernels/batch_norm.h"
#include "kernels/conv_shape.h"
#include "kernels/kernel_input.h"

namespace ppzoo {

// Whether the functions below compute this convolution.
bool pointwise(const ConvShape& shape);
// `bias` can be null.
void pointwise_convolve(const ConvShape& shape, const float* x, const float* weights, const float* bias, float* y);
// Writes y and returns the statistics of its channels.
Statistics pointwise_convolve_statistics(const ConvShape& shape, const KernelInput& x, const float* weights, float* y);
void pointwise_input_gradient(const ConvShape& shape, const float* weights, const float* dy, float* dx);
// With `add`, the result is added to dweights.
void pointwise_weight_gradient(const ConvShape& shape, const float* x, const float* dy, bool add, float* dweights);
// Second pass of the batch norm after the convolution, fused with the convolution's gradients. `raw`: the convolution's
// output; `dy`: the gradient of the norm's output. `dx` can be null.
void pointwise_gradients(const ConvShape& shape, const NormGradient& gradient, Activation activation, const float* x,
                         const float* weights, const float* raw, const float* dy, float* dx, float* dweights);
// The same, where `x` is normalized, and fused with the first pass of `before`, the norm that computes x from x.data.
void pointwise_gradients_between(const ConvShape& shape, const NormGradient& gradient, Activation activation,
                                 NormGradient& before, const KernelInput& x, const float* weights, const float* raw,
                                 const float* dy, float* dx, float* dweights);
// The weights' gradient, fused with the first pass of `before`, the batch norm (with `activation`) that computes the
// convolution's input from `raw`. `dy`: the gradient of the convolution's output.
void pointwise_gradients_to(NormGradient& before, Activation activation, const ConvShape& shape, const float* raw,
                            const float* weights, const float* dy, float* dweights);

}  // namespace ppzoo
