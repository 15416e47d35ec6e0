// A convolution without bias followed by batch norm in training. T is the type of the images, float or Bfloat16.
#pragma once

#include "kernels/batch_norm.h"
#include "kernels/conv_shape.h"

namespace ppzoo {

// Writes the convolution's result, `raw`, and returns the statistics of its channels.
template <class T>
Statistics convolve_statistics(const ConvShape& s, const T* x, const float* weights, T* raw);
// The second pass of the norm's gradient: writes the gradients of the convolution's input and weights. `dy`: the
// gradient of the norm's output. `dx` can be null.
template <class T>
void convolve_norm_gradients(const ConvShape& s, const NormGradient& gradient, const T* x, const float* weights,
                             const T* raw, const T* dy, Activation activation, Exactly<T>* dx, float* dweights);

}  // namespace ppzoo
