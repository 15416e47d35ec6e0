// Layout: NHWC, as matrices of pixels x channels; weights are out x in.
//
// Covariance: parallel over rows (pixels), with one pair of sums per thread: those of z and of z^T z, with z = x minus
// the first row, in double. Loop nest for z^T z: blocks of 64 rows -> tiles of 8 x 8 on the diagonal and above it ->
// the rows of the block.
//
// ExpansionGradient: each thread collects rows of gradients until they are a block for gemm (`capacity_` rows). Then it
// adds them to the gradients of x and of the weights (flush). The depthwise kernel calls it for one row after the
// other, in parallel over images.
#include "kernels/expansion.h"

#include <algorithm>
#include <cstring>

#include "kernels/gemm.h"
#include "kernels/parallel.h"
#include "kernels/workspace.h"

namespace ppzoo {
namespace {

constexpr int64_t kDoubles = 8;
typedef double Doubles __attribute__((vector_size(kDoubles * sizeof(double))));

// squares (step x step) += z^T z, with z rows x step, for the 8 x 8 tiles on the diagonal and above it.
void add_squares(const double* z, int64_t rows, int64_t step, double* squares) {
  for (int64_t i = 0; i < step; i += kDoubles) {
    for (int64_t j = i; j < step; j += kDoubles) {
      Doubles sums[kDoubles] = {};
      for (const double* row = z; row < z + rows * step; row += step) {
        Doubles right;
        std::memcpy(&right, row + j, sizeof right);
#pragma GCC unroll 8
        for (int64_t m = 0; m < kDoubles; ++m) sums[m] += row[i + m] * right;
      }
      for (int64_t m = 0; m < kDoubles; ++m) {
        for (int64_t l = 0; l < kDoubles; ++l) squares[(i + m) * step + j + l] += sums[m][l];
      }
    }
  }
}

// The sums of z (`step` elements) and of z^T z (`step` x `step`) over the rows of a matrix, with z = x - shift.
struct ProductSums {
  int64_t channels, step = round_up(channels, kDoubles);
  std::vector<double> sums = std::vector<double>(step, 0.0), squares = std::vector<double>(step * step, 0.0);

  void add(const float* shift, const float* x, int64_t rows) {
    constexpr int64_t kRows = 64;
    std::vector<double> z(kRows * step, 0.0);
    for (int64_t begin = 0; begin < rows; begin += kRows) {
      const int64_t count = std::min(kRows, rows - begin);
      for (int64_t row = 0; row < count; ++row) {
        const float* from = x + (begin + row) * channels;
        for (int64_t c = 0; c < channels; ++c) {
          const double value = static_cast<double>(from[c]) - shift[c];
          z[row * step + c] = value;
          sums[c] += value;
        }
      }
      add_squares(z.data(), count, step, squares.data());
    }
  }
};

// Returns `weights` (out x in) with each row multiplied by its factor.
std::vector<float> scaled_rows(const float* weights, const float* factors, int64_t in, int64_t out) {
  std::vector<float> scaled(out * in);
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t i = 0; i < in; ++i) scaled[o * in + i] = weights[o * in + i] * factors[o];
  }
  return scaled;
}

// Returns a Normalizer that adds one offset per channel; its functions can also add a residual.
Normalizer make_offset(const std::vector<float>& offsets) {
  const std::vector<float> ones(offsets.size(), 1.0f);
  return {static_cast<int64_t>(offsets.size()), ones.data(), offsets.data(), Activation::kNone};
}

std::vector<float> negated(const double* values, int64_t count) {
  std::vector<float> result(count);
  for (int64_t i = 0; i < count; ++i) result[i] = static_cast<float>(-values[i]);
  return result;
}

}  // namespace

bool recomputes_expansion(const ConvShape& s) {
  constexpr int64_t kLarge = 1 << 21;  // elements, more than the caches hold
  return s.output_size() > kLarge && s.out_channels > 2 * s.channels &&
         s.output_size() > 4 * s.out_channels * s.out_channels;
}

void compute_covariance(int64_t rows, int64_t channels, const float* x, double* values) {
  std::vector<ProductSums> parts(max_threads(), ProductSums{channels});
  parallel_for(rows, rows * channels * channels, [&](int thread, int64_t begin, int64_t end) {
    parts[thread].add(x, x + begin * channels, end - begin);
  });
  for (const ProductSums& part : parts) {
    if (&part == &parts[0]) continue;
    for (size_t i = 0; i < part.sums.size(); ++i) parts[0].sums[i] += part.sums[i];
    for (size_t i = 0; i < part.squares.size(); ++i) parts[0].squares[i] += part.squares[i];
  }
  const ProductSums& total = parts[0];
  double *mean = values, *scatter = mean + channels;
  for (int64_t i = 0; i < channels; ++i) {
    mean[i] = x[i] + total.sums[i] / rows;
    for (int64_t j = i; j < channels; ++j) {
      const double sum = total.squares[i * total.step + j] - total.sums[i] * total.sums[j] / rows;
      scatter[i * channels + j] = scatter[j * channels + i] = sum;
    }
  }
}

Statistics Covariance::product_statistics(const float* weights, int64_t out) const {
  Statistics found{std::vector<double>(out), std::vector<double>(out)};
  parallel_for(out, out * channels * channels, [&](int, int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      const std::vector<double> w(weights + o * channels, weights + (o + 1) * channels);
      double center = 0.0, square = 0.0;
      for (int64_t i = 0; i < channels; ++i) {
        double sum = 0.0;
        for (int64_t j = 0; j < channels; ++j) sum += scatter[i * channels + j] * w[j];
        center += mean[i] * w[i];
        square += sum * w[i];
      }
      found.mean[o] = center;
      found.variance[o] = square < 0.0 ? 0.0 : square / rows;
    }
  });
  return found;
}

ExpansionGradient::ExpansionGradient(const ConvShape& shape, NormGradient& norm, Activation activation, const float* x,
                                     const Covariance& covariance, const float* weights, int64_t row, float* dx)
    : in_(shape.channels),
      out_(shape.out_channels),
      pixels_(shape.input_pixels()),
      row_(row),
      capacity_(block_rows(in_, out_) + row),
      norm_(norm),
      activation_(activation),
      x_(x),
      covariance_(covariance),
      weights_(weights),
      dx_(dx),
      gradients_(workspace(WorkspaceSlot::kExpansionGradient, capacity_ * out_ * max_threads())),
      centered_(workspace(WorkspaceSlot::kInputBlocks, capacity_ * in_ * max_threads())),
      scaled_(PackedWeights::backward(scaled_rows(weights, norm.scale(), in_, out_).data(), in_, out_,
                                      WorkspaceSlot::kScaledExpansionWeights)),
      center_(make_offset(negated(covariance.mean, in_))),
      sums_(in_, out_),
      pending_(max_threads()) {}

float* ExpansionGradient::row_buffer(int thread, int64_t first) {
  PendingRows& pending = pending_[thread];
  if (pending.count == 0) pending.first = first;
  return gradients_ + (thread * capacity_ + pending.count) * out_;
}

void ExpansionGradient::add_row(int thread, const float* raw) {
  PendingRows& pending = pending_[thread];
  float* rows = gradients_ + (thread * capacity_ + pending.count) * out_;
  norm_.add_rows(thread, raw, nullptr, rows, activation_, row_, rows);
  pending.count += row_;
  if (pending.count + row_ > capacity_) flush(thread);
}

void ExpansionGradient::flush(int thread) {
  PendingRows& pending = pending_[thread];
  const float *gradients = gradients_ + thread * capacity_ * out_, *x = x_ + pending.first * in_;
  float* centered = centered_ + thread * capacity_ * in_;
  if (dx_ != nullptr) scaled_.multiply(gradients, pending.count, dx_ + pending.first * in_);
  center_.apply_rows(x, nullptr, pending.count, centered);
  sums_.add(thread, centered, gradients, pending.count);
  pending.count = 0;
}

void ExpansionGradient::finish(const float* residual, float* dgamma, float* dbeta, float* dweights) {
  parallel_for(max_threads(), pixels_ * out_, [&](int, int64_t begin, int64_t end) {
    for (int64_t thread = begin; thread < end; ++thread) {
      if (pending_[thread].count > 0) flush(static_cast<int>(thread));
    }
  });
  norm_.finish(dgamma, dbeta);
  const std::vector<float> slope_weights = scaled_rows(weights_, norm_.slope(), in_, out_);
  finish_weights(slope_weights, dweights);
  if (dx_ != nullptr) finish_input(slope_weights, residual);
}

// dweights = scale f^T (x - mean) + slope weights (x - mean)^T (x - mean). The constant has no effect, as the sum of
// (x - mean) is zero.
void ExpansionGradient::finish_weights(const std::vector<float>& slope_weights, float* dweights) {
  sums_.finish(false, dweights);
  for (int64_t o = 0; o < out_; ++o) {
    for (int64_t i = 0; i < in_; ++i) dweights[o * in_ + i] *= norm_.scale()[o];
  }
  const std::vector<float> scatter(covariance_.scatter, covariance_.scatter + in_ * in_);
  const PackedWeights packed = PackedWeights::backward(scatter.data(), in_, in_);
  for_blocks(out_, in_, in_, [&](int, int64_t o, int64_t rows) {
    packed.multiply(&slope_weights[o * in_], rows, dweights + o * in_, true);
  });
}

// dx = scale f weights + (x - mean) weights^T slope weights + constant weights
void ExpansionGradient::finish_input(const std::vector<float>& slope_weights, const float* residual) const {
  std::vector<float> square(in_ * in_), offsets(in_);
  gemm_transposed(weights_, in_, slope_weights.data(), in_, out_, false, square.data(), in_);
  std::vector<double> sums(in_, 0.0);
  for (int64_t o = 0; o < out_; ++o) {
    const float* weights = weights_ + o * in_;
    double factor = norm_.constant()[o];
    for (int64_t i = 0; i < in_; ++i) factor -= slope_weights[o * in_ + i] * covariance_.mean[i];
    for (int64_t i = 0; i < in_; ++i) sums[i] += factor * weights[i];
  }
  for (int64_t i = 0; i < in_; ++i) offsets[i] = static_cast<float>(sums[i]);
  const Normalizer rest = make_offset(offsets);
  const PackedWeights packed = PackedWeights::backward(square.data(), in_, in_);
  for_blocks(pixels_, in_, in_, [&](int, int64_t row, int64_t rows) {
    float* to = dx_ + row * in_;
    packed.multiply(x_ + row * in_, rows, to, true);
    rest.apply_rows(to, residual != nullptr ? residual + row * in_ : nullptr, rows, to);
  });
}

}  // namespace ppzoo
