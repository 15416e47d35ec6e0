// Convolutions in sequence, each followed by batch norm and an activation, as one operator.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/activation.h"
#include "kernels/conv_shape.h"
#include "kernels/norm_stages.h"

namespace ppzoo {

// Stage i computes activation(norm(convolution(output of stage i - 1))). Its convolution is 1x1 or depthwise (see
// pointwise.h and depthwise.h), except that the convolution of the first stage can be of any kind.
struct ConvNormSequence {
  std::vector<ConvShape> shapes;
  std::vector<Activation> activations;
};
// `stages`, `saved` and `gradients` have one element per stage.
void conv_norm_sequence(const ConvNormSequence& sequence, const float* x, const StageWeights* stages,
                        const SavedStage<float>* saved, float* y);
// The number of elements of `scratch` below.
int64_t gradient_scratch_size(const ConvNormSequence& sequence);
// `dx` can be null.
void conv_norm_sequence_gradients(const ConvNormSequence& sequence, const float* x, const StageWeights* stages,
                                  const SavedStage<const float>* saved, const float* dy, const StageGradient* gradients,
                                  float* dx, float* scratch);

}  // namespace ppzoo
