// Batch normalization in training, with the activation and the residual addition in the same passes.
//
// Layout: an NHWC tensor is a matrix of `rows` pixels x `channels` columns. If there are few channels, several pixels
// are read as one wide row (WideRows), so that the inner loops fill vectors; per-channel constants are repeated.
//
// Loop nest of every pass (for_strips): blocks of rows that stay in the L1 cache -> strips of two vectors of columns,
// whose constants and sums stay in registers -> the rows of the block. Parallel over rows, with one sum per thread.
//
// Accuracy: sums are computed in float within a window of at most kFloatSumRows wide rows and in double across windows
// and threads; for small tensors in double throughout. The statistics' sums of squares are computed around a value of
// the window, so that a large mean cancels nothing.
#include "kernels/batch_norm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <type_traits>

#include "kernels/activation_simd.h"
#include "kernels/affine.h"
#include "kernels/bfloat16_simd.h"
#include "kernels/parallel.h"
#include "kernels/simd.h"

namespace ppzoo {
namespace {

// Wide rows that are summed in float before the sum is added to a double.
constexpr int64_t kFloatSumRows = 64;
// The same in multiples of the rows from which the value that is subtracted from all of them was chosen: a row that is
// unlike the following ones, such as the border of a padded map, would otherwise cause cancellation.
constexpr int64_t kWindowBlocks = 4;
// Elements of a block: they stay in the L1 cache while the block is read strip by strip.
constexpr int64_t kStripElements = 4096;
// Minimum number of wide rows of a block: each strip of a block adds overhead.
constexpr int64_t kMinStripRows = 16;
// Tensors of at most this size are summed in double throughout, which costs little there.
constexpr int64_t kDoubleSumElements = 1 << 15;

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
    for (int64_t i = 0; i < width; ++i) wide[i] = values[i % channels];
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

void add_to(double* totals, Doubles sum) {
  Doubles total;
  std::memcpy(&total, totals, sizeof total);
  total += sum;
  std::memcpy(totals, &total, sizeof total);
}

Vector median(Vector a, Vector b, Vector c) {
  const Vector low = a < b ? a : b, high = a < b ? b : a, middle = high < c ? high : c;
  return low < middle ? middle : low;
}

// The median of three medians of the nine samples sample(0) to sample(8): close to their median.
template <class Sample>
Vector median_of_medians(const Sample& sample) {
  const auto median_from = [&](int64_t i) { return median(sample(i), sample(i + 3), sample(i + 6)); };
  return median(median_from(0), median_from(1), median_from(2));
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
void sum_over_threads(const std::vector<double>& partial, int64_t width, int64_t channels, std::vector<double>& first,
                      std::vector<double>& second) {
  for (size_t start = 0; start < partial.size(); start += 2 * width) {
    const double* totals = &partial[start];
    for (int64_t i = 0, c = 0; i < width; ++i, c = c + 1 == channels ? 0 : c + 1) {
      first[c] += totals[i];
      second[c] += totals[width + i];
    }
  }
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
void Moments::add_doubles(int thread, const T* x, int64_t rows) {
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
void Moments::add_to_window(int thread, const T* x, int64_t rows) {
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
        reference[v] = median_of_medians([&](int64_t i) {
          return strip.load(x + (begin + i * (end - 1 - begin) / 8) * width_ + column);
        });
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

Normalizer::Normalizer(int64_t channels, const float* scale, const float* offset, Activation activation, Affine affine)
    : channels_(channels), activation_(activation), affine_(affine) {
  const WideRows wide(1, channels);
  scale_ = wide.repeat({scale, scale + channels});
  offset_ = wide.repeat({offset, offset + channels});
}

template <class T>
void Normalizer::apply_rows(const T* x, const Exactly<T>* residual, int64_t rows, T* y) const {
  dispatch_affine<T>(affine_.multiplier != 1.0f || affine_.addend != 0.0f, [&](auto has_affine) {
    apply_rows_as<decltype(has_affine)::value>(x, residual, rows, y);
  });
}

template <bool kAffine, class T>
void Normalizer::apply_rows_as(const T* x, const T* residual, int64_t rows, T* y) const {
  const WideRows wide(rows, channels_);
  const float multiplier = affine_.multiplier, addend = affine_.addend;
  dispatch_activation(activation_, [&](auto tag) {
    constexpr Activation kActivation = decltype(tag)::value;
    for_strips(wide, [&](auto strip, int64_t first, int64_t begin, int64_t end) {
      constexpr int kCount = decltype(strip)::kCount;
      const Constants k(strip, scale_, first), o(strip, offset_, first);
      for (int64_t row = begin; row < end; ++row) {
#pragma GCC unroll 2
        for (int v = 0; v < kCount; ++v) {
          const int64_t index = row * wide.width + first + v * kLanes;
          Vector t = strip.load(x + index) * k[v] + o[v];
          if (residual != nullptr) t += strip.load(residual + index);
          t = activate<kActivation>(t);
          if constexpr (kAffine) t = t * multiplier + addend;
          strip.store(t, y + index);
        }
      }
    });
  });
}

template <class T>
void Normalizer::apply(const T* x, const Exactly<T>* residual, int64_t count, T* y) const {
  parallel_rows(count, channels_, static_cast<int64_t>(scale_.size()), [&](int, int64_t first, int64_t share) {
    const int64_t start = first * channels_;
    apply_rows(x + start, residual != nullptr ? residual + start : nullptr, share, y + start);
  });
}

Normalizer finalize_statistics(const Statistics& batch, const NormParameters& norm, Activation activation, float* mean,
                               float* inverse_std, Affine affine) {
  const auto channels = static_cast<int64_t>(batch.mean.size());
  std::vector<float> scale(channels), offset(channels);
  const float keep = norm.momentum, update = 1.0f - norm.momentum;
  for (int64_t c = 0; c < channels; ++c) {
    const double inverse = 1.0 / std::sqrt(batch.variance[c] + static_cast<double>(norm.epsilon));
    mean[c] = static_cast<float>(batch.mean[c]);
    inverse_std[c] = static_cast<float>(inverse);
    norm.running_mean[c] = norm.running_mean[c] * keep + mean[c] * update;
    norm.running_variance[c] = norm.running_variance[c] * keep + static_cast<float>(batch.variance[c]) * update;
    scale[c] = static_cast<float>(norm.gamma[c] * inverse);
    offset[c] = static_cast<float>(norm.beta[c] - batch.mean[c] * (norm.gamma[c] * inverse));
  }
  return {channels, scale.data(), offset.data(), activation, affine};
}

NormGradient::NormGradient(int64_t channels, int64_t rows, const float* gamma, const float* beta, const float* mean,
                           const float* inverse, const float* multiplier)
    : channels_(channels),
      rows_(rows),
      width_(WideRows(1, channels).width),
      multiplier_(multiplier),
      inverse_std_(inverse, inverse + channels),
      totals_(2 * width_ * max_threads(), 0.0),
      dy_totals_(multiplier != nullptr ? width_ * max_threads() : 0, 0.0) {
  std::vector<float> scale(channels), offset(channels);
  for (int64_t c = 0; c < channels; ++c) {
    const double k = static_cast<double>(gamma[c]) * inverse[c];
    scale[c] = static_cast<float>(k);
    offset[c] = static_cast<float>(beta[c] - mean[c] * k);
  }
  const WideRows wide(1, channels);
  scale_ = wide.repeat(scale), offset_ = wide.repeat(offset), center_ = wide.repeat({mean, mean + channels});
}

template <class T>
void NormGradient::add(const T* x, const Exactly<T>* y, const T* dy, Activation activation, Exactly<T>* masked) {
  parallel_rows(rows_, channels_, width_, [&](int thread, int64_t first, int64_t count) {
    const int64_t start = first * channels_;
    add_rows(thread, x + start, y != nullptr ? y + start : nullptr, dy + start, activation, count,
             masked != nullptr ? masked + start : nullptr);
  });
}

template <class T>
void NormGradient::add_rows(int thread, const T* x, const Exactly<T>* y, const T* dy, Activation activation,
                            int64_t rows, Exactly<T>* masked) {
  double* totals = &totals_[2 * width_ * thread];
  double* dy_totals = dy_totals_.empty() ? nullptr : &dy_totals_[width_ * thread];
  dispatch_affine<T>(multiplier_ != nullptr, [&](auto has_affine) {
    constexpr bool kAffine = decltype(has_affine)::value;
    if (rows_ * channels_ <= kDoubleSumElements) {
      add_rows_as<Doubles, kAffine>(x, y, dy, activation, rows, masked, totals, dy_totals);
    } else {
      add_rows_as<Vector, kAffine>(x, y, dy, activation, rows, masked, totals, dy_totals);
    }
  });
}

template <class Sum, bool kAffine, class T>
void NormGradient::add_rows_as(const T* x, const T* y, const T* dy, Activation activation, int64_t rows, T* masked,
                               double* totals, double* dy_totals) const {
  const int64_t width = width_;
  dispatch_activation(activation, [&](auto tag) {
    constexpr Activation kActivation = decltype(tag)::value;
    for_strips(WideRows(rows, channels_), [&](auto strip, int64_t first, int64_t begin, int64_t end) {
      constexpr int kCount = decltype(strip)::kCount;
      const Constants k(strip, scale_, first), o(strip, offset_, first), mean(strip, center_, first);
      Sum sum[kCount] = {}, product[kCount] = {}, all[kCount] = {};
      for (int64_t row = begin; row < end; ++row) {
#pragma GCC unroll 2
        for (int v = 0; v < kCount; ++v) {
          const int64_t index = row * width + first + v * kLanes;
          const Vector from = strip.load(x + index), gradient = strip.load(dy + index);
          const Vector argument = y != nullptr ? strip.load(y + index) : from * k[v] + o[v];
          const Vector f = activation_gradient<kActivation>(argument, gradient);
          if (masked != nullptr) strip.store(f, masked + index);
          sum[v] += convert<Sum>(f);
          product[v] += convert<Sum>(f) * (convert<Sum>(from) - convert<Sum>(mean[v]));
          if constexpr (kAffine) all[v] += convert<Sum>(gradient);
        }
      }
      for (int v = 0; v < kCount; ++v) {
        add_to(totals + first + v * kLanes, to_doubles(sum[v]));
        add_to(totals + width + first + v * kLanes, to_doubles(product[v]));
        if constexpr (kAffine) add_to(dy_totals + first + v * kLanes, to_doubles(all[v]));
      }
    });
  });
}

void NormGradient::finish(float* dgamma, float* dbeta) {
  // With f the gradient of the activation's argument, which contains the affine block's multiplier m, and
  // k = gamma inverse_std: dx = k (f - sum(f) / n - (x - mean) inverse_std^2 sum(f (x - mean)) / n).
  // The sums are those of f / m.
  std::vector<double> sums(channels_, 0.0), products(channels_, 0.0);
  sum_over_threads(totals_, width_, channels_, sums, products);
  std::vector<float> slope(channels_), constant(channels_);
  const double m = multiplier_ != nullptr ? *multiplier_ : 1.0;
  for (int64_t c = 0; c < channels_; ++c) {
    const double k = scale_[c], inverse = inverse_std_[c], sum = m * sums[c], product = m * products[c];
    dbeta[c] = static_cast<float>(sum);
    dgamma[c] = static_cast<float>(product * inverse);
    slope[c] = static_cast<float>(-k * inverse * inverse * product / rows_);
    constant[c] = static_cast<float>(-k * sum / rows_);
  }
  const WideRows wide(1, channels_);
  slope_ = wide.repeat(slope), constant_ = wide.repeat(constant);
}

void NormGradient::finish_affine(const float* gamma, const float* beta, float* dmultiplier, float* daddend) const {
  // The activation a(t) is t or ReLU, thus a(t) = t a'(t) with t = gamma (x - mean) inverse_std + beta. The sum of
  // dy a(t) follows from those of dy a'(t) and dy a'(t) (x - mean).
  std::vector<double> sums(channels_, 0.0), products(channels_, 0.0);
  sum_over_threads(totals_, width_, channels_, sums, products);
  double total = 0.0;
  for (int64_t c = 0; c < channels_; ++c) {
    total += static_cast<double>(gamma[c]) * inverse_std_[c] * products[c] + beta[c] * sums[c];
  }
  *dmultiplier = static_cast<float>(total);
  *daddend = static_cast<float>(std::accumulate(dy_totals_.begin(), dy_totals_.end(), 0.0));
}

template <class T>
void NormGradient::apply(const T* x, const T* dy, Activation activation, int64_t rows, T* dx) const {
  parallel_rows(rows, channels_, width_, [&](int, int64_t first, int64_t count) {
    const int64_t start = first * channels_;
    apply_rows(x + start, dy + start, activation, count, dx + start);
  });
}

template <class T>
void NormGradient::apply_rows(const T* x, const T* dy, Activation activation, int64_t rows, T* dx) const {
  dispatch_affine<T>(multiplier_ != nullptr, [&](auto has_affine) {
    apply_rows_as<decltype(has_affine)::value>(x, dy, activation, rows, dx);
  });
}

template <bool kAffine, class T>
void NormGradient::apply_rows_as(const T* x, const T* dy, Activation activation, int64_t rows, T* dx) const {
  const int64_t width = width_;
  dispatch_activation(activation, [&](auto tag) {
    constexpr Activation kActivation = decltype(tag)::value;
    for_strips(WideRows(rows, channels_), [&](auto strip, int64_t first, int64_t begin, int64_t end) {
      constexpr int kCount = decltype(strip)::kCount;
      const Constants k(strip, scale_, first), o(strip, offset_, first), mean(strip, center_, first);
      const Constants p(strip, slope_, first), q(strip, constant_, first);
      for (int64_t row = begin; row < end; ++row) {
#pragma GCC unroll 2
        for (int v = 0; v < kCount; ++v) {
          const int64_t index = row * width + first + v * kLanes;
          const Vector from = strip.load(x + index);
          Vector f = activation_gradient<kActivation>(from * k[v] + o[v], strip.load(dy + index));
          if constexpr (kAffine) f *= *multiplier_;
          strip.store(k[v] * f + (p[v] * (from - mean[v]) + q[v]), dx + index);
        }
      }
    });
  });
}

Normalizer NormGradient::normalizer(Activation activation) const {
  return {channels_, scale_.data(), offset_.data(), activation};
}

#define PPZOO_INSTANTIATE(T)                                                                                        \
  template Moments::Moments(int64_t, const T*, int64_t);                                                            \
  template void Moments::add(const T*, int64_t);                                                                    \
  template void Moments::add_rows(int, const T*, int64_t);                                                          \
  template void Normalizer::apply<T>(const T*, const T*, int64_t, T*) const;                                        \
  template void Normalizer::apply_rows<T>(const T*, const T*, int64_t, T*) const;                                   \
  template void NormGradient::add<T>(const T*, const T*, const T*, Activation, T*);                                 \
  template void NormGradient::add_rows<T>(int, const T*, const T*, const T*, Activation, int64_t, T*);              \
  template void NormGradient::apply(const T*, const T*, Activation, int64_t, T*) const;                             \
  template void NormGradient::apply_rows(const T*, const T*, Activation, int64_t, T*) const
PPZOO_INSTANTIATE(float);
PPZOO_INSTANTIATE(Bfloat16);

}  // namespace ppzoo
