// 2-D convolution of bfloat16 images with float32 weights. Geometries as in convolution.h.
#pragma once

#include "kernels/bfloat16.h"
#include "kernels/conv_shape.h"

namespace ppzoo {

// y = conv(x, weights) + bias, with the weights rounded to bfloat16. `bias` can be null.
void convolve(const ConvShape& shape, const Bfloat16* x, const float* weights, const float* bias, Bfloat16* y);
// Writes dx, the gradient of the input, from dy, with the weights rounded to bfloat16.
void convolve_input_gradient(const ConvShape& shape, const float* weights, const Bfloat16* dy, Bfloat16* dx);
// Writes dweights from dy, in float32. With `add`, adds to it instead.
void convolve_weight_gradient(const ConvShape& shape, const Bfloat16* x, const Bfloat16* dy, bool add, float* dweights);

}  // namespace ppzoo
