// An inverted residual block (Sandler et al., arXiv:1801.04381) as one operator.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/activation.h"
#include "kernels/batch_norm.h"
#include "kernels/conv_shape.h"
#include "kernels/gated_projection.h"

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
// is recomputed, the covariance of its input (see expansion.h). `Value` is float where it is written, else const float.
template <class Value>
struct SavedStage {
  Value *raw, *mean, *inverse_std;
};
// The number of elements of `raw`.
int64_t saved_elements(const InvertedResidual& block, int stage);
struct StageGradient {
  float *weights, *gamma, *beta;
};
// `stages`, `saved` and `gradients` have three elements each. With `gates`, squeeze-and-excitation is between depthwise
// convolution and projection.
void inverted_residual(const InvertedResidual& block, const float* x, const StageWeights* stages,
                       const SavedStage<float>* saved, float* y, const GatesForward* gates = nullptr);
// `dx` can be null.
void inverted_residual_gradients(const InvertedResidual& block, const float* x, const StageWeights* stages,
                                 const SavedStage<const float>* saved, const float* dy, const StageGradient* gradients,
                                 float* dx, const GatesBackward* gates = nullptr);

}  // namespace ppzoo
