// The weight gradient of a 1x1 convolution: each thread adds the products of its blocks of pixels with gemm_transposed
// to a separate sum. Layout of a sum: out x in or in x out, with rows padded to a multiple of kLanes elements; the one
// that needs fewer elements is used. finish() adds the sums of the threads in their order, and copies the total to out
// x in, in parallel over output channels.
#include "kernels/pointwise_blocks.h"

#include "kernels/elementwise.h"

namespace ppzoo {

WeightGradientSums::WeightGradientSums(int64_t in, int64_t out) : in_(in), out_(out), started_(max_threads(), false) {
  // Vectors run along the side that fills them better.
  vectors_along_out_ = round_up(out, kLanes) * in < round_up(in, kLanes) * out;
  stride_ = round_up(vectors_along_out_ ? out : in, kLanes);
  size_ = stride_ * (vectors_along_out_ ? in : out);
  sums_ = workspace(WorkspaceSlot::kWeightGradients, size_ * max_threads());
}

void WeightGradientSums::add(int thread, const float* x, const float* dy, int64_t rows) {
  float* sum = sums_ + thread * size_;
  if (vectors_along_out_) {
    gemm_transposed(x, in_, dy, out_, rows, started_[thread], sum, stride_);
  } else {
    gemm_transposed(dy, out_, x, in_, rows, started_[thread], sum, stride_);
  }
  started_[thread] = true;
}

void WeightGradientSums::finish(bool add, float* dweights) {
  const auto copy_column = [add](const float* from, int64_t step, int64_t count, float* to) {
    for (int64_t i = 0; i < count; ++i) to[i] = (add ? to[i] : 0.0f) + from[i * step];
  };
  if (std::none_of(started_.begin(), started_.end(), [](char started) { return started; })) {
    if (!add) std::fill_n(dweights, out_ * in_, 0.0f);
    return;
  }
  const float* sum = total();
  parallel_for(out_, out_ * in_, [&](int, int64_t begin, int64_t end) {
    if (!vectors_along_out_) {
      for (int64_t o = begin; o < end; ++o) copy_column(sum + o * stride_, 1, in_, dweights + o * in_);
      return;
    }
    for (int64_t first = 0; first < in_; first += kLanes) {  // one cache line of dweights
      const int64_t count = std::min(kLanes, in_ - first);
      for (int64_t o = begin; o < end; ++o)
        copy_column(sum + first * stride_ + o, stride_, count, dweights + o * in_ + first);
    }
  });
}

// Adds the sums of all threads to that of the first thread that has one.
const float* WeightGradientSums::total() {
  const auto first = std::find(started_.begin(), started_.end(), true) - started_.begin();
  float* sum = sums_ + first * size_;
  for (int64_t thread = first + 1; thread < max_threads(); ++thread) {
    if (started_[thread]) accumulate(sums_ + thread * size_, size_, sum);
  }
  return sum;
}

}  // namespace ppzoo
