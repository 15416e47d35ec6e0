// An expansion: a 1x1 convolution with batch norm and activation whose wide output is not kept in memory. It is
// recomputed from its narrow input where it is read, and its gradient is consumed where it is computed.
//
// Batch norm needs the mean and variance of the convolution's output before the output exists. Both follow from the
// mean and the covariance of the input, since the convolution is linear; so do the sums of batch norm's gradient.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/batch_norm.h"
#include "kernels/conv_shape.h"
#include "kernels/pointwise_blocks.h"

namespace ppzoo {

// Whether recomputing is faster than keeping the output: for large outputs with many more channels than the input.
bool recomputes_expansion(const ConvShape& expansion);

// The mean of the columns of x (rows x channels) and the scatter matrix, the sum of (x - mean)^T (x - mean). They are
// double: if columns are similar, the variance of a product w x is a small difference of large numbers.
struct Covariance {
  int64_t rows, channels;
  const double *mean, *scatter;

  static int64_t size(int64_t channels) { return channels * (channels + 1); }
  // `values`: the `size(channels)` numbers that `compute_covariance` has written.
  Covariance(int64_t rows, int64_t channels, const double* values)
      : rows(rows), channels(channels), mean(values), scatter(values + channels) {}
  // The statistics of x weights^T, with weights out x channels.
  Statistics product_statistics(const float* weights, int64_t out) const;
};
void compute_covariance(int64_t rows, int64_t channels, const float* x, double* values);

// The backward pass. The gradient of the expansion's output is passed row by row. Let f be that gradient masked by the
// activation. The gradient of the convolution's output is then scale f + slope (raw - mean) + constant (see
// NormGradient). The terms with f are computed when a row is passed. slope and constant are known only after the last
// row. Their terms need no rows: raw - mean is (x - mean of x) weights^T, so they follow from x and its covariance.
class ExpansionGradient {
 public:
  // `norm`: the norm of the convolution's output; `row`: the number of pixels of a row; `dx` can be null.
  ExpansionGradient(const ConvShape& shape, NormGradient& norm, Activation activation, const float* x,
                    const Covariance& covariance, const float* weights, int64_t row, float* dx);
  // Where thread number `thread` writes the row of gradients that begins with pixel `first`.
  float* row_buffer(int thread, int64_t first);
  // Called after the row was written. `raw`: the same pixels of the convolution's output.
  void add_row(int thread, const float* raw);
  // Writes the gradients of the norm's parameters and of the weights, and dx. `residual` is added to dx unless it is
  // null.
  void finish(const float* residual, float* dgamma, float* dbeta, float* dweights);

 private:
  // Pixels [first, first + count) of a thread, which are not yet added to the gradients.
  struct PendingRows {
    int64_t first = 0, count = 0;
  };
  void flush(int thread);
  void finish_weights(const std::vector<float>& slope_weights, float* dweights);
  void finish_input(const std::vector<float>& slope_weights, const float* residual) const;

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
