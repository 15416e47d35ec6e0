// Depthwise convolutions: one filter per channel.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/batch_norm.h"
#include "kernels/conv_shape.h"
#include "kernels/kernel_input.h"

namespace ppzoo {

// Whether the functions below compute this convolution: it needs at least one vector of channels.
bool depthwise(const ConvShape& shape);
void depthwise_convolve(const ConvShape& shape, const float* x, const float* weights, const float* bias, float* y);
// Writes y and returns the statistics of its channels.
Statistics depthwise_convolve_statistics(const ConvShape& shape, const KernelInput& x, const float* weights, float* y);
void depthwise_input_gradient(const ConvShape& shape, const float* weights, const float* dy, float* dx);
void depthwise_weight_gradient(const ConvShape& shape, const float* x, const float* dy, bool add, float* dweights);
// Second pass of the batch norm after the convolution, fused with the convolution's gradients. `raw`: the convolution's
// output; `dy`: the gradient of the norm's output. `dx` can be null.
void depthwise_gradients(const ConvShape& shape, const NormGradient& gradient, Activation activation, const float* x,
                         const float* weights, const float* raw, const float* dy, float* dx, float* dweights);

// How a fused kernel provides the gradient of the convolution's output and consumes that of its input, row by row.
struct RowCallbacks {
  // load_row(thread, image, row, to): writes a row of the output's gradient.
  std::function<void(int, int64_t, int64_t, float*)> load_row;
  // row_buffer(thread, first): returns where the row of the input's gradient that begins with pixel `first` is written.
  std::function<float*(int, int64_t)> row_buffer;
  // row_done(thread, first, raw): called after that row was written; `raw` is the same row of the input before its
  // norm.
  std::function<void(int, int64_t, const float*)> row_done;
};
void depthwise_gradients(const ConvShape& shape, const KernelInput& x, const float* weights, const RowCallbacks& rows,
                         float* dweights);

}  // namespace ppzoo
