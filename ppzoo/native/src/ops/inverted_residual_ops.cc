// Operator: one or several inverted residual blocks in sequence. See common.h.
//
// Several blocks are one operator because on small images a large part of a training step is the time that PaddlePaddle
// needs to call an operator and to record its gradient: 20 to 60 us, as long as the block's arithmetic.
#include <array>

#include "kernels/integer_math.h"
#include "kernels/inverted_residual.h"
#include "ops/common.h"
#include "ops/inverted_residual_arguments.h"

namespace {

using namespace ppzoo::ops;
using ppzoo::InvertedResidual;

constexpr int64_t kCacheLine = 16;  // elements

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
  const auto stages =
      stages_to_train(blocks, weights, gammas, betas, running_means, running_variances, momenta, epsilons);
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
  require_shape(saved, "saved values", {saved_size(blocks)});
  require_output_shape(dy, "output gradient", blocks.back().shapes[2]);
  StagesBackward backward(blocks, weights, gammas, betas);
  const Tensor dx = need_dx ? empty_like(x) : placeholder(x);
  const auto saved_values = saved_blocks(blocks, saved.data<float>());
  Tensor output_gradient = dy;
  for (size_t i = blocks.size(); i-- > 0;) {
    const float* input = i == 0 ? x.data<float>() : saved_values[i - 1].output;
    Tensor input_gradient = i == 0 ? dx : empty_like(x, output_shape(blocks[i - 1].shapes[2]));
    ppzoo::inverted_residual_gradients(blocks[i], input, &backward.stages[kStages * i],
                                       saved_values[i].stages.data(), output_gradient.data<float>(),
                                       &backward.to[kStages * i],
                                       i > 0 || need_dx ? input_gradient.data<float>() : nullptr);
    output_gradient = input_gradient;
  }
  return backward.gradients(dx);
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
