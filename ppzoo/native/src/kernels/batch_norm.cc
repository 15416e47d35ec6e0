// Batch normalization in training, with the activation and the residual addition in the same passes. The statistics are
// computed in moments.cc. wide_rows.h describes the layout, the loop nest, the blocking, and what is parallel.
#include "kernels/batch_norm.h"

#include <cmath>
#include <numeric>

#include "kernels/activation_simd.h"
#include "kernels/affine.h"
#include "kernels/wide_rows.h"

namespace ppzoo {

Normalizer::Normalizer(int64_t channels, const float* scale, const float* offset, Activation activation, Affine affine)
    : channels_(channels), activation_(activation), affine_(affine) {
  const WideRows wide(1, channels);
  scale_ = wide.repeat({scale, scale + channels});
  offset_ = wide.repeat({offset, offset + channels});
}

template <class T>
void Normalizer::apply_rows(const T* x, const Exactly<T>* residual, int64_t rows, T* y) const {
  dispatch_affine(affine_.multiplier != 1.0f || affine_.addend != 0.0f,
                  [&](auto has_affine) { apply_rows_as<decltype(has_affine)::value>(x, residual, rows, y); });
}

template <bool kAffine, class T>
[[gnu::flatten]] void Normalizer::apply_rows_as(const T* x, const T* residual, int64_t rows, T* y) const {
  const WideRows wide(rows, channels_);
  const float multiplier = affine_.multiplier, addend = affine_.addend;
  dispatch_activation(activation_, [&](auto tag) {
    constexpr Activation kActivation = decltype(tag)::value;
    for_strips(wide, [&](auto strip, int64_t first, int64_t begin, int64_t end) {
      constexpr int kCount = decltype(strip)::kCount;
      const Constants k(strip, scale_, first), o(strip, offset_, first);
      // Copies of captured variables, which the compiler would read again after each store.
      const T *const from = x, *const other = residual;
      T* const to = y;
      const int64_t width = wide.width;
      for (int64_t row = begin; row < end; ++row) {
#pragma GCC unroll 2
        for (int v = 0; v < kCount; ++v) {
          const int64_t index = row * width + first + v * kLanes;
          Vector t = strip.load(from + index) * k[v] + o[v];
          if (other != nullptr) t += strip.load(other + index);
          t = activate<kActivation>(t);
          if constexpr (kAffine) t = t * multiplier + addend;
          strip.store(t, to + index);
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
  dispatch_affine(multiplier_ != nullptr, [&](auto has_affine) {
    constexpr bool kAffine = decltype(has_affine)::value;
    if (rows_ * channels_ <= kDoubleSumElements) {
      add_rows_as<Doubles, kAffine>(x, y, dy, activation, rows, masked, totals, dy_totals);
    } else {
      add_rows_as<Vector, kAffine>(x, y, dy, activation, rows, masked, totals, dy_totals);
    }
  });
}

template <class Sum, bool kAffine, class T>
[[gnu::flatten]] void NormGradient::add_rows_as(const T* x, const T* y, const T* dy, Activation activation,
                                                int64_t rows, T* masked, double* totals, double* dy_totals) const {
  const int64_t width = width_;
  dispatch_activation(activation, [&](auto tag) {
    constexpr Activation kActivation = decltype(tag)::value;
    for_strips(WideRows(rows, channels_), [&](auto strip, int64_t first, int64_t begin, int64_t end) {
      constexpr int kCount = decltype(strip)::kCount;
      const Constants k(strip, scale_, first), o(strip, offset_, first), mean(strip, center_, first);
      Sum sum[kCount] = {}, product[kCount] = {}, all[kCount] = {};
      const T *const inputs = x, *const outputs = y, *const gradients = dy;  // as in Normalizer::apply_rows_as
      T* const to = masked;
      const int64_t row_size = width;
      for (int64_t row = begin; row < end; ++row) {
#pragma GCC unroll 2
        for (int v = 0; v < kCount; ++v) {
          const int64_t index = row * row_size + first + v * kLanes;
          const Vector from = strip.load(inputs + index), gradient = strip.load(gradients + index);
          const Vector argument = outputs != nullptr ? strip.load(outputs + index) : from * k[v] + o[v];
          const Vector f = activation_gradient<kActivation>(argument, gradient);
          if (to != nullptr) strip.store(f, to + index);
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
  dispatch_affine(multiplier_ != nullptr,
                  [&](auto has_affine) { apply_rows_as<decltype(has_affine)::value>(x, dy, activation, rows, dx); });
}

template <bool kAffine, class T>
[[gnu::flatten]] void NormGradient::apply_rows_as(const T* x, const T* dy, Activation activation, int64_t rows,
                                                  T* dx) const {
  const int64_t width = width_;
  dispatch_activation(activation, [&](auto tag) {
    constexpr Activation kActivation = decltype(tag)::value;
    for_strips(WideRows(rows, channels_), [&](auto strip, int64_t first, int64_t begin, int64_t end) {
      constexpr int kCount = decltype(strip)::kCount;
      const Constants k(strip, scale_, first), o(strip, offset_, first), mean(strip, center_, first);
      const Constants p(strip, slope_, first), q(strip, constant_, first);
      const T *const inputs = x, *const gradients = dy;  // as in Normalizer::apply_rows_as
      T* const to = dx;
      const int64_t row_size = width;
      for (int64_t row = begin; row < end; ++row) {
#pragma GCC unroll 2
        for (int v = 0; v < kCount; ++v) {
          const int64_t index = row * row_size + first + v * kLanes;
          const Vector from = strip.load(inputs + index);
          Vector f = activation_gradient<kActivation>(from * k[v] + o[v], strip.load(gradients + index));
          if constexpr (kAffine) f *= *multiplier_;
          strip.store(k[v] * f + (p[v] * (from - mean[v]) + q[v]), to + index);
        }
      }
    });
  });
}

Normalizer NormGradient::normalizer(Activation activation) const {
  return {channels_, scale_.data(), offset_.data(), activation};
}

#define PPZOO_INSTANTIATE(T)                                                                           \
  template void Normalizer::apply<T>(const T*, const T*, int64_t, T*) const;                           \
  template void Normalizer::apply_rows<T>(const T*, const T*, int64_t, T*) const;                      \
  template void NormGradient::add<T>(const T*, const T*, const T*, Activation, T*);                    \
  template void NormGradient::add_rows<T>(int, const T*, const T*, const T*, Activation, int64_t, T*); \
  template void NormGradient::apply(const T*, const T*, Activation, int64_t, T*) const;                \
  template void NormGradient::apply_rows(const T*, const T*, Activation, int64_t, T*) const
PPZOO_INSTANTIATE(float);
PPZOO_INSTANTIATE(Bfloat16);

}  // namespace ppzoo
