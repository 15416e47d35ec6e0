// The arguments of the operators that compute several convolutions with batch norm ("stages"), and their checks. See
// common.h.
#pragma once

#include <vector>

#include "kernels/conv_shape.h"
#include "kernels/integer_math.h"
#include "kernels/norm_stages.h"
#include "ops/common.h"
#include "ops/layer_arguments.h"

namespace ppzoo::ops {

using Tensors = std::vector<Tensor>;
using Integers = std::vector<int>;
using Floats = std::vector<float>;

constexpr size_t kGeometry = 9;     // numbers of a convolution's geometry
constexpr int64_t kCacheLine = 16;  // elements

// The lists of an operator have one element per stage.
inline void require_count(size_t received, size_t expected, const char* name) {
  require(received == expected, [&] {
    return "convolutions with batch norm: expected " + std::to_string(expected) + " " + name + ", got " +
           std::to_string(received);
  });
}

// Returns the number of elements that a stage saves for the backward pass. The elements of all stages are in one
// tensor, since each PaddlePaddle tensor costs microseconds. `raw_size`: the number of elements of `SavedStage::raw`.
inline int64_t saved_stage_size(int64_t channels, int64_t raw_size) {
  return 2 * ppzoo::round_up(channels, kCacheLine) + ppzoo::round_up(raw_size, kCacheLine);
}

// Returns the saved values of the stage that begins at `start`, and moves `start` to the next stage.
template <class Value>
SavedStage<Value> next_saved_stage(int64_t channels, int64_t raw_size, Value*& start) {
  Value *mean = start, *inverse_std = mean + ppzoo::round_up(channels, kCacheLine);
  Value* raw = inverse_std + ppzoo::round_up(channels, kCacheLine);
  start += saved_stage_size(channels, raw_size);
  return {raw, mean, inverse_std};
}

// The weights and norms of all stages in the forward pass, which updates the running statistics.
inline std::vector<StageWeights> stages_to_train(const std::vector<ConvShape>& shapes, const Tensors& weights,
                                                 const Tensors& gammas, const Tensors& betas, Tensors& running_means,
                                                 Tensors& running_variances, const Floats& momenta,
                                                 const Floats& epsilons) {
  for (const size_t count : {gammas.size(), betas.size(), running_means.size(), running_variances.size()}) {
    require_count(count, weights.size(), "norms");
  }
  require_count(momenta.size(), weights.size(), "momenta");
  require_count(epsilons.size(), weights.size(), "epsilons");
  std::vector<StageWeights> stages;
  for (size_t k = 0; k < weights.size(); ++k) {
    const NormParameters norm = norm_parameters(shapes[k].out_channels, gammas[k], betas[k], running_means[k],
                                                running_variances[k], momenta[k], epsilons[k]);
    stages.push_back({weights[k].data<float>(), norm});
  }
  return stages;
}

// The weights and norms of all stages in the backward pass, and the tensors for their gradients.
struct StagesBackward {
  std::vector<StageWeights> stages;
  std::vector<StageGradient> to;
  Tensors dweights, dgammas, dbetas;

  StagesBackward(const std::vector<ConvShape>& shapes, const Tensors& weights, const Tensors& gammas,
                 const Tensors& betas) {
    require_count(gammas.size(), weights.size(), "norms");
    require_count(betas.size(), weights.size(), "norms");
    for (size_t k = 0; k < weights.size(); ++k) {
      const Tensor &weight = weights[k], &gamma = gammas[k];
      require_shape(gamma, "scale of the norm", {shapes[k].out_channels});
      require_shape(betas[k], "offset of the norm", {shapes[k].out_channels});
      Tensor dweight = empty_like(weight), dgamma = empty_like(gamma), dbeta = empty_like(gamma);
      stages.push_back(
          {weight.data<float>(), {gamma.data<float>(), betas[k].data<float>(), nullptr, nullptr, 0.0f, 0.0f}});
      to.push_back({dweight.data<float>(), dgamma.data<float>(), dbeta.data<float>()});
      dweights.push_back(dweight), dgammas.push_back(dgamma), dbetas.push_back(dbeta);
    }
  }

  // All gradients in the order of the gradient operator's outputs.
  Tensors gradients(const Tensor& dx) const {
    Tensors all{dx};
    for (const auto* group : {&dweights, &dgammas, &dbetas}) all.insert(all.end(), group->begin(), group->end());
    return all;
  }
};

}  // namespace ppzoo::ops
