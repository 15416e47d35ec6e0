// The inverted residual of inverted_residual.h on bfloat16 images.
#pragma once

#include <cstdint>

#include "kernels/bfloat16.h"
#include "kernels/inverted_residual.h"

namespace ppzoo {

// The values of a stage that the forward pass saves for the backward pass: the convolution's output, of
// bfloat16_saved_elements values, and its statistics.
template <class Raw, class Statistic>
struct Bfloat16SavedStage {
  Raw* raw;
  Statistic *mean, *inverse_std;
};
using Bfloat16StageToSave = Bfloat16SavedStage<Bfloat16, float>;
using Bfloat16StageToRead = Bfloat16SavedStage<const Bfloat16, const float>;
// The output of a large expansion is not saved, but computed again.
int64_t bfloat16_saved_elements(const InvertedResidual& block, int stage);
// `stages`, `saved` and `gradients` have three elements each.
void bfloat16_inverted_residual(const InvertedResidual& block, const Bfloat16* x, const StageWeights* stages,
                                const Bfloat16StageToSave* saved, Bfloat16* y);
// `dx` can be null.
void bfloat16_inverted_residual_gradients(const InvertedResidual& block, const Bfloat16* x, const StageWeights* stages,
                                          const Bfloat16StageToRead* saved, const Bfloat16* dy,
                                          const StageGradient* gradients, Bfloat16* dx);

}  // namespace ppzoo
