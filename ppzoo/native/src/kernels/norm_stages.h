// The arguments of kernels that compute several convolutions in sequence, each followed by batch norm ("stages").
#pragma once

#include "kernels/batch_norm.h"

namespace ppzoo {

struct StageWeights {
  const float* weights;
  NormParameters norm;
};
// The values of a stage that the forward pass saves for the backward pass. `raw` is the convolution's output. `Value`
// is float in the forward pass, which writes the values, and const float in the backward pass.
template <class Value>
struct SavedStage {
  Value *raw, *mean, *inverse_std;
};
struct StageGradient {
  float *weights, *gamma, *beta;
};

}  // namespace ppzoo
