// ReLU of a sum of batch norms in training: the end of a block with parallel branches. Each norm normalizes another
// tensor; all tensors are float32 and have the same shape. Statistics are computed for each branch alone (Moments,
// finalize_statistics).
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/batch_norm.h"

namespace ppzoo {

// The number of branches that the classes below support.
constexpr size_t kMinBranches = 2, kMaxBranches = 3;

// y = ReLU(sum of norm(x) over the branches), in one pass. The norms' own activations are not used.
class NormSum {
 public:
  explicit NormSum(std::vector<Normalizer> norms) : norms_(std::move(norms)) {}
  // `x`: one tensor of `rows` rows per branch.
  void apply(const std::vector<const float*>& x, int64_t rows, float* y) const;

 private:
  template <int kBranches>
  void apply_rows(const float* const* x, int64_t rows, float* y) const;

  std::vector<Normalizer> norms_;
};

// The backward pass of NormSum. The mask of the ReLU is read from y in both passes over the batch.
class NormSumGradient {
 public:
  // `norms`: the gradient of each branch's norm. All have the same numbers of rows and channels.
  explicit NormSumGradient(std::vector<NormGradient> norms) : norms_(std::move(norms)) {}
  // First pass, over all rows.
  void add(const std::vector<const float*>& x, const float* y, const float* dy);
  // Between the passes: writes the gradients of the parameters of one branch's norm.
  void finish(size_t branch, float* dgamma, float* dbeta) { norms_[branch].finish(dgamma, dbeta); }
  // Second pass, for some rows on one thread: writes the gradient of each branch's x unless its `dx` is null.
  void apply_rows(const std::vector<const float*>& x, const float* y, const float* dy, int64_t rows,
                  const std::vector<float*>& dx) const;

 private:
  template <class Sum, int kBranches>
  void add_rows(int thread, const float* const* x, const float* y, const float* dy, int64_t rows);
  template <int kBranches>
  void apply_rows_of(const float* const* x, const float* y, const float* dy, int64_t rows, float* const* dx) const;

  std::vector<NormGradient> norms_;
};

}  // namespace ppzoo
