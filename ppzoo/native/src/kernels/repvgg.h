// A block of RepVGG (Ding et al., arXiv:2101.03697) in training as one operator.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/batch_norm.h"
#include "kernels/conv_shape.h"

namespace ppzoo {

// y = ReLU(norm(dense(x)) + norm(pointwise(x)) + norm(x)), with two convolutions without bias and groups whose outputs
// have the same shape. `pointwise` is 1x1 without padding. The last term exists with `identity`, which requires that x
// has the shape of y.
struct RepVggBlock {
  ConvShape dense, pointwise;
  bool identity;
};

// The norms are in the order of the sum: dense, pointwise, identity.
constexpr size_t kDenseBranch = 0, kPointwiseBranch = 1, kIdentityBranch = 2;

struct RepVggWeights {
  const float *dense, *pointwise;
  std::vector<NormParameters> norms;
};
// The values that the forward pass saves: the convolutions' results, and the mean and the inverse standard deviation
// of each norm. T: float in the forward pass, const float in the backward pass.
template <class T>
struct RepVggSaved {
  T *dense, *pointwise;
  std::vector<T*> means, inverse_stds;
};
struct RepVggGradients {
  float *dense, *pointwise;
  std::vector<float*> gammas, betas;
};

void repvgg(const RepVggBlock& block, const float* x, const RepVggWeights& weights, const RepVggSaved<float>& saved,
            float* y);
// `dx` can be null.
void repvgg_gradients(const RepVggBlock& block, const float* x, const RepVggWeights& weights,
                      const RepVggSaved<const float>& saved, const float* y, const float* dy,
                      const RepVggGradients& gradients, float* dx);

}  // namespace ppzoo
