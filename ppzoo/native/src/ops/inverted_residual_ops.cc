// Operator: one or several inverted residual blocks in sequence. See common.h.
//
// Several blocks are one operator because on small images a large part of a training step is the time that PaddlePaddle
// needs to call an operator and to record its gradient: 20 to 60 us, as long as the block's arithmetic.
#include <array>

#include "kernels/depthwise.h"
#include "kernels/integer_math.h"
#include "kernels/inverted_residual.h"
#include "kernels/pointwise.h"
#include "ops/common.h"
#include "ops/layer_arguments.h"

namespace {

using namespace ppzoo::ops;
using ppzoo::Activation;
using ppzoo::ConvShape;
using ppzoo::InvertedResidual;
using Tensors = std::vector<Tensor>;
using Integers = std::vector<int>;
using Floats = std::vector<float>;

constexpr size_t kStages = 3, kGeometry = 9;  // per block: convolutions; numbers of the depthwise one's geometry
constexpr int64_t kCacheLine = 16;            // elements

// The lists of an operator have one element per stage: of the first block, of the second, ...
void require_count(size_t received, size_t expected, const char* name) {
  require(received == expected, [&] {
    return "inverted residuals: expected " + std::to_string(expected) + " " + name + ", got " +
           std::to_string(received);
  });
}

// `weights`, `geometry` (of the depthwise convolution) and `activations` are those of one block.
InvertedResidual block_of(Shape shape, const Tensor* weights, const Integers& geometry, const int* activations,
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
  require(ppzoo::pointwise(block.shapes[0]) && ppzoo::depthwise(block.shapes[1]) && ppzoo::pointwise(block.shapes[2]),
          [] { return "inverted residual: expected convolutions that are 1x1, depthwise and 1x1"; });
  const ConvShape& filter = block.shapes[1];
  require(
      filter.dilation_h * (filter.kernel_h - 1) < filter.height + filter.top + filter.bottom &&
          filter.dilation_w * (filter.kernel_w - 1) < filter.width + filter.left + filter.right,
      [&] { return "inverted residual: expected an input at least as large as the filter, got " + format(input); });
  require(!shortcut || (shape == input && block.activations[2] == Activation::kNone), [&] {
    return "inverted residual: expected equal input and output shapes and no last activation with a shortcut, got " +
           format(input) + " and " + format(shape);
  });
  return block;
}

std::vector<InvertedResidual> blocks_of(const Tensor& x, const Tensors& weights, const Integers& geometries,
                                        const Integers& activations, const Integers& shortcuts) {
  const size_t count = shortcuts.size();
  require(count > 0, [] { return "inverted residuals: expected at least one block"; });
  require_count(weights.size(), kStages * count, "weights");
  require_count(activations.size(), kStages * count, "activations");
  require_count(geometries.size(), kGeometry * count, "numbers of geometries");
  require_axes(x, "input", 4);
  std::vector<InvertedResidual> blocks;
  Shape shape = x.shape();
  for (size_t i = 0; i < count; ++i) {
    require(shortcuts[i] == 0 || shortcuts[i] == 1, [&] {
      return "inverted residuals: expected 0 or 1 for a shortcut, got " + std::to_string(shortcuts[i]);
    });
    const auto geometry = geometries.begin() + static_cast<int64_t>(kGeometry * i);
    blocks.push_back(block_of(shape, &weights[kStages * i], Integers(geometry, geometry + kGeometry),
                              &activations[kStages * i], shortcuts[i] == 1));
    shape = output_shape(blocks.back().shapes[2]);
  }
  return blocks;
}

int64_t output_size(const InvertedResidual& block) { return block.shapes[2].output_size(); }

// What the backward pass of one block reads: its saved stages, and the input of the block after it (in the last block
// null). `Value` is float in the forward pass, which writes it.
template <class Value>
struct SavedBlock {
  std::array<ppzoo::SavedStage<Value>, kStages> stages;
  Value* output;
};

// The saved values of all blocks are in one tensor, since each PaddlePaddle tensor costs microseconds.
template <class Value>
std::vector<SavedBlock<Value>> saved_blocks(const std::vector<InvertedResidual>& blocks, Value* start) {
  std::vector<SavedBlock<Value>> results(blocks.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    for (size_t stage = 0; stage < kStages; ++stage) {
      const int64_t channels = ppzoo::round_up(blocks[i].shapes[stage].out_channels, kCacheLine);
      Value *mean = start, *inverse_std = mean + channels, *raw = inverse_std + channels;
      results[i].stages[stage] = {raw, mean, inverse_std};
      start = raw + ppzoo::round_up(ppzoo::saved_elements(blocks[i], static_cast<int>(stage)), kCacheLine);
    }
    const bool is_last = i + 1 == blocks.size();
    results[i].output = is_last ? nullptr : start;
    if (!is_last) start += ppzoo::round_up(output_size(blocks[i]), kCacheLine);
  }
  return results;
}

int64_t saved_size(const std::vector<InvertedResidual>& blocks) {
  int64_t size = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    for (size_t stage = 0; stage < kStages; ++stage) {
      size += 2 * ppzoo::round_up(blocks[i].shapes[stage].out_channels, kCacheLine);
      size += ppzoo::round_up(ppzoo::saved_elements(blocks[i], static_cast<int>(stage)), kCacheLine);
    }
    if (i + 1 < blocks.size()) size += ppzoo::round_up(output_size(blocks[i]), kCacheLine);
  }
  return size;
}

// `shortcuts`: 0 or 1 for each block.
std::vector<Tensor> inverted_residuals(const Tensor& x, const Tensors& weights, const Tensors& gammas,
                                       const Tensors& betas, Tensors& running_means, Tensors& running_variances,
                                       const Integers& geometries, const Integers& activations,
                                       const Integers& shortcuts, bool, const Floats& momenta, const Floats& epsilons) {
  const auto blocks = blocks_of(x, weights, geometries, activations, shortcuts);
  for (const size_t count : {gammas.size(), betas.size(), running_means.size(), running_variances.size()}) {
    require_count(count, kStages * blocks.size(), "norms");
  }
  require_count(momenta.size(), kStages * blocks.size(), "momenta");
  require_count(epsilons.size(), kStages * blocks.size(), "epsilons");
  std::vector<ppzoo::StageWeights> stages;
  for (size_t k = 0; k < weights.size(); ++k) {
    const int64_t channels = blocks[k / kStages].shapes[k % kStages].out_channels;
    stages.push_back({weights[k].data<float>(),
                      norm_parameters(channels, gammas[k], betas[k], running_means[k], running_variances[k],
                                      momenta[k], epsilons[k])});
  }
  Tensor y = empty_like(x, output_shape(blocks.back().shapes[2])), saved = empty_like(x, {saved_size(blocks)});
  const auto saved_values = saved_blocks(blocks, saved.data<float>());
  const float* input = x.data<float>();
  for (size_t i = 0; i < blocks.size(); ++i) {
    float* output = saved_values[i].output != nullptr ? saved_values[i].output : y.data<float>();
    ppzoo::inverted_residual(blocks[i], input, &stages[kStages * i], saved_values[i].stages.data(), output);
    input = output;
  }
  return {y, saved};
}

std::vector<Tensor> inverted_residuals_gradient(const Tensor& x, const Tensors& weights, const Tensors& gammas,
                                                const Tensors& betas, const Tensor& saved, const Tensor& dy,
                                                const Integers& geometries, const Integers& activations,
                                                const Integers& shortcuts, bool need_dx, const Floats&,
                                                const Floats&) {
  const auto blocks = blocks_of(x, weights, geometries, activations, shortcuts);
  require_count(gammas.size(), weights.size(), "norms");
  require_count(betas.size(), weights.size(), "norms");
  require_shape(saved, "saved values", {saved_size(blocks)});
  require_output_shape(dy, "output gradient", blocks.back().shapes[2]);
  Tensors dweights, dgammas, dbetas;
  std::vector<ppzoo::StageWeights> stages;
  std::vector<ppzoo::StageGradient> to;
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
  const Tensor dx = need_dx ? empty_like(x) : placeholder(x);
  const auto saved_values = saved_blocks(blocks, saved.data<float>());
  Tensor output_gradient = dy;
  for (size_t i = blocks.size(); i-- > 0;) {
    const float* input = i == 0 ? x.data<float>() : saved_values[i - 1].output;
    Tensor input_gradient = i == 0 ? dx : empty_like(x, output_shape(blocks[i - 1].shapes[2]));
    ppzoo::inverted_residual_gradients(blocks[i], input, &stages[kStages * i], saved_values[i].stages.data(),
                                       output_gradient.data<float>(), &to[kStages * i],
                                       i > 0 || need_dx ? input_gradient.data<float>() : nullptr);
    output_gradient = input_gradient;
  }
  std::vector<Tensor> gradients{dx};
  for (const auto* group : {&dweights, &dgammas, &dbetas}) {
    gradients.insert(gradients.end(), group->begin(), group->end());
  }
  return gradients;
}

}  // namespace

PD_BUILD_OP(ppzoo_inverted_residuals)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), paddle::Vec("Mean"),
             paddle::Vec("Variance")})
    .Outputs({"Y", "Saved"})
    .Attrs({"geometries: std::vector<int>", "activations: std::vector<int>", "shortcuts: std::vector<int>",
            "need_dx: bool", "momenta: std::vector<float>", "epsilons: std::vector<float>"})
    .SetKernelFn(PPZOO_KERNEL(inverted_residuals));
PD_BUILD_GRAD_OP(ppzoo_inverted_residuals)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), "Saved", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad(paddle::Vec("W")), paddle::Grad(paddle::Vec("Gamma")),
              paddle::Grad(paddle::Vec("Beta"))})
    .Attrs({"geometries: std::vector<int>", "activations: std::vector<int>", "shortcuts: std::vector<int>",
            "need_dx: bool", "momenta: std::vector<float>", "epsilons: std::vector<float>"})
    .SetKernelFn(PPZOO_KERNEL(inverted_residuals_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_inverted_residuals, "X");
