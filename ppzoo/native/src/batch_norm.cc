// Batch norm of channels-last tensors in training, with the activation and the residual addition in the same passes.
//
// A tensor is a matrix of `rows` pixels and `channels` columns. Where there are few channels several pixels are taken
// as one wide row, so that the inner loops are long enough for vector instructions; per-channel constants are repeated
// accordingly. Sums are gathered in float over short blocks and in double beyond.
#include <cmath>
#include <type_traits>

#include "activation.h"
#include "kernels.h"
#include "parallel.h"

namespace ppzoo {
namespace {

constexpr int64_t kBlock = 64;       // wide rows whose sums are kept in float
constexpr int64_t kFew = 1 << 15;  // elements of a tensor whose sums are made in double, which costs nothing there

// How a matrix is read as wide rows of `width` elements; the last one may be shorter.
struct WideRows {
  int64_t channels, width, count, elements;

  WideRows(int64_t rows, int64_t columns) : channels(columns), elements(rows * columns) {
    int64_t pixels = 1;
    while (columns * pixels < 64 || columns * pixels % 16 != 0) ++pixels;
    width = columns * pixels;
    count = (elements + width - 1) / width;
  }
  int64_t length(int64_t row) const { return std::min(width, elements - row * width); }
  std::vector<float> repeat(const std::vector<float>& values) const {
    std::vector<float> wide(width);
    for (int64_t i = 0; i < width; ++i) wide[i] = values[i % channels];
    return wide;
  }
};

// Adds to totals[0, width) and totals[width, 2 width) what body(begin, end, first, second) sums up for the wide rows
// [begin, end); `block` has room for 2 width sums.
template <class Sum, class Body>
void sum_part(int64_t width, int64_t begin, int64_t end, Sum* block, double* totals, const Body& body) {
  for (int64_t start = begin; start < end; start += kBlock) {
    std::fill(block, block + 2 * width, Sum(0));
    body(start, std::min(start + kBlock, end), block, block + width);
#pragma omp simd
    for (int64_t i = 0; i < 2 * width; ++i) totals[i] += block[i];
  }
}

// The sums of all threads, a channel each.
void fold(const std::vector<double>& partial, int64_t width, int64_t channels, std::vector<double>& first,
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

Moments::Moments(int64_t channels, const float* first_row, int64_t rows)
    : channels_(channels), rows_(rows), width_(WideRows(1, channels).width) {
  shift_ = WideRows(1, channels).repeat({first_row, first_row + channels});
  totals_.assign(2 * width_ * threads(), 0.0);
  blocks_.resize(totals_.size());
}

void Moments::add(const float* x, int64_t rows) {
  const int64_t pixels = width_ / channels_, wide = (rows + pixels - 1) / pixels;
  parallel(wide, rows * channels_, [&](int thread, int64_t begin, int64_t end) {
    add_rows(thread, x + begin * width_, std::min(end * pixels, rows) - begin * pixels);
  });
}

void Moments::add_rows(int thread, const float* x, int64_t rows) {
  double* totals = &totals_[2 * width_ * thread];
  double* block = &blocks_[2 * width_ * thread];
  if (rows_ * channels_ <= kFew) {
    add_rows_as(x, rows, block, totals);
  } else {
    add_rows_as(x, rows, reinterpret_cast<float*>(block), totals);
  }
}

template <class Sum>
void Moments::add_rows_as(const float* x, int64_t rows, Sum* block, double* totals) const {
  const WideRows wide(rows, channels_);
  const float* shift = shift_.data();
  const int64_t width = width_;
  sum_part(width, 0, wide.count, block, totals, [&](int64_t begin, int64_t end, Sum* sum, Sum* square) {
    int64_t row = begin;
    for (; row + 4 <= end && wide.length(row + 3) == width; row += 4) {
      const float *p = x + row * width, *q = p + width, *r = q + width, *s = r + width;
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) {
        const Sum a = Sum(p[i]) - shift[i], b = Sum(q[i]) - shift[i];
        const Sum c = Sum(r[i]) - shift[i], d = Sum(s[i]) - shift[i];
        sum[i] += (a + b) + (c + d);
        square[i] += (a * a + b * b) + (c * c + d * d);
      }
    }
    for (; row < end; ++row) {
      const float* p = x + row * width;
      const int64_t length = wide.length(row);
#pragma omp simd
      for (int64_t i = 0; i < length; ++i) {
        const Sum a = Sum(p[i]) - shift[i];
        sum[i] += a;
        square[i] += a * a;
      }
    }
  });
}

void Moments::mean_and_variance(double* mean, double* variance) const {
  std::vector<double> sums(channels_, 0.0), squares(channels_, 0.0);
  fold(totals_, width_, channels_, sums, squares);
  for (int64_t c = 0; c < channels_; ++c) {
    const double centre = sums[c] / rows_;
    mean[c] = centre + shift_[c];
    const double value = squares[c] / rows_ - centre * centre;
    variance[c] = value < 0.0 ? 0.0 : value;
  }
}

Normaliser::Normaliser(int64_t channels, const float* scale, const float* offset, Activation activation)
    : channels_(channels), activation_(activation) {
  const WideRows wide(1, channels);
  scale_ = wide.repeat({scale, scale + channels});
  offset_ = wide.repeat({offset, offset + channels});
}

void Normaliser::rows(const float* x, const float* residual, int64_t rows, float* y) const {
  const WideRows wide(rows, channels_);
  const float *k = scale_.data(), *o = offset_.data();
  with_activation(activation_, [&](auto constant) {
    constexpr Activation kActivation = decltype(constant)::value;
    for (int64_t row = 0; row < wide.count; ++row) {
      const int64_t length = wide.length(row);
      const float* from = x + row * wide.width;
      float* to = y + row * wide.width;
      if (residual != nullptr) {
        const float* z = residual + row * wide.width;
#pragma omp simd
        for (int64_t i = 0; i < length; ++i) to[i] = activate<kActivation>(from[i] * k[i] + o[i] + z[i]);
      } else {
#pragma omp simd
        for (int64_t i = 0; i < length; ++i) to[i] = activate<kActivation>(from[i] * k[i] + o[i]);
      }
    }
  });
}

void Normaliser::all(const float* x, const float* residual, int64_t count, float* y) const {
  const int64_t width = static_cast<int64_t>(scale_.size()), pixels = width / channels_;
  parallel((count + pixels - 1) / pixels, count * channels_, [&](int, int64_t begin, int64_t end) {
    const int64_t start = begin * width;
    rows(x + start, residual != nullptr ? residual + start : nullptr, std::min(end * pixels, count) - begin * pixels,
         y + start);
  });
}

Normaliser settle(const Moments& moments, const NormParameters& norm, Activation activation, float* mean,
                  float* inverse_std) {
  const int64_t channels = moments.channels();
  std::vector<double> means(channels), variances(channels);
  moments.mean_and_variance(means.data(), variances.data());
  std::vector<float> scale(channels), offset(channels);
  const float keep = norm.momentum, take = 1.0f - norm.momentum;
  for (int64_t c = 0; c < channels; ++c) {
    const double inverse = 1.0 / std::sqrt(variances[c] + static_cast<double>(norm.epsilon));
    mean[c] = static_cast<float>(means[c]);
    inverse_std[c] = static_cast<float>(inverse);
    norm.moving_mean[c] = norm.moving_mean[c] * keep + mean[c] * take;
    norm.moving_variance[c] = norm.moving_variance[c] * keep + static_cast<float>(variances[c]) * take;
    scale[c] = static_cast<float>(norm.gamma[c] * inverse);
    offset[c] = static_cast<float>(norm.beta[c] - means[c] * (norm.gamma[c] * inverse));
  }
  return {channels, scale.data(), offset.data(), activation};
}

NormGradient::NormGradient(int64_t channels, int64_t rows, const float* gamma, const float* beta, const float* mean,
                           const float* inverse)
    : channels_(channels),
      rows_(rows),
      width_(WideRows(1, channels).width),
      inverse_std_(inverse, inverse + channels),
      totals_(2 * width_ * threads(), 0.0),
      blocks_(totals_.size()) {
  std::vector<float> scale(channels), offset(channels);
  for (int64_t c = 0; c < channels; ++c) {
    const double k = static_cast<double>(gamma[c]) * inverse[c];
    scale[c] = static_cast<float>(k);
    offset[c] = static_cast<float>(beta[c] - mean[c] * k);
  }
  const WideRows wide(1, channels);
  scale_ = wide.repeat(scale), offset_ = wide.repeat(offset), centre_ = wide.repeat({mean, mean + channels});
}

void NormGradient::add(const float* x, const float* y, const float* dy, Activation activation, float* dresidual) {
  const int64_t pixels = width_ / channels_;
  parallel((rows_ + pixels - 1) / pixels, rows_ * channels_, [&](int thread, int64_t begin, int64_t end) {
    const int64_t start = begin * width_;
    add_rows(thread, x + start, y != nullptr ? y + start : nullptr, dy + start, activation,
             std::min(end * pixels, rows_) - begin * pixels, dresidual != nullptr ? dresidual + start : nullptr);
  });
}

void NormGradient::add_rows(int thread, const float* x, const float* y, const float* dy, Activation activation,
                            int64_t rows, float* dresidual) {
  double* totals = &totals_[2 * width_ * thread];
  double* block = &blocks_[2 * width_ * thread];
  if (rows_ * channels_ <= kFew) {
    add_rows_as(x, y, dy, activation, rows, dresidual, block, totals);
  } else {
    add_rows_as(x, y, dy, activation, rows, dresidual, reinterpret_cast<float*>(block), totals);
  }
}

template <class Sum>
void NormGradient::add_rows_as(const float* x, const float* y, const float* dy, Activation activation, int64_t rows,
                               float* dresidual, Sum* block, double* totals) const {
  const WideRows wide(rows, channels_);
  const float *k = scale_.data(), *o = offset_.data(), *mean = centre_.data();
  const int64_t width = width_;
  with_activation(activation, [&](auto tag) {
    constexpr Activation kActivation = decltype(tag)::value;
    sum_part(width, 0, wide.count, block, totals, [&](int64_t begin, int64_t end, Sum* sum, Sum* product) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t length = wide.length(row);
        const float *from = x + row * width, *gradient = dy + row * width;
        if (dresidual != nullptr) {
          const float* result = y + row * width;
          float* to = dresidual + row * width;
#pragma omp simd
          for (int64_t i = 0; i < length; ++i) {
            const float f = slope_times<kActivation>(result[i], gradient[i]);
            to[i] = f;
            sum[i] += f;
            product[i] += f * (Sum(from[i]) - mean[i]);
          }
        } else {
#pragma omp simd
          for (int64_t i = 0; i < length; ++i) {
            const float f = slope_times<kActivation>(from[i] * k[i] + o[i], gradient[i]);
            sum[i] += f;
            product[i] += f * (Sum(from[i]) - mean[i]);
          }
        }
      }
    });
  });
}

void NormGradient::finish(float* dgamma, float* dbeta) {
  // dx = k (f - sum(f) / n - (x - mean) inverse_std^2 sum(f (x - mean)) / n)
  std::vector<double> sums(channels_, 0.0), products(channels_, 0.0);
  fold(totals_, width_, channels_, sums, products);
  std::vector<float> slope(channels_), constant(channels_);
  for (int64_t c = 0; c < channels_; ++c) {
    const double k = scale_[c], inverse = inverse_std_[c];
    dbeta[c] = static_cast<float>(sums[c]);
    dgamma[c] = static_cast<float>(products[c] * inverse);
    slope[c] = static_cast<float>(-k * inverse * inverse * products[c] / rows_);
    constant[c] = static_cast<float>(-k * sums[c] / rows_);
  }
  const WideRows wide(1, channels_);
  slope_ = wide.repeat(slope), constant_ = wide.repeat(constant);
}

void NormGradient::apply(const float* x, const float* dy, Activation activation, int64_t rows, float* dx) const {
  const int64_t pixels = width_ / channels_;
  parallel((rows + pixels - 1) / pixels, rows * channels_, [&](int, int64_t begin, int64_t end) {
    const int64_t start = begin * width_;
    apply_rows(x + start, dy + start, activation, std::min(end * pixels, rows) - begin * pixels, dx + start);
  });
}

void NormGradient::apply_rows(const float* x, const float* dy, Activation activation, int64_t rows, float* dx) const {
  const WideRows wide(rows, channels_);
  const float *k = scale_.data(), *o = offset_.data(), *mean = centre_.data();
  const float *p = slope_.data(), *q = constant_.data();
  with_activation(activation, [&](auto tag) {
    constexpr Activation kActivation = decltype(tag)::value;
    for (int64_t row = 0; row < wide.count; ++row) {
      const int64_t length = wide.length(row);
      const float *from = x + row * wide.width, *gradient = dy + row * wide.width;
      float* to = dx + row * wide.width;
#pragma omp simd
      for (int64_t i = 0; i < length; ++i) {
        const float f = slope_times<kActivation>(from[i] * k[i] + o[i], gradient[i]);
        to[i] = k[i] * f + (p[i] * (from[i] - mean[i]) + q[i]);
      }
    }
  });
}

Normaliser NormGradient::normaliser(Activation activation) const {
  return {channels_, scale_.data(), offset_.data(), activation};
}

}  // namespace ppzoo
