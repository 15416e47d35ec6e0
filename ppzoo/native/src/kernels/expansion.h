// An expansion, a 1x1 convolution with batch norm and activation whose wide result is nowhere kept: it is made again
// from its narrow input where it is read, and so is its gradient used up where it is made. What batch norm needs to
// know of the result follows from the mean and the covariance of the input, since both the convolution and batch norm's
// gradient are linear.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/batch_norm.h"
#include "kernels/conv_shape.h"
#include "kernels/pointwise_blocks.h"

namespace ppzoo {

// Whether that takes less time than to keep the result: a large one, of far fewer channels.
bool recomputes_expansion(const ConvShape& expansion);

// The mean of the columns of x (rows x channels) and the sum of (x - mean)^T (x - mean), in double, in memory of the
// caller's. The variance of a product w x is a small difference where the columns are alike: hence double.
struct Covariance {
  int64_t rows, channels;
  double *mean, *scatter;

  static int64_t size(int64_t channels) { return channels * (channels + 1); }
  // In `size` doubles from `memory` on.
  Covariance(int64_t rows, int64_t channels, double* memory)
      : rows(rows), channels(channels), mean(memory), scatter(memory + channels) {}
  // Writes both.
  void compute(const float* x) const;
  // Those of x weights^T; weights: out x channels.
  Statistics product_statistics(const float* weights, int64_t out) const;
};

// The backward pass, from rows of the gradient of the expansion's output. With f that gradient masked by the
// activation, the gradient of the convolution's result is scale f + slope (raw - mean) + constant (NormGradient). What
// f gives to the gradients of x and of the weights is computed while a row is at hand; slope and constant are known
// when all rows have been seen, but raw - mean = (x - its mean) weights^T: their part is made from x and its
// covariance.
class ExpansionGradient {
 public:
  // `norm`: that of the convolution's result; `row`: the pixels that come at a time; `dx` may be null.
  ExpansionGradient(const ConvShape& shape, NormGradient& norm, Activation activation, const float* x,
                    const Covariance& covariance, const float* weights, int64_t row, float* dx);
  // Where thread number `thread` shall write the row of gradients that begins with pixel `first`, next to its last one.
  float* row_buffer(int thread, int64_t first);
  // It is written; `raw`: the same pixels of the convolution's result.
  void add_row(int thread, const float* raw);
  // The gradients of the norm's parameters, of the weights, and that of x plus `residual` unless it is null.
  void finish(const float* residual, float* dgamma, float* dbeta, float* dweights);

 private:
  // Of a thread: pixels [first, first + count) wait for their products.
  struct PendingRows {
    int64_t first = 0, count = 0;
  };
  void flush(int thread);
  void finish_weights(const std::vector<float>& sloped, float* dweights);
  void finish_input(const std::vector<float>& sloped, const float* residual) const;

  int64_t in_, out_, pixels_, row_, capacity_;
  NormGradient& norm_;
  Activation activation_;
  const float* x_;
  const Covariance& covariance_;
  const float* weights_;
  float *dx_, *gradients_, *centered_;
  PackedWeights scaled_;
  Normalizer center_;
  WeightGradientSums sums_;
  std::vector<PendingRows> pending_;
};

}  // namespace ppzoo
