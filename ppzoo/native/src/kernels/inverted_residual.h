// An inverted residual block (Sandler et al., arXiv:1801.04381) as one operator.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/activation.h"
#include "kernels/batch_norm.h"
#include "kernels/conv_shape.h"

namespace ppzoo {

// Expansion (1x1 convolution), depthwise convolution and projection (1x1 convolution), each with batch norm and
// activation. With `shortcut`, which needs kNone as the last activation, x is added to the output.
struct InvertedResidual {
  std::array<ConvShape, 3> shapes;
  std::array<Activation, 3> activations;
  bool shortcut;
};
struct StageWeights {
  const float* weights;
  NormParameters norm;
};
// What the forward pass saves of a stage for the backward pass. `raw` is the convolution's output, or, if the expansion
// is recomputed, the covariance of its input (see expansion.h).
// T: float in the forward pass, const float in the backward pass.
template <class T>
struct SavedStage {
  T *raw, *mean, *inverse_std;
};
// The number of elements of `raw`.
int64_t saved_elements(const InvertedResidual& block, int stage);
struct StageGradient {
  float *weights, *gamma, *beta;
};
void inverted_residual(const InvertedResidual& block, const float* x, const std::vector<StageWeights>& stages,
                       const std::vector<SavedStage<float>>& saved, float* y);
// `dx` can be null.
void inverted_residual_gradients(const InvertedResidual& block, const float* x, const std::vector<StageWeights>& stages,
                                 const std::vector<SavedStage<const float>>& saved, const float* dy,
                                 const std::vector<StageGradient>& gradients, float* dx);

}  // namespace ppzoo
