// What kernels with 1x1 convolutions in them share: blocks of pixels, and the two gradients of such a convolution for a
// block at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels.h"
#include "parallel.h"
#include "product.h"

namespace ppzoo {

// Pixels that are worked on at a time: what belongs to them should stay in the first-level cache.
inline int64_t block_rows(int64_t in, int64_t out) {
  constexpr int64_t kElements = 6144;
  return std::clamp<int64_t>(kElements / (in + out) / 48 * 48, 48, 240);
}

// Calls body(thread, first row, rows) for blocks of `rows`, as many for each thread.
template <class Body>
void for_blocks(int64_t rows, int64_t in, int64_t out, Body&& body) {
  const int64_t most = block_rows(in, out), wanted = round_up((rows + most - 1) / most, threads());
  const int64_t block = (rows + wanted - 1) / wanted, blocks = (rows + block - 1) / block;
  parallel(blocks, rows * std::max(in, out), [&](int thread, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(thread, i * block, std::min(block, rows - i * block));
  });
}

// The weights of a 1x1 convolution, out x in, packed for its products.
class Panels {
 public:
  // For y = x weights^T.
  static Panels forward(const float* weights, int64_t in, int64_t out) {
    return {Purpose::kWeights, weights, 1, in, in, out};
  }
  // For dx = dy weights; `purpose` where those of another convolution are in use too.
  static Panels backward(const float* weights, int64_t in, int64_t out, Purpose purpose = Purpose::kWeights) {
    return {purpose, weights, in, 1, out, in};
  }
  // Writes the product with `rows` dense rows to `to`, or adds it to what is there.
  void multiply(const float* from, int64_t rows, float* to, bool add = false) const {
    ppzoo::multiply(from, depth_, panels_, rows, depth_, columns_, to, columns_, add);
  }

 private:
  Panels(Purpose purpose, const float* b, int64_t row_step, int64_t column_step, int64_t depth, int64_t columns)
      : depth_(depth), columns_(columns), panels_(buffer(purpose, packed_size(depth, columns))) {
    pack(b, row_step, column_step, depth, columns, panels_);
  }

  int64_t depth_, columns_;
  float* panels_;
};

// Sums of dy^T x over blocks of rows, one a thread.
class WeightSums {
 public:
  WeightSums(int64_t in, int64_t out);
  void add(int thread, const float* x, const float* dy, int64_t rows);
  // The total of all threads, out x in.
  void finish(bool add, float* dweights);

 private:
  const float* total();

  int64_t in_, out_, step_, size_;
  bool along_out_;
  float* sums_;
  std::vector<char> begun_;
};

// Backward of activation(batch_norm(x weights^T)) from rows of its gradient, which are nowhere kept. With f the gradient
// masked by the activation, that of the convolution's result is scale f + slope (raw - mean) + constant (NormGradient).
// What f gives to the gradients of x and of the weights is computed while a row is at hand. Slope and constant are known
// when all rows have been seen, but since raw = x weights^T their part needs x and its covariance only.
class ExpansionGradient {
 public:
  // Whether the sums over x are cheap beside what is saved: with far fewer channels before than after, and many pixels.
  static bool pays(const ConvShape& shape) {
    return shape.out_channels > 2 * shape.channels && shape.source_size() > 4 * shape.out_channels * shape.channels;
  }
  // `norm`: that of the convolution's result, `raw`; `row`: the pixels that come at a time; `dx` may be null.
  ExpansionGradient(const ConvShape& shape, NormGradient& norm, Activation activation, const float* x,
                    const float* weights, const float* raw, int64_t row, float* dx);
  // Where thread number `thread` shall write the row of gradients that begins with pixel `first`, next to its last one.
  float* place(int thread, int64_t first);
  // It is written.
  void take(int thread, int64_t first);
  // The gradients of the norm's parameters, of the weights, and that of x plus `residual` unless that is null.
  void finish(const float* residual, float* dgamma, float* dbeta, float* dweights);

 private:
  // Of a thread: pixels [first, first + count) wait for their products; the sum of z^T z, with z = x less its first row.
  struct Part {
    int64_t first = 0, count = 0;
    std::vector<double> squares;
  };
  void work_off(int thread);
  std::vector<float> scatter(const std::vector<double>& centre) const;
  void finish_weights(const std::vector<float>& sloped, const std::vector<double>& mean, float* dweights);
  void finish_input(const std::vector<float>& sloped, const std::vector<double>& mean, const float* residual);

  int64_t in_, out_, pixels_, row_, room_, step_;
  NormGradient& norm_;
  Activation activation_;
  const float *x_, *weights_, *raw_;
  float *dx_, *gradients_, *shifted_;
  Panels scaled_;
  Normaliser shift_;
  Moments moments_;
  WeightSums sums_;
  std::vector<Part> parts_;
};

}  // namespace ppzoo
