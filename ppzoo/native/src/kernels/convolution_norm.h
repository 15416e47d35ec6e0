// A convolution without bias followed by batch norm in training.
#pragma once

#include "kernels/batch_norm.h"
#include "kernels/conv_shape.h"

namespace ppzoo {

// Writes the convolution's result, `raw`, and returns the statistics of its channels.
Statistics convolve_statistics(const ConvShape& s, const float* x, const float* weights, float* raw);
// The second pass of the norm's gradient: writes the gradients of the convolution's input and weights. `dy`: the
// gradient of the norm's output. `dx` can be null.
void convolve_norm_gradients(const ConvShape& s, const NormGradient& gradient, const float* x, const float* weights,
                             const float* raw, const float* dy, Activation activation, float* dx, float* dweights);

}  // namespace ppzoo
