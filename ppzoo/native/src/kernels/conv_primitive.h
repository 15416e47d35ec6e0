// One pass of a convolution as a primitive of oneDNN, in float32 or bfloat16.
#pragma once

#include <vector>

#include "kernels/conv_shape.h"

namespace ppzoo {

enum class Pass { kForward, kInputGradient, kWeightGradient };

// The type of images and of their gradients. Weights, their gradients and biases are float32 in both.
enum class Precision { kFloat32, kBfloat16 };

// `data`: kForward reads x and weights, writes y, reads the bias if `bias`; kInputGradient writes dx, reads weights and
// dy; kWeightGradient reads x, writes dweights, reads dy; all in this order.
void run_convolution(const ConvShape& shape, Pass pass, Precision precision, bool bias,
                     const std::vector<const void*>& data);

}  // namespace ppzoo
