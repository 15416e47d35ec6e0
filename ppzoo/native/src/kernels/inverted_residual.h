// An inverted residual block (Sandler et al., arXiv:1801.04381) as one operator.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/activation.h"
#include "kernels/conv_shape.h"
#include "kernels/gated_projection.h"
#include "kernels/norm_stages.h"

namespace ppzoo {

// Expansion (1x1 convolution), depthwise convolution and projection (1x1 convolution), each with batch norm and
// activation. With `shortcut`, which needs kNone as the last activation, x is added to the output.
struct InvertedResidual {
  std::array<ConvShape, 3> shapes;
  std::array<Activation, 3> activations;
  bool shortcut;
};
// The number of elements of a stage's `SavedStage::raw`. If the expansion is recomputed, `raw` of the first stage is
// the covariance of its input (see expansion.h).
int64_t saved_elements(const InvertedResidual& block, int stage);
// `stages`, `saved` and `gradients` have three elements each. With `gates`, squeeze-and-excitation is between depthwise
// convolution and projection.
void inverted_residual(const InvertedResidual& block, const float* x, const StageWeights* stages,
                       const SavedStage<float>* saved, float* y, const GatesForward* gates = nullptr);
// `dx` can be null.
void inverted_residual_gradients(const InvertedResidual& block, const float* x, const StageWeights* stages,
                                 const SavedStage<const float>* saved, const float* dy, const StageGradient* gradients,
                                 float* dx, const GatesBackward* gates = nullptr);

}  // namespace ppzoo
