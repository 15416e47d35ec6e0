// The arguments of the operators that compute inverted residuals, and their checks. See common.h.
#pragma once

#include <vector>

#include "kernels/depthwise.h"
#include "kernels/inverted_residual.h"
#include "kernels/pointwise.h"
#include "ops/common.h"
#include "ops/layer_arguments.h"

namespace ppzoo::ops {

using Tensors = std::vector<Tensor>;
using Integers = std::vector<int>;
using Floats = std::vector<float>;

constexpr size_t kStages = 3, kGeometry = 9;  // per block: convolutions; numbers of the depthwise one's geometry

// The lists of an operator have one element per stage: of the first block, of the second, ...
inline void require_count(size_t received, size_t expected, const char* name) {
  require(received == expected, [&] {
    return "inverted residuals: expected " + std::to_string(expected) + " " + name + ", got " +
           std::to_string(received);
  });
}

// `weights`, `geometry` (of the depthwise convolution) and `activations` are those of one block.
inline InvertedResidual block_of(Shape shape, const Tensor* weights, const Integers& geometry, const int* activations,
                                 bool shortcut) {
  const Integers pointwise{1, 1, 0, 0, 0, 0, 1, 1, 1};
  const Shape input = shape;
  InvertedResidual block;
  for (size_t stage = 0; stage < kStages; ++stage) {
    block.shapes[stage] = conv_shape(shape, weights[stage], stage == 1 ? geometry : pointwise);
    block.activations[stage] = activation_of(activations[stage]);
    shape = output_shape(block.shapes[stage]);
  }
  block.shortcut = shortcut;
  require(ppzoo::pointwise(block.shapes[0]) && depthwise(block.shapes[1]) && ppzoo::pointwise(block.shapes[2]),
          [] { return "inverted residual: expected convolutions that are 1x1, depthwise and 1x1"; });
  const ConvShape& filter = block.shapes[1];
  require(filter.dilation_h * (filter.kernel_h - 1) < filter.height + filter.top + filter.bottom &&
              filter.dilation_w * (filter.kernel_w - 1) < filter.width + filter.left + filter.right,
          [&] { return "inverted residual: expected an input at least as large as the filter, got " + format(input); });
  require(!shortcut || (shape == input && block.activations[2] == Activation::kNone), [&] {
    return "inverted residual: expected equal input and output shapes and no last activation with a shortcut, got " +
           format(input) + " and " + format(shape);
  });
  return block;
}

inline std::vector<InvertedResidual> blocks_of(const Tensor& x, const Tensors& weights, const Integers& geometries,
                                               const Integers& activations, const Integers& shortcuts,
                                               phi::DataType type = kFloat32) {
  const size_t count = shortcuts.size();
  require(count > 0, [] { return "inverted residuals: expected at least one block"; });
  require_count(weights.size(), kStages * count, "weights");
  require_count(activations.size(), kStages * count, "activations");
  require_count(geometries.size(), kGeometry * count, "numbers of geometries");
  require_axes(x, "input", 4, type);
  std::vector<InvertedResidual> blocks;
  Shape shape = x.shape();
  for (size_t i = 0; i < count; ++i) {
    require(shortcuts[i] == 0 || shortcuts[i] == 1,
            [&] { return "inverted residuals: expected 0 or 1 for a shortcut, got " + std::to_string(shortcuts[i]); });
    const auto geometry = geometries.begin() + static_cast<int64_t>(kGeometry * i);
    blocks.push_back(block_of(shape, &weights[kStages * i], Integers(geometry, geometry + kGeometry),
                              &activations[kStages * i], shortcuts[i] == 1));
    shape = output_shape(blocks.back().shapes[2]);
  }
  return blocks;
}

// The weights and norms of all stages in the forward pass, which updates the running statistics.
inline std::vector<StageWeights> stages_to_train(const std::vector<InvertedResidual>& blocks, const Tensors& weights,
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
    const int64_t channels = blocks[k / kStages].shapes[k % kStages].out_channels;
    stages.push_back({weights[k].data<float>(), norm_parameters(channels, gammas[k], betas[k], running_means[k],
                                                                running_variances[k], momenta[k], epsilons[k])});
  }
  return stages;
}

// The weights and norms of all stages in the backward pass, and the tensors for their gradients.
struct StagesBackward {
  std::vector<StageWeights> stages;
  std::vector<StageGradient> to;
  Tensors dweights, dgammas, dbetas;

  StagesBackward(const std::vector<InvertedResidual>& blocks, const Tensors& weights, const Tensors& gammas,
                 const Tensors& betas) {
    require_count(gammas.size(), weights.size(), "norms");
    require_count(betas.size(), weights.size(), "norms");
    for (size_t k = 0; k < weights.size(); ++k) {
      const Tensor &weight = weights[k], &gamma = gammas[k];
      const int64_t channels = blocks[k / kStages].shapes[k % kStages].out_channels;
      require_shape(gamma, "scale of the norm", {channels});
      require_shape(betas[k], "offset of the norm", {channels});
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
