// The inverted residual on bfloat16 images, with the arguments of `ppzoo_inverted_residual`. See bfloat16_ops.cc.
#include "kernels/bfloat16_inverted_residual.h"
#include "kernels/depthwise.h"
#include "kernels/pointwise.h"
#include "ops/bfloat16_tensors.h"
#include "ops/common.h"
#include "ops/layer_arguments.h"

namespace {

using namespace ppzoo::ops;
using ppzoo::Activation;
using ppzoo::Bfloat16SavedStage;
using ppzoo::ConvShape;
using ppzoo::InvertedResidual;

void require_three(size_t received, const char* name) {
  require(received == 3, [&] {
    return "inverted residual: expected three " + std::string(name) + ", got " + std::to_string(received);
  });
}

// `geometry`: of the depthwise convolution.
InvertedResidual block_of(const Tensor& x, const std::vector<Tensor>& weights, const std::vector<int>& geometry,
                          const std::vector<int>& activations, bool shortcut) {
  const std::vector<int> pointwise{1, 1, 0, 0, 0, 0, 1, 1, 1};
  require_three(weights.size(), "weights");
  require_three(activations.size(), "activations");
  require_axes(x, "input", 4, kBfloat16);
  InvertedResidual block;
  Shape shape = x.shape();
  for (int stage = 0; stage < 3; ++stage) {
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
      [&] { return "inverted residual: expected an input at least as large as the filter, got " + format(x.shape()); });
  require(!shortcut || (shape == x.shape() && block.activations[2] == Activation::kNone), [&] {
    return "inverted residual: expected equal input and output shapes and no last activation with a shortcut, got " +
           format(x.shape()) + " and " + format(shape);
  });
  return block;
}

// The saved values of all stages are in two tensors, since each PaddlePaddle tensor costs microseconds: the outputs of
// the convolutions in bfloat16, and the statistics in float32.
constexpr int64_t kCacheLine = 64;  // bytes

int64_t raw_size(const InvertedResidual& block, int stage) {
  constexpr int64_t kElements = kCacheLine / static_cast<int64_t>(sizeof(ppzoo::Bfloat16));
  return ppzoo::round_up(ppzoo::bfloat16_saved_elements(block, stage), kElements);
}

int64_t raw_size(const InvertedResidual& block) { return raw_size(block, 0) + raw_size(block, 1) + raw_size(block, 2); }

int64_t statistics_size(const InvertedResidual& block) {
  return 2 * (block.shapes[0].out_channels + block.shapes[1].out_channels + block.shapes[2].out_channels);
}

std::vector<Bfloat16SavedStage> saved_stages(const InvertedResidual& block, ppzoo::Bfloat16* raw, float* statistics) {
  std::vector<Bfloat16SavedStage> stages;
  for (int stage = 0; stage < 3; ++stage) {
    const int64_t channels = block.shapes[stage].out_channels;
    stages.push_back({raw, statistics, statistics + channels});
    raw += raw_size(block, stage), statistics += 2 * channels;
  }
  return stages;
}

std::vector<Tensor> inverted_residual(const Tensor& x, const std::vector<Tensor>& weights,
                                      const std::vector<Tensor>& gammas, const std::vector<Tensor>& betas,
                                      std::vector<Tensor>& running_means, std::vector<Tensor>& running_variances,
                                      const std::vector<int>& geometry, const std::vector<int>& activations,
                                      bool shortcut, bool, const std::vector<float>& momenta,
                                      const std::vector<float>& epsilons) {
  const InvertedResidual block = block_of(x, weights, geometry, activations, shortcut);
  for (const size_t count : {gammas.size(), betas.size(), running_means.size(), running_variances.size()}) {
    require_three(count, "norms");
  }
  require_three(momenta.size(), "momenta");
  require_three(epsilons.size(), "epsilons");
  std::vector<ppzoo::StageWeights> stages;
  for (int stage = 0; stage < 3; ++stage) {
    stages.push_back(
        {weights[stage].data<float>(),
         norm_parameters(block.shapes[stage].out_channels, gammas[stage], betas[stage], running_means[stage],
                         running_variances[stage], momenta[stage], epsilons[stage])});
  }
  Tensor y = empty_bfloat16(x, output_shape(block.shapes[2])), raw = empty_bfloat16(x, {raw_size(block)});
  Tensor statistics = empty_float32(x, {statistics_size(block)});
  ppzoo::bfloat16_inverted_residual(block, data(x), stages, saved_stages(block, data(raw), statistics.data<float>()),
                                    data(y));
  return {y, raw, statistics};
}

std::vector<Tensor> inverted_residual_gradient(const Tensor& x, const std::vector<Tensor>& weights,
                                               const std::vector<Tensor>& gammas, const std::vector<Tensor>& betas,
                                               const Tensor& raw, const Tensor& statistics, const Tensor& dy,
                                               const std::vector<int>& geometry, const std::vector<int>& activations,
                                               bool shortcut, bool need_dx, const std::vector<float>&,
                                               const std::vector<float>&) {
  const InvertedResidual block = block_of(x, weights, geometry, activations, shortcut);
  require_three(gammas.size(), "norms");
  require_three(betas.size(), "norms");
  require_shape(raw, "convolutions' results", {raw_size(block)}, kBfloat16);
  require_shape(statistics, "statistics", {statistics_size(block)});
  require_output_shape(dy, "output gradient", block.shapes[2], kBfloat16);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x);
  std::vector<Tensor> dweights, dgammas, dbetas;
  std::vector<ppzoo::StageWeights> stages;
  std::vector<ppzoo::StageGradient> to;
  for (int stage = 0; stage < 3; ++stage) {
    const Tensor &weight = weights[stage], &gamma = gammas[stage];
    require_shape(gamma, "scale of the norm", {block.shapes[stage].out_channels});
    require_shape(betas[stage], "offset of the norm", {block.shapes[stage].out_channels});
    Tensor dweight = empty_like(weight), dgamma = empty_like(gamma), dbeta = empty_like(gamma);
    stages.push_back(
        {weight.data<float>(), {gamma.data<float>(), betas[stage].data<float>(), nullptr, nullptr, 0.0f, 0.0f}});
    to.push_back({dweight.data<float>(), dgamma.data<float>(), dbeta.data<float>()});
    dweights.push_back(dweight), dgammas.push_back(dgamma), dbetas.push_back(dbeta);
  }
  // The backward pass only reads through the pointers to saved values.
  const auto saved =
      saved_stages(block, const_cast<ppzoo::Bfloat16*>(data(raw)), const_cast<float*>(statistics.data<float>()));
  ppzoo::bfloat16_inverted_residual_gradients(block, data(x), stages, saved, data(dy), to,
                                              need_dx ? data(dx) : nullptr);
  std::vector<Tensor> gradients{dx};
  for (const auto* group : {&dweights, &dgammas, &dbetas}) {
    gradients.insert(gradients.end(), group->begin(), group->end());
  }
  return gradients;
}

}  // namespace

PD_BUILD_OP(ppzoo_bfloat16_inverted_residual)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), paddle::Vec("Mean"),
             paddle::Vec("Variance")})
    .Outputs({"Y", "Raw", "Statistics"})
    .Attrs({"geometry: std::vector<int>", "activations: std::vector<int>", "shortcut: bool", "need_dx: bool",
            "momenta: std::vector<float>", "epsilons: std::vector<float>"})
    .SetKernelFn(PPZOO_KERNEL(inverted_residual));
PD_BUILD_GRAD_OP(ppzoo_bfloat16_inverted_residual)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), "Raw", "Statistics", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad(paddle::Vec("W")), paddle::Grad(paddle::Vec("Gamma")),
              paddle::Grad(paddle::Vec("Beta"))})
    .Attrs({"geometry: std::vector<int>", "activations: std::vector<int>", "shortcut: bool", "need_dx: bool",
            "momenta: std::vector<float>", "epsilons: std::vector<float>"})
    .SetKernelFn(PPZOO_KERNEL(inverted_residual_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_bfloat16_inverted_residual, "X");
