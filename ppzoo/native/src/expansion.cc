// The backward pass of a 1x1 convolution with batch norm and activation that never has the whole gradient of its result.
#include "pointwise.h"

namespace ppzoo {
namespace {

// The rows of `weights`, out x in, each times its factor.
std::vector<float> scaled_rows(const float* weights, const float* factors, int64_t in, int64_t out) {
  std::vector<float> scaled(out * in);
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t i = 0; i < in; ++i) scaled[o * in + i] = weights[o * in + i] * factors[o];
  }
  return scaled;
}

// Adds a number a channel, and a residual, in the passes of a norm.
Normaliser adder(const std::vector<float>& offsets) {
  const std::vector<float> ones(offsets.size(), 1.0f);
  return {static_cast<int64_t>(offsets.size()), ones.data(), offsets.data(), Activation::kNone};
}

std::vector<float> negative(const float* values, int64_t count) {
  std::vector<float> negated(count);
  for (int64_t i = 0; i < count; ++i) negated[i] = -values[i];
  return negated;
}

}  // namespace

ExpansionGradient::ExpansionGradient(const ConvShape& shape, NormGradient& norm, Activation activation, const float* x,
                                     const float* weights, const float* raw, int64_t row, float* dx)
    : in_(shape.channels),
      out_(shape.out_channels),
      pixels_(shape.source_size() / in_),
      row_(row),
      room_(block_rows(in_, out_) + row),
      step_(round_up(in_, kLanes)),
      norm_(norm),
      activation_(activation),
      x_(x),
      weights_(weights),
      raw_(raw),
      dx_(dx),
      gradients_(buffer(Purpose::kInner, room_ * out_ * threads())),
      shifted_(buffer(Purpose::kTiles, (room_ + step_) * in_ * threads())),
      scaled_(Panels::backward(scaled_rows(weights, norm.scale(), in_, out_).data(), in_, out_,
                               Purpose::kInnerWeights)),
      shift_(adder(negative(x, in_))),
      moments_(in_, x, pixels_),
      sums_(in_, out_),
      parts_(threads()) {
  for (Part& part : parts_) part.squares.assign(in_ * step_, 0.0);
}

float* ExpansionGradient::place(int thread, int64_t first) {
  Part& part = parts_[thread];
  if (part.count == 0) part.first = first;
  return gradients_ + (thread * room_ + part.count) * out_;
}

void ExpansionGradient::take(int thread, int64_t first) {
  Part& part = parts_[thread];
  float* rows = gradients_ + (thread * room_ + part.count) * out_;
  norm_.add_rows(thread, raw_ + first * out_, nullptr, rows, activation_, row_, rows);
  part.count += row_;
  if (part.count + row_ > room_) work_off(thread);
}

void ExpansionGradient::work_off(int thread) {
  Part& part = parts_[thread];
  const float *gradients = gradients_ + thread * room_ * out_, *x = x_ + part.first * in_;
  float *shifted = shifted_ + thread * (room_ + step_) * in_, *products = shifted + room_ * in_;
  if (dx_ != nullptr) scaled_.multiply(gradients, part.count, dx_ + part.first * in_);
  moments_.add_rows(thread, x, part.count);
  shift_.rows(x, nullptr, part.count, shifted);
  sums_.add(thread, shifted, gradients, part.count);
  multiply_transposed(shifted, in_, shifted, in_, part.count, false, products, step_);
  for (int64_t i = 0; i < in_ * step_; ++i) part.squares[i] += products[i];
  part.count = 0;
}

void ExpansionGradient::finish(const float* residual, float* dgamma, float* dbeta, float* dweights) {
  parallel(threads(), pixels_ * out_, [&](int, int64_t begin, int64_t end) {
    for (int64_t thread = begin; thread < end; ++thread) {
      if (parts_[thread].count > 0) work_off(static_cast<int>(thread));
    }
  });
  norm_.finish(dgamma, dbeta);
  std::vector<double> mean(in_), variance(in_);
  moments_.mean_and_variance(mean.data(), variance.data());
  const std::vector<float> sloped = scaled_rows(weights_, norm_.slope(), in_, out_);
  finish_weights(sloped, mean, dweights);
  if (dx_ != nullptr) finish_input(sloped, mean, residual);
}

// The sum of (x - mean)^T (x - mean), from `centre`, the mean less the first row.
std::vector<float> ExpansionGradient::scatter(const std::vector<double>& centre) const {
  std::vector<float> sums(in_ * in_);
  for (int64_t i = 0; i < in_; ++i) {
    for (int64_t j = 0; j < in_; ++j) {
      double sum = -centre[i] * centre[j] * pixels_;
      for (const Part& part : parts_) sum += part.squares[i * step_ + j];
      sums[i * in_ + j] = static_cast<float>(sum);
    }
  }
  return sums;
}

// dweights = scale f^T z + constant sum(z) + slope weights (z - mean)^T (z - mean)
void ExpansionGradient::finish_weights(const std::vector<float>& sloped, const std::vector<double>& mean,
                                       float* dweights) {
  std::vector<double> centre(in_);
  for (int64_t i = 0; i < in_; ++i) centre[i] = mean[i] - x_[i];
  sums_.finish(false, dweights);
  for (int64_t o = 0; o < out_; ++o) {
    const double total = static_cast<double>(norm_.constant()[o]) * pixels_;
    for (int64_t i = 0; i < in_; ++i) {
      float& value = dweights[o * in_ + i];
      value = static_cast<float>(norm_.scale()[o] * static_cast<double>(value) + total * centre[i]);
    }
  }
  const Panels products = Panels::backward(scatter(centre).data(), in_, in_);
  for_blocks(out_, in_, in_, [&](int, int64_t o, int64_t rows) {
    products.multiply(&sloped[o * in_], rows, dweights + o * in_, true);
  });
}

// dx = scale f weights + (x - mean) weights^T slope weights + constant weights
void ExpansionGradient::finish_input(const std::vector<float>& sloped, const std::vector<double>& mean,
                                     const float* residual) {
  std::vector<float> square(in_ * in_), offsets(in_);
  multiply_transposed(weights_, in_, sloped.data(), in_, out_, false, square.data(), in_);
  std::vector<double> sums(in_, 0.0);
  for (int64_t o = 0; o < out_; ++o) {
    const float* weights = weights_ + o * in_;
    double factor = norm_.constant()[o];
    for (int64_t i = 0; i < in_; ++i) factor -= sloped[o * in_ + i] * mean[i];
    for (int64_t i = 0; i < in_; ++i) sums[i] += factor * weights[i];
  }
  for (int64_t i = 0; i < in_; ++i) offsets[i] = static_cast<float>(sums[i]);
  const Normaliser rest = adder(offsets);
  const Panels products = Panels::backward(square.data(), in_, in_);
  for_blocks(pixels_, in_, in_, [&](int, int64_t row, int64_t rows) {
    float* to = dx_ + row * in_;
    products.multiply(x_ + row * in_, rows, to, true);
    rest.rows(to, residual != nullptr ? residual + row * in_ : nullptr, rows, to);
  });
}

}  // namespace ppzoo
