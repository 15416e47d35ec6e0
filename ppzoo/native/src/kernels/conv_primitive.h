// One pass of a convolution as a primitive of oneDNN, in float32 or bfloat16.
#pragma once

#include <vector>

#include "kernels/conv_shape.h"

namespace ppzoo {

enum class Pass { kForward, kInputGradient, kWeightGradient };

// The type of images and of their gradients. Weights, their gradients and biases are float32 with both precisions.
enum class Precision { kFloat32, kBfloat16 };

// `data`: the tensors in the following order.
//   kForward: x, weights, y (written), and the bias if `bias` is true;
//   kInputGradient: dx (written), weights, dy;
//   kWeightGradient: x, dweights (written), dy.
void run_convolution(const ConvShape& shape, Pass pass, Precision precision, bool bias,
                     const std::vector<const void*>& data);

}  // namespace ppzoo
