// Vectors of float32 values: GCC's vector extension, as wide as the processor's registers.
//
// Without AVX the code still compiles, with two registers for a vector. Only x86-64 with AVX2 is tested.
#pragma once

#ifdef __AVX__
// GCC 12 warns about the intentionally undefined operands inside its intrinsics header (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

#include <cstdint>
#include <cstring>

namespace ppzoo {

#ifdef __AVX512VL__
constexpr int64_t kLanes = 16;
#else
constexpr int64_t kLanes = 8;
#endif

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
typedef float HalfVector __attribute__((vector_size(kLanes / 2 * sizeof(float))));

template <class V = Vector>
V load(const float* from) {
  V loaded;
  std::memcpy(&loaded, from, sizeof loaded);
  return loaded;
}

template <class V>
void store(V value, float* to) {
  std::memcpy(to, &value, sizeof value);
}

// The first `count` lanes; the others are zero.
template <class V = Vector>
V load_partial(int64_t count, const float* from) {
#ifdef __AVX512VL__
  const auto lanes = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (sizeof(V) == 64) return _mm512_maskz_loadu_ps(lanes, from);
  if constexpr (sizeof(V) == 32) return _mm256_maskz_loadu_ps(static_cast<__mmask8>(lanes), from);
#endif
  V loaded{};
  std::memcpy(&loaded, from, sizeof(float) * count);
  return loaded;
}

// Stores the first `count` lanes and leaves the memory behind them unchanged.
template <class V>
void store_partial(int64_t count, V value, float* to) {
#ifdef __AVX512VL__
  const auto lanes = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (sizeof(V) == 64) return _mm512_mask_storeu_ps(to, lanes, value);
  if constexpr (sizeof(V) == 32) return _mm256_mask_storeu_ps(to, static_cast<__mmask8>(lanes), value);
#endif
  std::memcpy(to, &value, sizeof(float) * count);
}

}  // namespace ppzoo
