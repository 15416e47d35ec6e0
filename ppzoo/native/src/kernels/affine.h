// multiplier x + addend with two numbers for the whole tensor: the learnable affine block of PP-HGNetV2. After a
// convolution with batch norm it is fused instead (`Affine` in batch_norm.h).
#pragma once

#include <cstdint>
#include <type_traits>

namespace ppzoo {

// y = multiplier x + addend. The element type T is float or Bfloat16.
template <class T>
void affine(const T* x, float multiplier, float addend, int64_t count, T* y);
// dx = multiplier dy; the gradients of the two numbers are the sums of dy x and dy.
template <class T>
void affine_gradient(const T* x, const T* dy, float multiplier, int64_t count, T* dx, float* dmultiplier,
                     float* daddend);

// Calls body(std::true_type()) if `is_used`, that is, if there is an affine block. Else calls body(std::false_type()),
// for code without the arithmetic of an affine block.
template <class Body>
void dispatch_affine(bool is_used, const Body& body) {
  if (is_used) return body(std::true_type());
  body(std::false_type());
}

}  // namespace ppzoo
