// bfloat16 values: the upper half of a float. bfloat16_simd.h computes with them.
#pragma once

#include <cstdint>
#include <type_traits>

namespace ppzoo {

struct Bfloat16 {
  uint16_t bits;
};

// The type T, for parameters from which T is not deduced because they can be nullptr.
template <class T>
using Exactly = std::common_type_t<T>;

// y = x, rounded to nearest with ties to even.
void round_values(const float* x, int64_t count, Bfloat16* y);
// y = x, which is exact.
void widen_values(const Bfloat16* x, int64_t count, float* y);

}  // namespace ppzoo
