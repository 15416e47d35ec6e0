// The statistics of batch norm: sums and sums of squares of the columns of a channels-last matrix. wide_rows.h
// describes the layout, the loop nest, the blocking, and what is parallel.
//
// Accuracy: rows are processed in windows (Moments::Window). The sums of squares are those of the differences from a
// typical value of the window (the reference), so that a large mean does not cause cancellation.
#include "kernels/moments.h"

#include <algorithm>
#include <vector>

#include "kernels/wide_rows.h"

namespace ppzoo {
namespace {

// The maximum length of a window, in multiples of its first block, from which the reference was chosen. A longer window
// could contain rows that are unlike the first block, for example if that is the border of a padded map: the
// differences from the reference would be large, which causes cancellation.
constexpr int64_t kWindowBlocks = 4;

Vector median(Vector a, Vector b, Vector c) {
  const Vector low = a < b ? a : b, high = a < b ? b : a, middle = high < c ? high : c;
  return low < middle ? middle : low;
}

// Returns the median of three medians of the nine samples sample(0) to sample(8), which is close to their median.
template <class Sample>
Vector median_of_medians(const Sample& sample) {
  const auto median_from = [&](int64_t i) { return median(sample(i), sample(i + 3), sample(i + 6)); };
  return median(median_from(0), median_from(1), median_from(2));
}

}  // namespace

template <class T>
Moments::Moments(int64_t channels, const T* first_row, int64_t rows)
    : channels_(channels), rows_(rows), width_(WideRows(1, channels).width) {
  std::vector<float> shift(channels);
  for (int64_t c = 0; c < channels; ++c) shift[c] = load_partial(1, first_row + c)[0];
  shift_ = WideRows(1, channels).repeat(shift);
  totals_.assign(2 * width_ * max_threads(), 0.0);
  if (rows_ * channels_ <= kDoubleSumElements) return;
  window_sums_.resize(3 * width_ * max_threads());
  windows_.resize(max_threads());
}

template <class T>
void Moments::add(const T* x, int64_t rows) {
  parallel_rows(rows, channels_, width_,
                [&](int thread, int64_t first, int64_t count) { add_rows(thread, x + first * channels_, count); });
}

template <class T>
void Moments::add_rows(int thread, const T* x, int64_t rows) {
  if (windows_.empty()) {
    add_doubles(thread, x, rows);
    return;
  }
  const int64_t pixels = width_ / channels_, full = rows / pixels;
  const int64_t block = std::clamp<int64_t>(kStripElements / width_, kMinStripRows, kFloatSumRows);
  for (int64_t begin = 0; begin < full; begin += block) {
    add_to_window(thread, x + begin * width_, std::min(block, full - begin));
  }
  add_doubles(thread, x + full * width_, rows - full * pixels);
}

template <class T>
[[gnu::flatten]] void Moments::add_doubles(int thread, const T* x, int64_t rows) {
  double* totals = &totals_[2 * width_ * thread];
  for_strips(WideRows(rows, channels_), [&](auto strip, int64_t first, int64_t begin, int64_t end) {
    constexpr int kCount = decltype(strip)::kCount;
    const Constants shift(strip, shift_, first);
    Doubles sum[kCount] = {}, square[kCount] = {};
    for (int64_t row = begin; row < end; ++row) {
      for (int v = 0; v < kCount; ++v) {
        const Doubles value = to_doubles(strip.load(x + row * width_ + first + v * kLanes)) - to_doubles(shift[v]);
        sum[v] += value;
        square[v] += value * value;
      }
    }
    for (int v = 0; v < kCount; ++v) {
      add_to(totals + first + v * kLanes, sum[v]);
      add_to(totals + width_ + first + v * kLanes, square[v]);
    }
  });
}

template <class T>
[[gnu::flatten]] void Moments::add_to_window(int thread, const T* x, int64_t rows) {
  Window& window = windows_[thread];
  if (window.rows + rows > window.capacity) finish_window(thread);
  if (window.rows == 0) window.capacity = std::min(kFloatSumRows, kWindowBlocks * rows);
  float* references = &window_sums_[3 * width_ * thread];
  float *sums = references + width_, *squares = sums + width_;
  const auto add = [&](auto strip, int64_t first, int64_t begin, int64_t end) {
    constexpr int kCount = decltype(strip)::kCount;
    Vector reference[kCount], sum[kCount] = {}, square[kCount] = {};
    for (int v = 0; v < kCount; ++v) {
      const int64_t column = first + v * kLanes;
      if (window.rows == 0) {
        reference[v] = median_of_medians(
            [&](int64_t i) { return strip.load(x + (begin + i * (end - 1 - begin) / 8) * width_ + column); });
        store(reference[v], references + column);
      } else {
        reference[v] = load(references + column), sum[v] = load(sums + column), square[v] = load(squares + column);
      }
    }
    for (int64_t row = begin; row < end; ++row) {
      const T* from = x + row * width_ + first;
#pragma GCC unroll 2
      for (int v = 0; v < kCount; ++v) {
        const Vector value = strip.load(from + v * kLanes) - reference[v];
        sum[v] += value;
        square[v] += value * value;
      }
    }
    for (int v = 0; v < kCount; ++v) {
      store(sum[v], sums + first + v * kLanes);
      store(square[v], squares + first + v * kLanes);
    }
  };
  for_strips(WideRows(rows * (width_ / channels_), channels_), add, rows);
  window.rows += rows;
}

void Moments::finish_window(int thread) {
  const float* references = &window_sums_[3 * width_ * thread];
  const float *sums = references + width_, *squares = sums + width_;
  double* totals = &totals_[2 * width_ * thread];
  const auto count = static_cast<double>(windows_[thread].rows);
  for (int64_t i = 0; count > 0 && i < width_; i += kLanes) {
    // Converts sums of (x - reference) to sums of (x - shift).
    const Doubles step = to_doubles(load(references + i)) - to_doubles(load(&shift_[i]));
    const Doubles before = to_doubles(load(sums + i)), after = before + count * step;
    add_to(totals + i, after);
    add_to(totals + width_ + i, to_doubles(load(squares + i)) + step * (before + after));
  }
  windows_[thread].rows = 0;
}

Statistics Moments::statistics() {
  for (size_t thread = 0; thread < windows_.size(); ++thread) finish_window(static_cast<int>(thread));
  std::vector<double> sums(channels_, 0.0), squares(channels_, 0.0);
  sum_over_threads(totals_, width_, channels_, sums, squares);
  Statistics found = Statistics::zeros(channels_);
  for (int64_t c = 0; rows_ > 0 && c < channels_; ++c) {
    const double center = sums[c] / rows_;
    found.mean[c] = center + shift_[c];
    const double variance = squares[c] / rows_ - center * center;
    found.variance[c] = variance < 0.0 ? 0.0 : variance;
  }
  return found;
}

#define PPZOO_INSTANTIATE(T)                             \
  template Moments::Moments(int64_t, const T*, int64_t); \
  template void Moments::add(const T*, int64_t);         \
  template void Moments::add_rows(int, const T*, int64_t)
PPZOO_INSTANTIATE(float);
PPZOO_INSTANTIATE(Bfloat16);

}  // namespace ppzoo
