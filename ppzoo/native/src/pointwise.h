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
  return std::clamp<int64_t>(kElements / std::max<int64_t>(1, in + out) / 48 * 48, 48, 240);
}

// Calls body(thread, first row, rows) for blocks of `rows`, as many for each thread.
template <class Body>
void for_blocks(int64_t rows, int64_t in, int64_t out, Body&& body) {
  if (rows == 0) return;
  const int64_t most = block_rows(in, out), wanted = round_up((rows + most - 1) / most, threads());
  const int64_t block = (rows + wanted - 1) / wanted, blocks = (rows + block - 1) / block;
  parallel(blocks, rows * std::max(in, out), [&](int thread, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(thread, i * block, std::min(block, rows - i * block));
  });
}

// The weights of a 1x1 convolution, out x in, packed for its products; `purpose` where those of another one are in use.
class Panels {
 public:
  // For y = x weights^T.
  static Panels forward(const float* weights, int64_t in, int64_t out, Purpose purpose = Purpose::kWeights) {
    return {purpose, weights, 1, in, in, out};
  }
  // For dx = dy weights.
  static Panels backward(const float* weights, int64_t in, int64_t out, Purpose purpose = Purpose::kWeights) {
    return {purpose, weights, in, 1, out, in};
  }
  // Writes the product with `rows` dense rows to `to`, or adds it to what is there.
  void multiply(const float* from, int64_t rows, float* to, bool add = false) const {
    ppzoo::multiply(from, depth_, panels_, rows, depth_, columns_, to, columns_, add);
  }
  // Elements of a row that is multiplied.
  int64_t depth() const { return depth_; }

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

}  // namespace ppzoo
