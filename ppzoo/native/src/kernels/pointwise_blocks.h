// Code that all kernels with 1x1 convolutions share: blocks of pixels, packed weights, and the weight gradient of
// one block at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/gemm.h"
#include "kernels/integer_math.h"
#include "kernels/parallel.h"
#include "kernels/workspace.h"

namespace ppzoo {

// The maximum number of pixels of a block: their inputs and outputs should fit into the L1 cache.
inline int64_t block_rows(int64_t in, int64_t out) {
  constexpr int64_t kElements = 6144;
  return std::clamp<int64_t>(kElements / std::max<int64_t>(1, in + out) / 48 * 48, 48, 240);
}

// Calls body(thread, first row, rows) for blocks that divide `rows` rows, with about the same number per thread.
template <class Body>
void for_blocks(int64_t rows, int64_t in, int64_t out, Body&& body) {
  if (rows == 0) return;
  const int64_t max_rows = block_rows(in, out), target = round_up((rows + max_rows - 1) / max_rows, max_threads());
  const int64_t block = (rows + target - 1) / target, blocks = (rows + block - 1) / block;
  parallel_for(blocks, rows * std::max(in, out), [&](int thread, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(thread, i * block, std::min(block, rows - i * block));
  });
}

// The weights (out x in) of a 1x1 convolution, packed for gemm. They are in a workspace slot: weights that are in use
// at the same time need different slots.
class PackedWeights {
 public:
  // For y = x weights^T.
  static PackedWeights forward(const float* weights, int64_t in, int64_t out,
                               WorkspaceSlot slot = WorkspaceSlot::kPackedWeights) {
    return {slot, weights, 1, in, in, out};
  }
  // For dx = dy weights.
  static PackedWeights backward(const float* weights, int64_t in, int64_t out,
                                WorkspaceSlot slot = WorkspaceSlot::kPackedWeights) {
    return {slot, weights, in, 1, out, in};
  }
  // Writes the product with `rows` dense rows to `to`, or with `add` adds it.
  void multiply(const float* from, int64_t rows, float* to, bool add = false) const {
    gemm(from, depth_, panels_, rows, depth_, columns_, to, columns_, add);
  }
  // The number of elements of a row that is multiplied.
  int64_t depth() const { return depth_; }

 private:
  PackedWeights(WorkspaceSlot slot, const float* b, int64_t row_step, int64_t column_step, int64_t depth,
                int64_t columns)
      : depth_(depth), columns_(columns), panels_(workspace(slot, packed_size(depth, columns))) {
    pack_panels(b, row_step, column_step, depth, columns, panels_);
  }

  int64_t depth_, columns_;
  float* panels_;
};

// Accumulates dy^T x over blocks of rows, in one sum per thread. finish() adds the sums of the threads.
class WeightGradientSums {
 public:
  WeightGradientSums(int64_t in, int64_t out);
  void add(int thread, const float* x, const float* dy, int64_t rows);
  // Writes the total of all threads, out x in; with `add`, adds it.
  void finish(bool add, float* dweights);

 private:
  const float* total();

  int64_t in_, out_, stride_, size_;
  bool vectors_along_out_;
  float* sums_;
  std::vector<char> started_;
};

}  // namespace ppzoo
