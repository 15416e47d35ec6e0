// Updates of all parameters in one call.
#pragma once

#include <cstdint>
#include <vector>

namespace ppzoo {

struct MomentumTensor {
  float *parameter, *velocity;
  const float* gradient;
  int64_t count;
  float rate, decay;
};

// SGD with momentum and an L2 penalty, in place:
//   slope = gradient + decay parameter
//   velocity = mu velocity + slope
//   parameter -= rate velocity, or with `nesterov` rate (slope + mu velocity)
void momentum_step(const std::vector<MomentumTensor>& tensors, float mu, bool nesterov);
// average = decay average + weight value, in place, for all elements of all tensors.
void update_ema(const std::vector<float*>& averages, const std::vector<const float*>& values,
                const std::vector<int64_t>& counts, float decay, float weight);
// Whether no value is infinite or NaN.
bool all_finite(const std::vector<const float*>& values, const std::vector<int64_t>& counts);

}  // namespace ppzoo
