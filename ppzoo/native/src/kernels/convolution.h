// 2-D convolution: chooses a kernel by the geometry (1x1, depthwise, Winograd, else oneDNN).
#pragma once

#include "kernels/conv_shape.h"

namespace ppzoo {

// y = conv(x, weights) + bias. `bias` can be null.
void convolve(const ConvShape& shape, const float* x, const float* weights, const float* bias, float* y);
// Writes dx, the gradient of the input, from dy. With `add`, adds it to dx instead.
void convolve_input_gradient(const ConvShape& shape, const float* weights, const float* dy, float* dx,
                             bool add = false);
// Writes dweights from dy. With `add`, adds to it instead.
void convolve_weight_gradient(const ConvShape& shape, const float* x, const float* dy, bool add, float* dweights);

}  // namespace ppzoo
