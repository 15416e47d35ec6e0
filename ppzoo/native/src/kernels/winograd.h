// 3x3 convolutions without stride by the Winograd algorithm.
#pragma once

#include "kernels/conv_shape.h"

namespace ppzoo {

// Whether the functions below compute this convolution, and with fewer products than the direct sum.
bool winograd(const ConvShape& shape);
// `bias` can be null. With `add`, the result is added to dx or dweights.
void winograd_convolve(const ConvShape& shape, const float* x, const float* weights, const float* bias, float* y);
void winograd_input_gradient(const ConvShape& shape, const float* weights, const float* dy, bool add, float* dx);
void winograd_weight_gradient(const ConvShape& shape, const float* x, const float* dy, bool add, float* dweights);

}  // namespace ppzoo
