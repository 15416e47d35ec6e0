// The arguments of kernels that compute several convolutions in sequence, each followed by batch norm ("stages").
#pragma once

#include "kernels/batch_norm.h"

namespace ppzoo {

struct StageWeights {
  const float* weights;
  NormParameters norm;
};
// What the forward pass saves of a stage for the backward pass. `raw` is the convolution's output. `Value` is float
// where it is written, else const float.
template <class Value>
struct SavedStage {
  Value *raw, *mean, *inverse_std;
};
struct StageGradient {
  float *weights, *gamma, *beta;
};

}  // namespace ppzoo
