// Sums of two tensors, with an activation or with one factor per image, and column sums. The element type T is float or
// Bfloat16; sums are computed in float. Results can be in the memory of an argument.
#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/bfloat16.h"

namespace ppzoo {

// y = activation(x + z). `z` can be null.
template <class T>
void add_activate(const T* x, const Exactly<T>* z, Activation activation, int64_t count, T* y);
// dx = dz = dy activation'(x + z). `z` and `dz` can be null.
template <class T>
void add_activate_gradient(const T* x, const Exactly<T>* z, const T* dy, Activation activation, int64_t count, T* dx,
                           Exactly<T>* dz);
// y = x + factor z, for images of `size` elements.
template <class T>
void add_scaled(const T* x, const T* z, const float* factors, int64_t images, int64_t size, T* y);
// dx = dy, and dz = factor dy, for images of `size` elements.
template <class T>
void add_scaled_gradient(const T* dy, const float* factors, int64_t images, int64_t size, T* dx, T* dz);
// The sums of the columns of x (rows x columns), computed in double. With `add`, they are added to `sums`.
template <class T>
void sum_rows(const T* x, int64_t rows, int64_t columns, bool add, float* sums);

}  // namespace ppzoo
