// Operators that compute whole blocks: inverted residuals, the block of RepVGG, squeeze-and-excitation, and inverted
// residuals with it. See common.h.
//
// Several inverted residuals in sequence are one operator because on small images a large part of a training step is
// the time that PaddlePaddle needs to call an operator and to record its gradient: 20 to 60 us, as long as the block's
// arithmetic.
#include <algorithm>
#include <array>

#include "kernels/conv_norm_sequence.h"
#include "kernels/integer_math.h"
#include "kernels/inverted_residual.h"
#include "kernels/repvgg.h"
#include "ops/common.h"
#include "ops/inverted_residual_arguments.h"
#include "ops/squeeze_excite_arguments.h"

namespace {

using namespace ppzoo::ops;
using ppzoo::ConvShape;
using ppzoo::InvertedResidual;

// ---- inverted residuals

int64_t output_size(const InvertedResidual& block) { return block.shapes[2].output_size(); }

// The values of a block that the forward pass saves for the backward pass: those of its stages, and the block's output,
// which is the input of the next block (null for the last block). `Value` is float in the forward pass, and const float
// in the backward pass.
template <class Value>
struct SavedBlock {
  std::array<ppzoo::SavedStage<Value>, kStages> stages;
  Value* output;
};

template <class Value>
std::vector<SavedBlock<Value>> saved_blocks(const std::vector<InvertedResidual>& blocks, Value* start) {
  std::vector<SavedBlock<Value>> results(blocks.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    for (size_t stage = 0; stage < kStages; ++stage) {
      const int64_t raw_size = ppzoo::saved_elements(blocks[i], static_cast<int>(stage));
      results[i].stages[stage] = next_saved_stage(blocks[i].shapes[stage].out_channels, raw_size, start);
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
      const int64_t raw_size = ppzoo::saved_elements(blocks[i], static_cast<int>(stage));
      size += saved_stage_size(blocks[i].shapes[stage].out_channels, raw_size);
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
      stages_to_train(shapes_of(blocks), weights, gammas, betas, running_means, running_variances, momenta, epsilons);
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
                                                const Integers& shortcuts, bool need_dx, const Floats&, const Floats&) {
  const auto blocks = blocks_of(x, weights, geometries, activations, shortcuts);
  require_shape(saved, "saved values", {saved_size(blocks)});
  require_output_shape(dy, "output gradient", blocks.back().shapes[2]);
  StagesBackward backward(shapes_of(blocks), weights, gammas, betas);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x);
  const auto saved_values = saved_blocks(blocks, saved.data<float>());
  Tensor output_gradient = dy;
  for (size_t i = blocks.size(); i-- > 0;) {
    const float* input = i == 0 ? x.data<float>() : saved_values[i - 1].output;
    Tensor input_gradient = i == 0 ? dx : empty_like(x, output_shape(blocks[i - 1].shapes[2]));
    ppzoo::inverted_residual_gradients(blocks[i], input, &backward.stages[kStages * i], saved_values[i].stages.data(),
                                       output_gradient.data<float>(), &backward.to[kStages * i],
                                       i > 0 || need_dx ? input_gradient.data<float>() : nullptr);
    output_gradient = input_gradient;
  }
  return backward.gradients(dx);
}

// ---- convolutions with batch norm in sequence

// `geometries`: nine numbers per stage.
ppzoo::ConvNormSequence sequence_of(const Tensor& x, const Tensors& weights, const Integers& geometries,
                                    const Integers& activations) {
  const size_t count = activations.size();
  require(count > 0, [] { return "convolutions with batch norm: expected at least one"; });
  require_count(weights.size(), count, "weights");
  require_count(geometries.size(), kGeometry * count, "numbers in the geometries");
  require_axes(x, "input", 4);
  ppzoo::ConvNormSequence sequence;
  Shape shape = x.shape();
  for (size_t i = 0; i < count; ++i) {
    const auto geometry = geometries.begin() + static_cast<int64_t>(kGeometry * i);
    const ConvShape convolution = conv_shape(shape, weights[i], Integers(geometry, geometry + kGeometry));
    require(i == 0 || ppzoo::pointwise(convolution) || ppzoo::depthwise(convolution),
            [] { return "convolutions with batch norm: expected only 1x1 and depthwise ones after the first"; });
    sequence.shapes.push_back(convolution);
    sequence.activations.push_back(activation_of(activations[i]));
    shape = output_shape(convolution);
  }
  return sequence;
}

int64_t saved_size(const ppzoo::ConvNormSequence& sequence) {
  int64_t size = 0;
  for (const ConvShape& shape : sequence.shapes) size += saved_stage_size(shape.out_channels, shape.output_size());
  return size;
}

template <class Value>
std::vector<ppzoo::SavedStage<Value>> saved_stages(const ppzoo::ConvNormSequence& sequence, Value* start) {
  std::vector<ppzoo::SavedStage<Value>> saved;
  for (const ConvShape& shape : sequence.shapes) {
    saved.push_back(next_saved_stage(shape.out_channels, shape.output_size(), start));
  }
  return saved;
}

std::vector<Tensor> conv_norm_sequence(const Tensor& x, const Tensors& weights, const Tensors& gammas,
                                       const Tensors& betas, Tensors& running_means, Tensors& running_variances,
                                       const Integers& geometries, const Integers& activations, bool,
                                       const Floats& momenta, const Floats& epsilons) {
  const auto sequence = sequence_of(x, weights, geometries, activations);
  const auto stages =
      stages_to_train(sequence.shapes, weights, gammas, betas, running_means, running_variances, momenta, epsilons);
  Tensor y = empty_like(x, output_shape(sequence.shapes.back())), saved = empty_like(x, {saved_size(sequence)});
  ppzoo::conv_norm_sequence(sequence, x.data<float>(), stages.data(),
                            saved_stages(sequence, saved.data<float>()).data(), y.data<float>());
  return {y, saved};
}

std::vector<Tensor> conv_norm_sequence_gradient(const Tensor& x, const Tensors& weights, const Tensors& gammas,
                                                const Tensors& betas, const Tensor& saved, const Tensor& dy,
                                                const Integers& geometries, const Integers& activations, bool need_dx,
                                                const Floats&, const Floats&) {
  const auto sequence = sequence_of(x, weights, geometries, activations);
  require_shape(saved, "saved values", {saved_size(sequence)});
  require_output_shape(dy, "output gradient", sequence.shapes.back());
  StagesBackward backward(sequence.shapes, weights, gammas, betas);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x);
  Tensor scratch = empty_like(x, {std::max<int64_t>(1, ppzoo::gradient_scratch_size(sequence))});
  ppzoo::conv_norm_sequence_gradients(sequence, x.data<float>(), backward.stages.data(),
                                      saved_stages(sequence, saved.data<float>()).data(), dy.data<float>(),
                                      backward.to.data(), need_dx ? dx.data<float>() : nullptr, scratch.data<float>());
  return backward.gradients(dx);
}

// ---- the block of RepVGG

// `weights`: those of the 3x3 convolution (or another convolution without groups) and of the 1x1 convolution.
// `geometry`: that of the 3x3 convolution. `norms`: the number of norms, 2, or 3 with an identity branch.
ppzoo::RepVggBlock repvgg_block(const Tensor& x, const std::vector<Tensor>& weights, const std::vector<int>& geometry,
                                size_t norms) {
  require(weights.size() == 2,
          [&] { return "RepVGG block: expected two weights, got " + std::to_string(weights.size()); });
  require(norms == 2 || norms == 3,
          [&] { return "RepVGG block: expected two or three norms, got " + std::to_string(norms); });
  const ConvShape dense = conv_shape(x, weights[0], geometry);
  const ConvShape pointwise = conv_shape(x, weights[1], {geometry[0], geometry[1], 0, 0, 0, 0, 1, 1, 1});
  require(
      dense.groups == 1 && pointwise.kernel_h == 1 && pointwise.kernel_w == 1 &&
          output_shape(dense) == output_shape(pointwise),
      [&] {
        return "RepVGG block: expected a convolution without groups and a 1x1 convolution with equal outputs, got " +
               format(output_shape(dense)) + " and " + format(output_shape(pointwise));
      });
  require(norms == 2 || output_shape(dense) == x.shape(), [&] {
    return "RepVGG block: expected equal input and output shapes with a norm of the identity, got " +
           format(x.shape()) + " and " + format(output_shape(dense));
  });
  return {dense, pointwise, norms == 3};
}

void require_norms(size_t received, size_t expected) {
  require(received == expected, [&] {
    return "RepVGG block: expected " + std::to_string(expected) + " values for its norms, got " +
           std::to_string(received);
  });
}

int64_t saved_size(const ppzoo::RepVggBlock& block) {
  const int64_t channels = ppzoo::round_up(block.dense.out_channels, kCacheLine);
  return 2 * ppzoo::round_up(block.dense.output_size(), kCacheLine) + (block.identity ? 6 : 4) * channels;
}

template <class T>
ppzoo::RepVggSaved<T> saved_branches(const ppzoo::RepVggBlock& block, T* start) {
  const int64_t map = ppzoo::round_up(block.dense.output_size(), kCacheLine);
  const int64_t channels = ppzoo::round_up(block.dense.out_channels, kCacheLine);
  ppzoo::RepVggSaved<T> saved{start, start + map, {}, {}};
  start += 2 * map;
  for (int norm = 0; norm < (block.identity ? 3 : 2); ++norm, start += 2 * channels) {
    saved.means.push_back(start), saved.inverse_stds.push_back(start + channels);
  }
  return saved;
}

std::vector<Tensor> repvgg(const Tensor& x, const std::vector<Tensor>& weights, const std::vector<Tensor>& gammas,
                           const std::vector<Tensor>& betas, std::vector<Tensor>& running_means,
                           std::vector<Tensor>& running_variances, const std::vector<int>& geometry, bool,
                           const std::vector<float>& momenta, const std::vector<float>& epsilons) {
  const ppzoo::RepVggBlock block = repvgg_block(x, weights, geometry, gammas.size());
  for (const size_t count :
       {betas.size(), running_means.size(), running_variances.size(), momenta.size(), epsilons.size()}) {
    require_norms(count, gammas.size());
  }
  ppzoo::RepVggWeights arguments{weights[0].data<float>(), weights[1].data<float>(), {}};
  for (size_t i = 0; i < gammas.size(); ++i) {
    arguments.norms.push_back(norm_parameters(block.dense.out_channels, gammas[i], betas[i], running_means[i],
                                              running_variances[i], momenta[i], epsilons[i]));
  }
  Tensor y = empty_like(x, output_shape(block.dense)), saved = empty_like(x, {saved_size(block)});
  ppzoo::repvgg(block, x.data<float>(), arguments, saved_branches(block, saved.data<float>()), y.data<float>());
  return {y, saved};
}

std::vector<Tensor> repvgg_gradient(const Tensor& x, const std::vector<Tensor>& weights,
                                    const std::vector<Tensor>& gammas, const std::vector<Tensor>& betas,
                                    const Tensor& y, const Tensor& saved, const Tensor& dy,
                                    const std::vector<int>& geometry, bool need_dx, const std::vector<float>&,
                                    const std::vector<float>&) {
  const ppzoo::RepVggBlock block = repvgg_block(x, weights, geometry, gammas.size());
  require_norms(betas.size(), gammas.size());
  require_output_shape(y, "output", block.dense);
  require_output_shape(dy, "output gradient", block.dense);
  require_shape(saved, "saved values", {saved_size(block)});
  std::vector<Tensor> gradients{need_dx ? empty_like(x) : placeholder(x)};
  // Appends a tensor like each of `values` to the gradients, and returns the memory of the new tensors.
  const auto append_like = [&](const std::vector<Tensor>& values) {
    std::vector<float*> memory;
    for (const Tensor& value : values) memory.push_back(gradients.emplace_back(empty_like(value)).data<float>());
    return memory;
  };
  ppzoo::RepVggWeights arguments{weights[0].data<float>(), weights[1].data<float>(), {}};
  for (size_t i = 0; i < gammas.size(); ++i) {
    require_shape(gammas[i], "scale of the norm", {block.dense.out_channels});
    require_shape(betas[i], "offset of the norm", {block.dense.out_channels});
    arguments.norms.push_back({gammas[i].data<float>(), betas[i].data<float>(), nullptr, nullptr, 0.0f, 0.0f});
  }
  const auto dweights = append_like(weights), dgammas = append_like(gammas), dbetas = append_like(betas);
  ppzoo::repvgg_gradients(block, x.data<float>(), arguments, saved_branches(block, saved.data<float>()),
                          y.data<float>(), dy.data<float>(), {dweights[0], dweights[1], dgammas, dbetas},
                          need_dx ? gradients[0].data<float>() : nullptr);
  return gradients;
}

// ---- squeeze-and-excitation

std::vector<Tensor> squeeze_excite(const Tensor& x, const Tensor& squeeze, const Tensor& squeeze_bias,
                                   const Tensor& excite, const Tensor& excite_bias, int activation, int gate,
                                   float slope, float offset, bool) {
  require_axes(x, "input", 4);
  const auto block =
      squeeze_excite_block(x.shape(), squeeze, squeeze_bias, excite, excite_bias, activation, gate, slope, offset);
  Tensor y = empty_like(x), saved = empty_like(x, {block.saved_size()});
  ppzoo::squeeze_excite(block, x.data<float>(), layers_of(squeeze, squeeze_bias, excite, excite_bias),
                        saved.data<float>(), y.data<float>());
  return {y, saved};
}

std::vector<Tensor> squeeze_excite_gradient(const Tensor& x, const Tensor& squeeze, const Tensor& squeeze_bias,
                                            const Tensor& excite, const Tensor& excite_bias, const Tensor& saved,
                                            const Tensor& dy, int activation, int gate, float slope, float offset,
                                            bool need_dx) {
  require_axes(x, "input", 4);
  const auto block =
      squeeze_excite_block(x.shape(), squeeze, squeeze_bias, excite, excite_bias, activation, gate, slope, offset);
  require_shape(saved, "saved values", {block.saved_size()});
  require_shape_of(dy, "output gradient", x);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x);
  LayerGradients gradients(squeeze, squeeze_bias, excite, excite_bias);
  ppzoo::squeeze_excite_gradients(block, x.data<float>(), layers_of(squeeze, squeeze_bias, excite, excite_bias),
                                  saved.data<float>(), dy.data<float>(), gradients.memory(),
                                  need_dx ? dx.data<float>() : nullptr);
  return {dx, gradients.squeeze, gradients.squeeze_bias, gradients.excite, gradients.excite_bias};
}

// ---- an inverted residual with squeeze-and-excitation before its projection

std::vector<Tensor> inverted_residual_se(const Tensor& x, const Tensors& weights, const Tensors& gammas,
                                         const Tensors& betas, Tensors& running_means, Tensors& running_variances,
                                         const Tensor& squeeze, const Tensor& squeeze_bias, const Tensor& excite,
                                         const Tensor& excite_bias, const Integers& geometry,
                                         const Integers& activations, bool shortcut, bool, const Floats& momenta,
                                         const Floats& epsilons, int activation, int gate, float slope, float offset) {
  const auto blocks = blocks_of(x, weights, geometry, activations, {shortcut});
  const auto stages =
      stages_to_train(shapes_of(blocks), weights, gammas, betas, running_means, running_variances, momenta, epsilons);
  const auto block = squeeze_excite_block(output_shape(blocks[0].shapes[1]), squeeze, squeeze_bias, excite, excite_bias,
                                          activation, gate, slope, offset);
  const int64_t residual_size = saved_size(blocks);
  Tensor y = empty_like(x, output_shape(blocks[0].shapes[2]));
  Tensor saved = empty_like(x, {residual_size + block.saved_size()});
  const ppzoo::GatesForward gates{block, layers_of(squeeze, squeeze_bias, excite, excite_bias),
                                  saved.data<float>() + residual_size};
  ppzoo::inverted_residual(blocks[0], x.data<float>(), stages.data(),
                           saved_blocks(blocks, saved.data<float>())[0].stages.data(), y.data<float>(), &gates);
  return {y, saved};
}

std::vector<Tensor> inverted_residual_se_gradient(const Tensor& x, const Tensors& weights, const Tensors& gammas,
                                                  const Tensors& betas, const Tensor& squeeze,
                                                  const Tensor& squeeze_bias, const Tensor& excite,
                                                  const Tensor& excite_bias, const Tensor& saved, const Tensor& dy,
                                                  const Integers& geometry, const Integers& activations, bool shortcut,
                                                  bool need_dx, const Floats&, const Floats&, int activation, int gate,
                                                  float slope, float offset) {
  const auto blocks = blocks_of(x, weights, geometry, activations, {shortcut});
  const auto block = squeeze_excite_block(output_shape(blocks[0].shapes[1]), squeeze, squeeze_bias, excite, excite_bias,
                                          activation, gate, slope, offset);
  const int64_t residual_size = saved_size(blocks);
  require_shape(saved, "saved values", {residual_size + block.saved_size()});
  require_output_shape(dy, "output gradient", blocks[0].shapes[2]);
  StagesBackward backward(shapes_of(blocks), weights, gammas, betas);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x);
  LayerGradients layers(squeeze, squeeze_bias, excite, excite_bias);
  const ppzoo::GatesBackward gates{block, layers_of(squeeze, squeeze_bias, excite, excite_bias),
                                   saved.data<float>() + residual_size, layers.memory()};
  ppzoo::inverted_residual_gradients(blocks[0], x.data<float>(), backward.stages.data(),
                                     saved_blocks(blocks, saved.data<float>())[0].stages.data(), dy.data<float>(),
                                     backward.to.data(), need_dx ? dx.data<float>() : nullptr, &gates);
  Tensors gradients = backward.gradients(dx);
  for (const Tensor& gradient : {layers.squeeze, layers.squeeze_bias, layers.excite, layers.excite_bias}) {
    gradients.push_back(gradient);
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

PD_BUILD_OP(ppzoo_conv_norm_sequence)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), paddle::Vec("Mean"),
             paddle::Vec("Variance")})
    .Outputs({"Y", "Saved"})
    .Attrs({"geometries: std::vector<int>", "activations: std::vector<int>", "need_dx: bool",
            "momenta: std::vector<float>", "epsilons: std::vector<float>"})
    .SetKernelFn(PPZOO_KERNEL(conv_norm_sequence));
PD_BUILD_GRAD_OP(ppzoo_conv_norm_sequence)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), "Saved", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad(paddle::Vec("W")), paddle::Grad(paddle::Vec("Gamma")),
              paddle::Grad(paddle::Vec("Beta"))})
    .Attrs({"geometries: std::vector<int>", "activations: std::vector<int>", "need_dx: bool",
            "momenta: std::vector<float>", "epsilons: std::vector<float>"})
    .SetKernelFn(PPZOO_KERNEL(conv_norm_sequence_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_conv_norm_sequence, "X");

PD_BUILD_OP(ppzoo_repvgg)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), paddle::Vec("Mean"),
             paddle::Vec("Variance")})
    .Outputs({"Y", "Saved"})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momenta: std::vector<float>",
            "epsilons: std::vector<float>"})
    .SetKernelFn(PPZOO_KERNEL(repvgg));
PD_BUILD_GRAD_OP(ppzoo_repvgg)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), "Y", "Saved", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad(paddle::Vec("W")), paddle::Grad(paddle::Vec("Gamma")),
              paddle::Grad(paddle::Vec("Beta"))})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momenta: std::vector<float>",
            "epsilons: std::vector<float>"})
    .SetKernelFn(PPZOO_KERNEL(repvgg_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_repvgg, "X");

PD_BUILD_OP(ppzoo_squeeze_excite)
    .Inputs({"X", "Squeeze", "SqueezeBias", "Excite", "ExciteBias"})
    .Outputs({"Y", "Saved"})
    .Attrs({"activation: int", "gate: int", "slope: float", "offset: float", "need_dx: bool"})
    .SetKernelFn(PPZOO_KERNEL(squeeze_excite));
PD_BUILD_GRAD_OP(ppzoo_squeeze_excite)
    .Inputs({"X", "Squeeze", "SqueezeBias", "Excite", "ExciteBias", "Saved", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Squeeze"), paddle::Grad("SqueezeBias"), paddle::Grad("Excite"),
              paddle::Grad("ExciteBias")})
    .Attrs({"activation: int", "gate: int", "slope: float", "offset: float", "need_dx: bool"})
    .SetKernelFn(PPZOO_KERNEL(squeeze_excite_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_squeeze_excite, "X");

PD_BUILD_OP(ppzoo_inverted_residual_se)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), paddle::Vec("Mean"),
             paddle::Vec("Variance"), "Squeeze", "SqueezeBias", "Excite", "ExciteBias"})
    .Outputs({"Y", "Saved"})
    .Attrs({"geometry: std::vector<int>", "activations: std::vector<int>", "shortcut: bool", "need_dx: bool",
            "momenta: std::vector<float>", "epsilons: std::vector<float>", "activation: int", "gate: int",
            "slope: float", "offset: float"})
    .SetKernelFn(PPZOO_KERNEL(inverted_residual_se));
PD_BUILD_GRAD_OP(ppzoo_inverted_residual_se)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), "Squeeze", "SqueezeBias", "Excite",
             "ExciteBias", "Saved", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad(paddle::Vec("W")), paddle::Grad(paddle::Vec("Gamma")),
              paddle::Grad(paddle::Vec("Beta")), paddle::Grad("Squeeze"), paddle::Grad("SqueezeBias"),
              paddle::Grad("Excite"), paddle::Grad("ExciteBias")})
    .Attrs({"geometry: std::vector<int>", "activations: std::vector<int>", "shortcut: bool", "need_dx: bool",
            "momenta: std::vector<float>", "epsilons: std::vector<float>", "activation: int", "gate: int",
            "slope: float", "offset: float"})
    .SetKernelFn(PPZOO_KERNEL(inverted_residual_se_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_inverted_residual_se, "X");
