// Vectors of bfloat16 values: kernels load them as floats, compute in float, and round when they store.
//
// The pointer's type selects the function: load(x), store(value, y), load_partial and store_partial exist for `float`
// (simd.h) and for `Bfloat16`, so that a template of the element type computes in both precisions. As simd.h, this file
// is for kernels only: files in ops/ are compiled for shorter vectors.
#pragma once

#include <cstring>

#include "kernels/bfloat16.h"
#include "kernels/simd.h"

namespace ppzoo {

typedef uint16_t HalfWords __attribute__((vector_size(kLanes * sizeof(uint16_t))));
typedef uint32_t Words __attribute__((vector_size(kLanes * sizeof(uint32_t))));

inline Vector to_floats(HalfWords halves) {
  Vector values;
#ifdef __AVX512VL__
  // GCC 12 and 13 compile the conversion below to five instructions.
  __m256i packed;
  std::memcpy(&packed, &halves, sizeof packed);
  const __m512i words = _mm512_slli_epi32(_mm512_cvtepu16_epi32(packed), 16);
#else
  const Words words = __builtin_convertvector(halves, Words) << 16;
#endif
  std::memcpy(&values, &words, sizeof values);
  return values;
}

// Rounds to the nearest value, ties to even. NaN stays NaN.
inline HalfWords to_halves(Vector values) {
  HalfWords halves;
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
  const __m256bh rounded = _mm512_cvtneps_pbh(values);
  std::memcpy(&halves, &rounded, sizeof halves);
#else
  Words words;
  std::memcpy(&words, &values, sizeof words);
  const Words rounded = (words + 0x7fff + ((words >> 16) & 1)) >> 16, quiet = (words >> 16) | 0x40;
  halves = __builtin_convertvector(values == values ? rounded : quiet, HalfWords);
#endif
  return halves;
}

inline Vector load(const Bfloat16* from) {
  HalfWords halves;
  std::memcpy(&halves, from, sizeof halves);
  return to_floats(halves);
}

inline void store(Vector values, Bfloat16* to) {
  const HalfWords halves = to_halves(values);
  std::memcpy(to, &halves, sizeof halves);
}

// Returns the first `count` lanes; the others are zero.
inline Vector load_partial(int64_t count, const Bfloat16* from) {
  HalfWords halves{};
  std::memcpy(&halves, from, sizeof(Bfloat16) * count);
  return to_floats(halves);
}

// Stores the first `count` lanes and leaves the memory behind them unchanged.
inline void store_partial(int64_t count, Vector values, Bfloat16* to) {
  const HalfWords halves = to_halves(values);
  std::memcpy(to, &halves, sizeof(Bfloat16) * count);
}

}  // namespace ppzoo
