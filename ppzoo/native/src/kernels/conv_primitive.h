// One pass of a convolution as a primitive of oneDNN, in float32 or bfloat16.
#pragma once

#include "kernels/conv_shape.h"

namespace ppzoo {

// The type of images and of their gradients. Weights, their gradients and biases are float32 with both precisions.
enum class Precision { kFloat32, kBfloat16 };

// y = conv(x, weights) + bias. `bias` can be null.
void onednn_convolve(const ConvShape& shape, Precision precision, const void* x, const float* weights,
                     const float* bias, void* y);
// Writes dx, the gradient of the input, from dy.
void onednn_input_gradient(const ConvShape& shape, Precision precision, const float* weights, const void* dy, void* dx);
// Writes dweights from dy.
void onednn_weight_gradient(const ConvShape& shape, Precision precision, const void* x, const void* dy,
                            float* dweights);

}  // namespace ppzoo
