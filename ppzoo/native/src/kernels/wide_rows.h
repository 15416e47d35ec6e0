// Code that the passes of batch norm (moments.cc, batch_norm.cc, norm_sum.cc) and of squeeze-and-excitation share: the
// loop over a channels-last matrix.
//
// Layout: an NHWC tensor is a matrix of `rows` pixels x `channels` columns. If there are few channels, several pixels
// are read as one wide row (WideRows), so that the inner loops fill vectors; per-channel constants are repeated.
//
// Loop nest of every pass (for_strips): blocks of rows that stay in the L1 cache -> strips of two vectors of columns,
// whose constants and sums stay in registers -> the rows of the block. Parallel over rows, with one sum per thread.
// Passes that other kernels fuse into their own loop, and call for a few rows at a time, are [[gnu::flatten]]: without
// it each strip would be a function call.
//
// Accuracy: sums are computed in float within a block of at most kFloatSumRows wide rows and in double across blocks
// and threads; for small tensors in double throughout.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/bfloat16_simd.h"
#include "kernels/parallel.h"
#include "kernels/simd.h"

namespace ppzoo {

// Wide rows that are summed in float before the sum is added to a double.
inline constexpr int64_t kFloatSumRows = 64;
// Elements of a block: they stay in the L1 cache while the block is read strip by strip.
inline constexpr int64_t kStripElements = 4096;
// Minimum number of wide rows of a block: each strip of a block adds overhead.
inline constexpr int64_t kMinStripRows = 16;
// Tensors of at most this size are summed in double throughout, which costs little there.
inline constexpr int64_t kDoubleSumElements = 1 << 15;

// Reads a matrix as wide rows of `width` elements, each of which is one or more pixels. The last one can be shorter.
struct WideRows {
  int64_t channels, width, elements;

  WideRows(int64_t rows, int64_t columns) : channels(columns), elements(rows * columns) {
    int64_t pixels = 1;
    while (columns > 0 && (columns * pixels < 64 || columns * pixels % 16 != 0)) ++pixels;
    width = columns * pixels;
  }
  std::vector<float> repeat(const std::vector<float>& values) const {
    std::vector<float> wide(width);
    for (int64_t i = 0; i < width; i += channels) std::copy(values.begin(), values.end(), wide.begin() + i);
    return wide;
  }
};

// A strip of adjacent vectors.
template <int kVectors>
struct FullVectors {
  static constexpr int kCount = kVectors;
  template <class T>
  Vector load(const T* from) const {
    return ppzoo::load(from);
  }
  template <class T>
  void store(Vector value, T* to) const {
    ppzoo::store(value, to);
  }
};

// A strip of one vector, of which the first `length` lanes are used.
struct PartialVector {
  static constexpr int kCount = 1;
  int64_t length;
  template <class T>
  Vector load(const T* from) const {
    return load_partial(length, from);
  }
  template <class T>
  void store(Vector value, T* to) const {
    store_partial(length, value, to);
  }
};

// The constants of the columns of a strip, which stay in registers.
template <class Strip>
struct Constants {
  Constants(const Strip& strip, const std::vector<float>& wide, int64_t first) {
    for (int v = 0; v < Strip::kCount; ++v) values[v] = strip.load(&wide[first + v * kLanes]);
  }
  Vector operator[](int v) const { return values[v]; }
  Vector values[Strip::kCount];
};

// Calls body(strip, first, begin, end) for blocks [begin, end) of wide rows and, in each, for strips of columns that
// begin with column `first`. Blocks have at least `min_rows` rows if the matrix does.
template <class Body>
void for_strips(const WideRows& wide, const Body& body, int64_t min_rows = kMinStripRows) {
  if (wide.elements <= 0) return;
  const int64_t full = wide.elements / wide.width, rest = wide.elements % wide.width;
  const int64_t rows = std::clamp<int64_t>(kStripElements / wide.width, min_rows, kFloatSumRows);
  for (int64_t begin = 0; begin < full; begin += rows) {
    const int64_t end = std::min(begin + rows, full);
    int64_t first = 0;
    for (; first + 2 * kLanes <= wide.width; first += 2 * kLanes) body(FullVectors<2>(), first, begin, end);
    if (first < wide.width) body(FullVectors<1>(), first, begin, end);
  }
  int64_t first = 0;
  for (; first + kLanes <= rest; first += kLanes) body(FullVectors<1>(), first, full, full + 1);
  if (first < rest) body(PartialVector{rest - first}, first, full, full + 1);
}

typedef double Doubles __attribute__((vector_size(kLanes * sizeof(double))));

template <class Sum>
Sum convert(Vector value) {
  return __builtin_convertvector(value, Sum);
}

template <class Sum>
Doubles to_doubles(Sum value) {
  return __builtin_convertvector(value, Doubles);
}

inline void add_to(double* totals, Doubles sum) {
  Doubles total;
  std::memcpy(&total, totals, sizeof total);
  total += sum;
  std::memcpy(totals, &total, sizeof total);
}

// Calls body(thread, first row, rows) in parallel for equal parts of the rows, divided between wide rows.
template <class Body>
void parallel_rows(int64_t rows, int64_t channels, int64_t width, const Body& body) {
  if (rows * channels <= 0) return;
  const int64_t pixels = width / channels;
  parallel_for((rows + pixels - 1) / pixels, rows * channels, [&](int thread, int64_t begin, int64_t end) {
    body(thread, begin * pixels, std::min(end * pixels, rows) - begin * pixels);
  });
}

// Adds up the two sums per channel (`first` and `second`) of all threads and of all pixels of a wide row.
inline void sum_over_threads(const std::vector<double>& partial, int64_t width, int64_t channels,
                             std::vector<double>& first, std::vector<double>& second) {
  for (size_t start = 0; start < partial.size(); start += 2 * width) {
    const double* totals = &partial[start];
    for (int64_t i = 0, c = 0; i < width; ++i, c = c + 1 == channels ? 0 : c + 1) {
      first[c] += totals[i];
      second[c] += totals[width + i];
    }
  }
}

}  // namespace ppzoo
