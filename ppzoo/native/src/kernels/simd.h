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

#if defined(__AVX__) && !defined(__AVX512VL__)
// kLanes times -1, then kLanes times 0. The kLanes elements from index kLanes - n on are the mask of the first n lanes.
alignas(64) inline constexpr int32_t kLaneMasks[2 * kLanes] = {-1, -1, -1, -1, -1, -1, -1, -1};
#endif

// Returns the first `count` lanes; the others are zero. Uses masked loads if the processor has them: a call of memcpy
// in an inner loop would write all vectors that are in registers to memory.
template <class V = Vector>
V load_partial(int64_t count, const float* from) {
#if defined(__AVX512VL__)
  const auto lanes = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (sizeof(V) == 64) return _mm512_maskz_loadu_ps(lanes, from);
  if constexpr (sizeof(V) == 32) return _mm256_maskz_loadu_ps(static_cast<__mmask8>(lanes), from);
#elif defined(__AVX__)
  const auto* mask = reinterpret_cast<const __m256i_u*>(kLaneMasks + kLanes - count);
  if constexpr (sizeof(V) == 32) return _mm256_maskload_ps(from, _mm256_loadu_si256(mask));
  if constexpr (sizeof(V) == 16) return _mm_maskload_ps(from, _mm256_castsi256_si128(_mm256_loadu_si256(mask)));
#endif
  V loaded{};
  std::memcpy(&loaded, from, sizeof(float) * count);
  return loaded;
}

// Stores the first `count` lanes and leaves the memory behind them unchanged.
template <class V>
void store_partial(int64_t count, V value, float* to) {
#if defined(__AVX512VL__)
  const auto lanes = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (sizeof(V) == 64) return _mm512_mask_storeu_ps(to, lanes, value);
  if constexpr (sizeof(V) == 32) return _mm256_mask_storeu_ps(to, static_cast<__mmask8>(lanes), value);
#elif defined(__AVX__)
  if (count * sizeof(float) == sizeof(V)) return store(value, to);  // masked stores are slow on some processors
  const auto* mask = reinterpret_cast<const __m256i_u*>(kLaneMasks + kLanes - count);
  if constexpr (sizeof(V) == 32) return _mm256_maskstore_ps(to, _mm256_loadu_si256(mask), value);
  if constexpr (sizeof(V) == 16) {
    return _mm_maskstore_ps(to, _mm256_castsi256_si128(_mm256_loadu_si256(mask)), value);
  }
#endif
  std::memcpy(to, &value, sizeof(float) * count);
}

}  // namespace ppzoo
