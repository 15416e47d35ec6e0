// Depthwise convolutions of bfloat16 images with float32 weights, which are not rounded. See depthwise.h.
#pragma once

#include "kernels/batch_norm.h"
#include "kernels/bfloat16.h"
#include "kernels/conv_shape.h"

namespace ppzoo {

// The input: a tensor, or its values after `norm`, which are computed when they are read and are not rounded.
struct Bfloat16Input {
  const Bfloat16* data;
  const Normalizer* norm = nullptr;
};

// The gradient of the convolution's output: a tensor, or, with `norm`, computed from the gradient `dy` of the norm's
// output and from the convolution's output `raw`.
struct Bfloat16OutputGradient {
  const Bfloat16* dy;
  const NormGradient* norm = nullptr;
  Activation activation = Activation::kNone;
  const Bfloat16* raw = nullptr;
};

// Where the gradients are written. `dx` and `dweights` can be null. With `add`, the weight gradient is added to
// `dweights`. With `norm` (the norm of the input), dx is the gradient of the argument of that norm's activation
// ("masked" in batch_norm.h), and is also added to the first pass of the norm.
struct Bfloat16DepthwiseGradients {
  Bfloat16* dx;
  float* dweights;
  bool add = false;
  NormGradient* norm = nullptr;
  Activation activation = Activation::kNone;
};

// All functions need a shape for which `depthwise` (depthwise.h) is true.
// Writes y. With `moments`, also adds the rows of y to it.
void bfloat16_depthwise_convolve(const ConvShape& shape, const Bfloat16Input& x, const float* weights, Bfloat16* y,
                                 Moments* moments = nullptr);
// Writes y and returns the statistics of its channels.
Statistics bfloat16_depthwise_statistics(const ConvShape& shape, const Bfloat16Input& x, const float* weights,
                                         Bfloat16* y);
// `weights` are only read for dx, and `x` only for dweights and `to.norm`.
void bfloat16_depthwise_gradients(const ConvShape& shape, const Bfloat16Input& x, const float* weights,
                                  const Bfloat16OutputGradient& gradient, const Bfloat16DepthwiseGradients& to);

}  // namespace ppzoo
