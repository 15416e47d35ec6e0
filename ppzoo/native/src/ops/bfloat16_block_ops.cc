// Inverted residuals and squeeze-and-excitation on bfloat16 images, with the arguments of `ppzoo_inverted_residuals`
// and `ppzoo_squeeze_excite`. See bfloat16_ops.cc.
#include <array>

#include "kernels/bfloat16_inverted_residual.h"
#include "kernels/integer_math.h"
#include "ops/bfloat16_tensors.h"
#include "ops/common.h"
#include "ops/inverted_residual_arguments.h"
#include "ops/squeeze_excite_arguments.h"

namespace {

using namespace ppzoo::ops;
using ppzoo::Bfloat16;
using ppzoo::InvertedResidual;

// The values of a block that the forward pass saves for the backward pass: those of its stages, and the block's output,
// which is the input of the next block (null for the last block).
template <class Raw, class Statistic>
struct SavedBlock {
  std::array<ppzoo::Bfloat16SavedStage<Raw, Statistic>, kStages> stages;
  Raw* output;
};

// The saved values of all blocks are in two tensors, since each PaddlePaddle tensor costs microseconds: the outputs of
// the convolutions and of the blocks in bfloat16, and the statistics in float32.
int64_t aligned(int64_t elements) {
  constexpr int64_t kCacheLine = 64 / static_cast<int64_t>(sizeof(Bfloat16));
  return ppzoo::round_up(elements, kCacheLine);
}

int64_t output_size(const InvertedResidual& block) { return aligned(block.shapes[2].output_size()); }

int64_t raw_size(const InvertedResidual& block, size_t stage) {
  return aligned(ppzoo::bfloat16_saved_elements(block, static_cast<int>(stage)));
}

int64_t raw_size(const std::vector<InvertedResidual>& blocks) {
  int64_t size = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    for (size_t stage = 0; stage < kStages; ++stage) size += raw_size(blocks[i], stage);
    if (i + 1 < blocks.size()) size += output_size(blocks[i]);
  }
  return size;
}

int64_t statistics_size(const std::vector<InvertedResidual>& blocks) {
  int64_t size = 0;
  for (const InvertedResidual& block : blocks) {
    for (const auto& shape : block.shapes) size += 2 * shape.out_channels;
  }
  return size;
}

template <class Raw, class Statistic>
std::vector<SavedBlock<Raw, Statistic>> saved_blocks(const std::vector<InvertedResidual>& blocks, Raw* raw,
                                                     Statistic* statistics) {
  std::vector<SavedBlock<Raw, Statistic>> results(blocks.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    for (size_t stage = 0; stage < kStages; ++stage) {
      const int64_t channels = blocks[i].shapes[stage].out_channels;
      results[i].stages[stage] = {raw, statistics, statistics + channels};
      raw += raw_size(blocks[i], stage), statistics += 2 * channels;
    }
    const bool is_last = i + 1 == blocks.size();
    results[i].output = is_last ? nullptr : raw;
    if (!is_last) raw += output_size(blocks[i]);
  }
  return results;
}

std::vector<Tensor> inverted_residuals(const Tensor& x, const Tensors& weights, const Tensors& gammas,
                                       const Tensors& betas, Tensors& running_means, Tensors& running_variances,
                                       const Integers& geometries, const Integers& activations,
                                       const Integers& shortcuts, bool, const Floats& momenta, const Floats& epsilons) {
  const auto blocks = blocks_of(x, weights, geometries, activations, shortcuts, kBfloat16);
  const auto stages =
      stages_to_train(shapes_of(blocks), weights, gammas, betas, running_means, running_variances, momenta, epsilons);
  Tensor y = empty_bfloat16(x, output_shape(blocks.back().shapes[2]));
  Tensor raw = empty_bfloat16(x, {raw_size(blocks)}), statistics = empty_float32(x, {statistics_size(blocks)});
  const auto saved = saved_blocks(blocks, data(raw), statistics.data<float>());
  const Bfloat16* input = data(x);
  for (size_t i = 0; i < blocks.size(); ++i) {
    Bfloat16* output = saved[i].output != nullptr ? saved[i].output : data(y);
    ppzoo::bfloat16_inverted_residual(blocks[i], input, &stages[kStages * i], saved[i].stages.data(), output);
    input = output;
  }
  return {y, raw, statistics};
}

std::vector<Tensor> inverted_residuals_gradient(const Tensor& x, const Tensors& weights, const Tensors& gammas,
                                                const Tensors& betas, const Tensor& raw, const Tensor& statistics,
                                                const Tensor& dy, const Integers& geometries,
                                                const Integers& activations, const Integers& shortcuts, bool need_dx,
                                                const Floats&, const Floats&) {
  const auto blocks = blocks_of(x, weights, geometries, activations, shortcuts, kBfloat16);
  require_shape(raw, "convolutions' results", {raw_size(blocks)}, kBfloat16);
  require_shape(statistics, "statistics", {statistics_size(blocks)});
  require_output_shape(dy, "output gradient", blocks.back().shapes[2], kBfloat16);
  StagesBackward backward(shapes_of(blocks), weights, gammas, betas);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x);
  const auto saved = saved_blocks(blocks, data(raw), statistics.data<float>());
  Tensor output_gradient = dy;
  for (size_t i = blocks.size(); i-- > 0;) {
    const Bfloat16* input = i == 0 ? data(x) : saved[i - 1].output;
    Tensor input_gradient = i == 0 ? dx : empty_bfloat16(x, output_shape(blocks[i - 1].shapes[2]));
    const Tensor& gradient = output_gradient;
    ppzoo::bfloat16_inverted_residual_gradients(blocks[i], input, &backward.stages[kStages * i], saved[i].stages.data(),
                                                data(gradient), &backward.to[kStages * i],
                                                i > 0 || need_dx ? data(input_gradient) : nullptr);
    output_gradient = input_gradient;
  }
  return backward.gradients(dx);
}

// ---- squeeze-and-excitation

std::vector<Tensor> squeeze_excite(const Tensor& x, const Tensor& squeeze, const Tensor& squeeze_bias,
                                   const Tensor& excite, const Tensor& excite_bias, int activation, int gate,
                                   float slope, float offset, bool) {
  require_axes(x, "input", 4, kBfloat16);
  const auto block =
      squeeze_excite_block(x.shape(), squeeze, squeeze_bias, excite, excite_bias, activation, gate, slope, offset);
  Tensor y = empty_like(x), saved = empty_float32(x, {block.saved_size()});
  ppzoo::squeeze_excite(block, data(x), layers_of(squeeze, squeeze_bias, excite, excite_bias), saved.data<float>(),
                        data(y));
  return {y, saved};
}

std::vector<Tensor> squeeze_excite_gradient(const Tensor& x, const Tensor& squeeze, const Tensor& squeeze_bias,
                                            const Tensor& excite, const Tensor& excite_bias, const Tensor& saved,
                                            const Tensor& dy, int activation, int gate, float slope, float offset,
                                            bool need_dx) {
  require_axes(x, "input", 4, kBfloat16);
  const auto block =
      squeeze_excite_block(x.shape(), squeeze, squeeze_bias, excite, excite_bias, activation, gate, slope, offset);
  require_shape(saved, "saved values", {block.saved_size()});
  require_shape_of(dy, "output gradient", x, kBfloat16);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x);
  LayerGradients gradients(squeeze, squeeze_bias, excite, excite_bias);
  ppzoo::squeeze_excite_gradients(block, data(x), layers_of(squeeze, squeeze_bias, excite, excite_bias),
                                  saved.data<float>(), data(dy), gradients.memory(), need_dx ? data(dx) : nullptr);
  return {dx, gradients.squeeze, gradients.squeeze_bias, gradients.excite, gradients.excite_bias};
}

}  // namespace

PD_BUILD_OP(ppzoo_bfloat16_squeeze_excite)
    .Inputs({"X", "Squeeze", "SqueezeBias", "Excite", "ExciteBias"})
    .Outputs({"Y", "Saved"})
    .Attrs({"activation: int", "gate: int", "slope: float", "offset: float", "need_dx: bool"})
    .SetKernelFn(PPZOO_KERNEL(squeeze_excite));
PD_BUILD_GRAD_OP(ppzoo_bfloat16_squeeze_excite)
    .Inputs({"X", "Squeeze", "SqueezeBias", "Excite", "ExciteBias", "Saved", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Squeeze"), paddle::Grad("SqueezeBias"), paddle::Grad("Excite"),
              paddle::Grad("ExciteBias")})
    .Attrs({"activation: int", "gate: int", "slope: float", "offset: float", "need_dx: bool"})
    .SetKernelFn(PPZOO_KERNEL(squeeze_excite_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_bfloat16_squeeze_excite, "X");

PD_BUILD_OP(ppzoo_bfloat16_inverted_residuals)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), paddle::Vec("Mean"),
             paddle::Vec("Variance")})
    .Outputs({"Y", "Raw", "Statistics"})
    .Attrs({"geometries: std::vector<int>", "activations: std::vector<int>", "shortcuts: std::vector<int>",
            "need_dx: bool", "momenta: std::vector<float>", "epsilons: std::vector<float>"})
    .SetKernelFn(PPZOO_KERNEL(inverted_residuals));
PD_BUILD_GRAD_OP(ppzoo_bfloat16_inverted_residuals)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), "Raw", "Statistics", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad(paddle::Vec("W")), paddle::Grad(paddle::Vec("Gamma")),
              paddle::Grad(paddle::Vec("Beta"))})
    .Attrs({"geometries: std::vector<int>", "activations: std::vector<int>", "shortcuts: std::vector<int>",
            "need_dx: bool", "momenta: std::vector<float>", "epsilons: std::vector<float>"})
    .SetKernelFn(PPZOO_KERNEL(inverted_residuals_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_bfloat16_inverted_residuals, "X");
