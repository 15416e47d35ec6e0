// Matrix products on one thread, small enough to be fused into loops over the rows of channels-last tensors.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace ppzoo {

// Rows of products that are summed in registers at a time, and columns of a packed panel.
#ifdef __AVX512VL__
constexpr int64_t kTileRows = 12, kLanes = 16;
#else
constexpr int64_t kTileRows = 6, kLanes = 8;
#endif
constexpr int64_t kPanel = 2 * kLanes;
// Terms of a sum that are added up one after the other; longer sums are sums of such sums.
constexpr int64_t kDepth = 256;

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
typedef float Half __attribute__((vector_size(kLanes / 2 * sizeof(float))));

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

// The same for the first `count` lanes; the others are zero, and stay as they are.
template <class V = Vector>
V load_first(int64_t count, const float* from) {
#ifdef __AVX512VL__
  const auto lanes = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (sizeof(V) == 64) return _mm512_maskz_loadu_ps(lanes, from);
  if constexpr (sizeof(V) == 32) return _mm256_maskz_loadu_ps(static_cast<__mmask8>(lanes), from);
#endif
  V loaded{};
  std::memcpy(&loaded, from, sizeof(float) * count);
  return loaded;
}

template <class V>
void store_first(int64_t count, V value, float* to) {
#ifdef __AVX512VL__
  const auto lanes = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (sizeof(V) == 64) return _mm512_mask_storeu_ps(to, lanes, value);
  if constexpr (sizeof(V) == 32) return _mm256_mask_storeu_ps(to, static_cast<__mmask8>(lanes), value);
#endif
  std::memcpy(to, &value, sizeof(float) * count);
}

inline int64_t round_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

// A matrix (depth x columns) packed into panels for `multiply`; element (k, j) lies at
// b[k * row_step + j * column_step].
inline int64_t packed_size(int64_t depth, int64_t columns) { return depth * round_up(columns, kLanes); }
// Where a vector of kLanes columns from `column`, a multiple of kLanes, of row k lies in it.
inline int64_t packed_place(int64_t k, int64_t column, int64_t depth, int64_t columns) {
  const int64_t start = k / kDepth * kDepth, length = depth - start < kDepth ? depth - start : kDepth;
  const int64_t panel = column / kPanel * kPanel, left = round_up(columns, kLanes) - panel;
  const int64_t width = left < kPanel ? left : kPanel;
  return start * round_up(columns, kLanes) + panel * length + (k - start) * width + (column - panel);
}
void pack(const float* b, int64_t row_step, int64_t column_step, int64_t depth, int64_t columns, float* panels);

// c (rows x columns) = or += a (rows x depth) b, with b packed; rows of a and c are a_step and c_step elements apart.
void multiply(const float* a, int64_t a_step, const float* panels, int64_t rows, int64_t depth, int64_t columns,
              float* c, int64_t c_step, bool add);

// c (a_columns x b_columns) = or += the transpose of a (rows x a_columns) times b (rows x b_columns); rows of c are
// c_step elements apart.
void multiply_transposed(const float* a, int64_t a_columns, const float* b, int64_t b_columns, int64_t rows, bool add,
                         float* c, int64_t c_step);

}  // namespace ppzoo
