// Operators: convolution, the linear layer, batch norm, their fusions, the inverted residual block and the block of
// RepVGG. See common.h.
#include <algorithm>
#include <cmath>

#include "kernels/convolution.h"
#include "kernels/convolution_norm.h"
#include "kernels/depthwise.h"
#include "kernels/inverted_residual.h"
#include "kernels/linear.h"
#include "kernels/onednn.h"
#include "kernels/pointwise.h"
#include "kernels/repvgg.h"
#include "ops/common.h"
#include "ops/layer_arguments.h"

namespace {

using namespace ppzoo::ops;
using ppzoo::Activation;
using ppzoo::ConvShape;

// ---- convolution

// `bias` can be null.
std::vector<Tensor> convolution(const Tensor& x, const Tensor& weights, const Tensor* bias,
                                const std::vector<int>& geometry) {
  const ConvShape s = conv_shape(x, weights, geometry);
  if (bias != nullptr) require_shape(*bias, "bias", {s.out_channels});
  Tensor y = empty_like(x, output_shape(s));
  ppzoo::convolve(s, x.data<float>(), weights.data<float>(), bias != nullptr ? bias->data<float>() : nullptr,
                  y.data<float>());
  return {y};
}

std::vector<Tensor> conv(const Tensor& x, const Tensor& weights, const std::vector<int>& geometry, bool) {
  return convolution(x, weights, nullptr, geometry);
}

std::vector<Tensor> conv_bias(const Tensor& x, const Tensor& weights, const Tensor& bias,
                              const std::vector<int>& geometry, bool) {
  return convolution(x, weights, &bias, geometry);
}

std::vector<Tensor> conv_gradient(const Tensor& x, const Tensor& weights, const Tensor& dy,
                                  const std::vector<int>& geometry, bool need_dx) {
  const ConvShape s = conv_shape(x, weights, geometry);
  require_output_shape(dy, "output gradient", s);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights);
  if (need_dx) ppzoo::convolve_input_gradient(s, weights.data<float>(), dy.data<float>(), dx.data<float>());
  ppzoo::convolve_weight_gradient(s, x.data<float>(), dy.data<float>(), false, dweights.data<float>(), nullptr);
  return {dx, dweights};
}

std::vector<Tensor> conv_bias_gradient(const Tensor& x, const Tensor& weights, const Tensor& bias, const Tensor& dy,
                                       const std::vector<int>& geometry, bool need_dx) {
  const ConvShape s = conv_shape(x, weights, geometry);
  require_shape(bias, "bias", {s.out_channels});
  require_output_shape(dy, "output gradient", s);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights), dbias = empty_like(bias);
  if (need_dx) ppzoo::convolve_input_gradient(s, weights.data<float>(), dy.data<float>(), dx.data<float>());
  ppzoo::convolve_weight_gradient(s, x.data<float>(), dy.data<float>(), false, dweights.data<float>(),
                                  dbias.data<float>());
  return {dx, dweights, dbias};
}

// ---- linear

void require_linear(const Tensor& x, const Tensor& weights, const Tensor& bias) {
  require_axes(x, "input", 2);
  require_axes(weights, "weights", 2);
  require(x.dims()[1] == weights.dims()[0], [&] {
    return "linear: expected an input with " + std::to_string(weights.dims()[0]) + " features for weights of shape " +
           format(weights.shape()) + ", got " + std::to_string(x.dims()[1]) + " features";
  });
  require_shape(bias, "bias", {weights.dims()[1]});
}

std::vector<Tensor> linear(const Tensor& x, const Tensor& weights, const Tensor& bias, bool) {
  require_linear(x, weights, bias);
  const int64_t rows = pixels_of(x), out = channels_of(weights);
  Tensor y = empty_like(x, {rows, out});
  ppzoo::linear(x.data<float>(), weights.data<float>(), bias.data<float>(), rows, channels_of(x), out, y.data<float>());
  return {y};
}

std::vector<Tensor> linear_gradient(const Tensor& x, const Tensor& weights, const Tensor& bias, const Tensor& dy,
                                    bool need_dx) {
  require_linear(x, weights, bias);
  require_shape(dy, "output gradient", {x.dims()[0], weights.dims()[1]});
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights), dbias = empty_like(bias);
  ppzoo::linear_gradient(x.data<float>(), weights.data<float>(), dy.data<float>(), pixels_of(x), channels_of(x),
                         channels_of(weights), need_dx ? dx.data<float>() : nullptr, dweights.data<float>(),
                         dbias.data<float>());
  return {dx, dweights, dbias};
}

// ---- batch norm in training, after a convolution or alone

std::vector<Tensor> norm_forward(const Tensor& x, const Tensor* z, const Tensor& gamma, const Tensor& beta,
                                 Tensor& running_mean, Tensor& running_variance, float momentum, float epsilon,
                                 int activation) {
  require_axes(x, "input", 4);
  if (z != nullptr) require_shape_of(*z, "residual", x);
  const auto kind = activation_of(activation, z != nullptr);
  const auto parameters =
      norm_parameters(channels_of(x), gamma, beta, running_mean, running_variance, momentum, epsilon);
  const float* from = x.data<float>();
  ppzoo::Moments moments(channels_of(x), from, pixels_of(x));
  moments.add(from, pixels_of(x));
  Tensor y = empty_like(x), mean = empty_like(gamma), inverse_std = empty_like(gamma);
  ppzoo::finalize_statistics(moments.statistics(), parameters, kind, mean.data<float>(), inverse_std.data<float>())
      .apply(from, z ? z->data<float>() : nullptr, pixels_of(x), y.data<float>());
  return {y, mean, inverse_std};
}

std::vector<Tensor> norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& running_mean,
                         Tensor& running_variance, float momentum, float epsilon, int activation) {
  return norm_forward(x, nullptr, gamma, beta, running_mean, running_variance, momentum, epsilon, activation);
}

std::vector<Tensor> norm_add(const Tensor& x, const Tensor& z, const Tensor& gamma, const Tensor& beta,
                             Tensor& running_mean, Tensor& running_variance, float momentum, float epsilon,
                             int activation) {
  return norm_forward(x, &z, gamma, beta, running_mean, running_variance, momentum, epsilon, activation);
}

std::vector<Tensor> norm_gradient(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                                  const Tensor& inverse_std, const Tensor& dy, float, float, int activation) {
  require_axes(x, "input", 4);
  require_shape_of(dy, "output gradient", x);
  const auto kind = activation_of(activation);
  const int64_t rows = pixels_of(x);
  auto gradient = norm_gradient_of(x, gamma, beta, mean, inverse_std);
  Tensor dx = empty_like(x), dgamma = empty_like(gamma), dbeta = empty_like(beta);
  gradient.add(x.data<float>(), nullptr, dy.data<float>(), kind, nullptr);
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  gradient.apply(x.data<float>(), dy.data<float>(), kind, rows, dx.data<float>());
  return {dx, dgamma, dbeta};
}

std::vector<Tensor> norm_add_gradient(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& y,
                                      const Tensor& mean, const Tensor& inverse_std, const Tensor& dy, float, float,
                                      int activation) {
  require_axes(x, "input", 4);
  require_shape_of(y, "output", x);
  require_shape_of(dy, "output gradient", x);
  const auto kind = activation_of(activation, true);
  const int64_t rows = pixels_of(x);
  auto gradient = norm_gradient_of(x, gamma, beta, mean, inverse_std);
  Tensor dx = empty_like(x), dz = empty_like(x), dgamma = empty_like(gamma), dbeta = empty_like(beta);
  gradient.add(x.data<float>(), y.data<float>(), dy.data<float>(), kind, dz.data<float>());
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  gradient.apply(x.data<float>(), dz.data<float>(), Activation::kNone, rows, dx.data<float>());
  return {dx, dz, dgamma, dbeta};
}

std::vector<Tensor> conv_norm_forward(const Tensor& x, const Tensor& weights, const Tensor* z, const Tensor& gamma,
                                      const Tensor& beta, Tensor& running_mean, Tensor& running_variance,
                                      const std::vector<int>& geometry, float momentum, float epsilon, int activation,
                                      ppzoo::Affine affine = {}) {
  const ConvShape s = conv_shape(x, weights, geometry);
  if (z != nullptr) require_output_shape(*z, "residual", s);
  const auto kind = activation_of(activation, z != nullptr);
  const auto parameters =
      norm_parameters(s.out_channels, gamma, beta, running_mean, running_variance, momentum, epsilon);
  Tensor raw = empty_like(x, output_shape(s)), y = empty_like(raw);
  const auto statistics = ppzoo::convolve_statistics(s, x.data<float>(), weights.data<float>(), raw.data<float>());
  Tensor mean = empty_like(gamma), inverse_std = empty_like(gamma);
  ppzoo::finalize_statistics(statistics, parameters, kind, mean.data<float>(), inverse_std.data<float>(), affine)
      .apply(raw.data<float>(), z ? z->data<float>() : nullptr, pixels_of(raw), y.data<float>());
  return {y, raw, mean, inverse_std};
}

std::vector<Tensor> conv_norm(const Tensor& x, const Tensor& weights, const Tensor& gamma, const Tensor& beta,
                              Tensor& running_mean, Tensor& running_variance, const std::vector<int>& geometry, bool,
                              float momentum, float epsilon, int activation) {
  return conv_norm_forward(x, weights, nullptr, gamma, beta, running_mean, running_variance, geometry, momentum,
                           epsilon, activation);
}

std::vector<Tensor> conv_norm_add(const Tensor& x, const Tensor& weights, const Tensor& z, const Tensor& gamma,
                                  const Tensor& beta, Tensor& running_mean, Tensor& running_variance,
                                  const std::vector<int>& geometry, bool, float momentum, float epsilon,
                                  int activation) {
  return conv_norm_forward(x, weights, &z, gamma, beta, running_mean, running_variance, geometry, momentum, epsilon,
                           activation);
}

// Requires the activation before an affine block to be one of those that NormGradient supports with it.
void require_affine(const Tensor& multiplier, const Tensor& addend, int activation) {
  require_shape(multiplier, "multiplier", {1});
  require_shape(addend, "addend", {1});
  const auto kind = activation_of(activation);
  require(kind == Activation::kNone || kind == Activation::kRelu,
          [&] { return "affine block: expected no activation or ReLU, got number " + std::to_string(activation); });
}

std::vector<Tensor> conv_norm_affine(const Tensor& x, const Tensor& weights, const Tensor& gamma, const Tensor& beta,
                                     const Tensor& multiplier, const Tensor& addend, Tensor& running_mean,
                                     Tensor& running_variance, const std::vector<int>& geometry, bool, float momentum,
                                     float epsilon, int activation) {
  require_affine(multiplier, addend, activation);
  return conv_norm_forward(x, weights, nullptr, gamma, beta, running_mean, running_variance, geometry, momentum,
                           epsilon, activation, {*multiplier.data<float>(), *addend.data<float>()});
}

std::vector<Tensor> conv_norm_gradient(const Tensor& x, const Tensor& weights, const Tensor& gamma, const Tensor& beta,
                                       const Tensor& raw, const Tensor& mean, const Tensor& inverse_std,
                                       const Tensor& dy, const std::vector<int>& geometry, bool need_dx, float, float,
                                       int activation) {
  const ConvShape s = conv_shape(x, weights, geometry);
  require_output_shape(raw, "convolution's result", s);
  require_output_shape(dy, "output gradient", s);
  const auto kind = activation_of(activation);
  auto gradient = norm_gradient_of(raw, gamma, beta, mean, inverse_std);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights), dgamma = empty_like(gamma),
         dbeta = empty_like(beta);
  gradient.add(raw.data<float>(), nullptr, dy.data<float>(), kind, nullptr);
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  ppzoo::convolve_norm_gradients(s, gradient, x.data<float>(), weights.data<float>(), raw.data<float>(),
                                 dy.data<float>(), kind, need_dx ? dx.data<float>() : nullptr, dweights.data<float>());
  return {dx, dweights, dgamma, dbeta};
}

std::vector<Tensor> conv_norm_affine_gradient(const Tensor& x, const Tensor& weights, const Tensor& gamma,
                                              const Tensor& beta, const Tensor& multiplier, const Tensor& addend,
                                              const Tensor& raw, const Tensor& mean, const Tensor& inverse_std,
                                              const Tensor& dy, const std::vector<int>& geometry, bool need_dx, float,
                                              float, int activation) {
  const ConvShape s = conv_shape(x, weights, geometry);
  require_output_shape(raw, "convolution's result", s);
  require_output_shape(dy, "output gradient", s);
  require_affine(multiplier, addend, activation);
  const auto kind = activation_of(activation);
  auto gradient = norm_gradient_of(raw, gamma, beta, mean, inverse_std, multiplier.data<float>());
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights), dgamma = empty_like(gamma),
         dbeta = empty_like(beta), dmultiplier = empty_like(multiplier), daddend = empty_like(addend);
  gradient.add(raw.data<float>(), nullptr, dy.data<float>(), kind, nullptr);
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  gradient.finish_affine(gamma.data<float>(), beta.data<float>(), dmultiplier.data<float>(), daddend.data<float>());
  ppzoo::convolve_norm_gradients(s, gradient, x.data<float>(), weights.data<float>(), raw.data<float>(),
                                 dy.data<float>(), kind, need_dx ? dx.data<float>() : nullptr, dweights.data<float>());
  return {dx, dweights, dgamma, dbeta, dmultiplier, daddend};
}

std::vector<Tensor> conv_norm_add_gradient(const Tensor& x, const Tensor& weights, const Tensor& gamma,
                                           const Tensor& beta, const Tensor& y, const Tensor& raw, const Tensor& mean,
                                           const Tensor& inverse_std, const Tensor& dy,
                                           const std::vector<int>& geometry, bool need_dx, float, float,
                                           int activation) {
  const ConvShape s = conv_shape(x, weights, geometry);
  require_output_shape(raw, "convolution's result", s);
  require_output_shape(y, "output", s);
  require_output_shape(dy, "output gradient", s);
  const auto kind = activation_of(activation, true);
  auto gradient = norm_gradient_of(raw, gamma, beta, mean, inverse_std);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights), dgamma = empty_like(gamma),
         dbeta = empty_like(beta);
  Tensor dz = empty_like(raw);
  gradient.add(raw.data<float>(), y.data<float>(), dy.data<float>(), kind, dz.data<float>());
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  ppzoo::convolve_norm_gradients(s, gradient, x.data<float>(), weights.data<float>(), raw.data<float>(),
                                 dz.data<float>(), Activation::kNone, need_dx ? dx.data<float>() : nullptr,
                                 dweights.data<float>());
  return {dx, dweights, dz, dgamma, dbeta};
}

// ---- inverted residual

void require_three(size_t received, const char* name) {
  require(received == 3, [&] {
    return "inverted residual: expected three " + std::string(name) + ", got " + std::to_string(received);
  });
}

// `geometry`: of the depthwise convolution.
ppzoo::InvertedResidual inverted_residual_of(const Tensor& x, const std::vector<Tensor>& weights,
                                             const std::vector<int>& geometry, const std::vector<int>& activations,
                                             bool shortcut) {
  const std::vector<int> pointwise{1, 1, 0, 0, 0, 0, 1, 1, 1};
  require_three(weights.size(), "weights");
  require_three(activations.size(), "activations");
  require_axes(x, "input", 4);
  ppzoo::InvertedResidual block;
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

// The saved values of a block are in one tensor, since each PaddlePaddle tensor costs microseconds.
constexpr int64_t kCacheLine = 16;  // elements

// T: float or const float.
template <class T>
std::vector<ppzoo::SavedStage<T>> saved_stages(const ppzoo::InvertedResidual& block, T* start) {
  std::vector<ppzoo::SavedStage<T>> results;
  for (int stage = 0; stage < 3; ++stage) {
    const int64_t channels = ppzoo::round_up(block.shapes[stage].out_channels, kCacheLine);
    T *mean = start, *inverse_std = mean + channels, *raw = inverse_std + channels;
    results.push_back({raw, mean, inverse_std});
    start = raw + ppzoo::round_up(ppzoo::saved_elements(block, stage), kCacheLine);
  }
  return results;
}

int64_t saved_size(const ppzoo::InvertedResidual& block) {
  int64_t size = 0;
  for (int stage = 0; stage < 3; ++stage) {
    size += 2 * ppzoo::round_up(block.shapes[stage].out_channels, kCacheLine);
    size += ppzoo::round_up(ppzoo::saved_elements(block, stage), kCacheLine);
  }
  return size;
}

std::vector<Tensor> inverted_residual(const Tensor& x, const std::vector<Tensor>& weights,
                                      const std::vector<Tensor>& gammas, const std::vector<Tensor>& betas,
                                      std::vector<Tensor>& running_means, std::vector<Tensor>& running_variances,
                                      const std::vector<int>& geometry, const std::vector<int>& activations,
                                      bool shortcut, bool, const std::vector<float>& momenta,
                                      const std::vector<float>& epsilons) {
  const ppzoo::InvertedResidual block = inverted_residual_of(x, weights, geometry, activations, shortcut);
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
  Tensor y = empty_like(x, output_shape(block.shapes[2])), saved = empty_like(x, {saved_size(block)});
  ppzoo::inverted_residual(block, x.data<float>(), stages, saved_stages(block, saved.data<float>()), y.data<float>());
  return {y, saved};
}

std::vector<Tensor> inverted_residual_gradient(const Tensor& x, const std::vector<Tensor>& weights,
                                               const std::vector<Tensor>& gammas, const std::vector<Tensor>& betas,
                                               const Tensor& saved, const Tensor& dy, const std::vector<int>& geometry,
                                               const std::vector<int>& activations, bool shortcut, bool need_dx,
                                               const std::vector<float>&, const std::vector<float>&) {
  const ppzoo::InvertedResidual block = inverted_residual_of(x, weights, geometry, activations, shortcut);
  require_three(gammas.size(), "norms");
  require_three(betas.size(), "norms");
  require_shape(saved, "saved values", {saved_size(block)});
  require_output_shape(dy, "output gradient", block.shapes[2]);
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
  ppzoo::inverted_residual_gradients(block, x.data<float>(), stages, saved_stages(block, saved.data<float>()),
                                     dy.data<float>(), to, need_dx ? dx.data<float>() : nullptr);
  std::vector<Tensor> gradients{dx};
  for (const auto* group : {&dweights, &dgammas, &dbetas}) {
    gradients.insert(gradients.end(), group->begin(), group->end());
  }
  return gradients;
}

// ---- the block of RepVGG

// `weights`: of the 3x3 convolution (or another one without groups), whose geometry is `geometry`, and of the 1x1
// convolution. `norms`: two, or three with the identity.
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
  // Appends a tensor like each of `values` to the gradients, and returns their memory.
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

// ---- batch norm with running statistics, without a gradient

std::vector<Tensor> norm_inference(const Tensor& x, const paddle::optional<Tensor>& z, const Tensor& gamma,
                                   const Tensor& beta, const Tensor& mean, const Tensor& variance, float epsilon,
                                   int activation) {
  require_axes(x, "input", 4);
  if (z) require_shape_of(*z, "residual", x);
  const int64_t channels = channels_of(x);
  require_shape(gamma, "scale of the norm", {channels});
  require_shape(beta, "offset of the norm", {channels});
  require_shape(mean, "running mean", {channels});
  require_shape(variance, "running variance", {channels});
  const float *g = gamma.data<float>(), *b = beta.data<float>(), *m = mean.data<float>();
  const float* v = variance.data<float>();
  std::vector<float> scale(channels), offset(channels);
  for (int64_t c = 0; c < channels; ++c) {
    const double factor = g[c] / std::sqrt(static_cast<double>(v[c]) + epsilon);
    scale[c] = static_cast<float>(factor);
    offset[c] = static_cast<float>(b[c] - m[c] * factor);
  }
  Tensor y = empty_like(x);
  const ppzoo::Normalizer normalizer(channels, scale.data(), offset.data(), activation_of(activation));
  normalizer.apply(x.data<float>(), z ? z->data<float>() : nullptr, pixels_of(x), y.data<float>());
  return {y};
}

}  // namespace

// Returns the version of the loaded oneDNN as 10000 major + 100 minor + patch.
extern "C" int ppzoo_onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return 10000 * version->major + 100 * version->minor + version->patch;
}

PD_BUILD_OP(ppzoo_conv)
    .Inputs({"X", "W"})
    .Outputs({"Y"})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool"})
    .SetKernelFn(PPZOO_KERNEL(conv));
PD_BUILD_GRAD_OP(ppzoo_conv)
    .Inputs({"X", "W", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W")})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool"})
    .SetKernelFn(PPZOO_KERNEL(conv_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_conv, "X");

PD_BUILD_OP(ppzoo_conv_bias)
    .Inputs({"X", "W", "B"})
    .Outputs({"Y"})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool"})
    .SetKernelFn(PPZOO_KERNEL(conv_bias));
PD_BUILD_GRAD_OP(ppzoo_conv_bias)
    .Inputs({"X", "W", "B", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("B")})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool"})
    .SetKernelFn(PPZOO_KERNEL(conv_bias_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_conv_bias, "X");

PD_BUILD_OP(ppzoo_linear)
    .Inputs({"X", "W", "B"})
    .Outputs({"Y"})
    .Attrs({"need_dx: bool"})
    .SetKernelFn(PPZOO_KERNEL(linear));
PD_BUILD_GRAD_OP(ppzoo_linear)
    .Inputs({"X", "W", "B", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("B")})
    .Attrs({"need_dx: bool"})
    .SetKernelFn(PPZOO_KERNEL(linear_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_linear, "X");

PD_BUILD_OP(ppzoo_norm)
    .Inputs({"X", "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y", "BatchMean", "BatchInverse"})
    .Attrs({"momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(norm));
PD_BUILD_GRAD_OP(ppzoo_norm)
    .Inputs({"X", "Gamma", "Beta", "BatchMean", "BatchInverse", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(norm_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_norm, "X");

PD_BUILD_OP(ppzoo_norm_add)
    .Inputs({"X", "Z", "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y", "BatchMean", "BatchInverse"})
    .Attrs({"momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(norm_add));
PD_BUILD_GRAD_OP(ppzoo_norm_add)
    .Inputs({"X", "Gamma", "Beta", "Y", "BatchMean", "BatchInverse", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Z"), paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(norm_add_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_norm_add, "X");

PD_BUILD_OP(ppzoo_conv_norm)
    .Inputs({"X", "W", "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y", "Raw", "BatchMean", "BatchInverse"})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(conv_norm));
PD_BUILD_GRAD_OP(ppzoo_conv_norm)
    .Inputs({"X", "W", "Gamma", "Beta", "Raw", "BatchMean", "BatchInverse", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(conv_norm_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_conv_norm, "X");

PD_BUILD_OP(ppzoo_conv_norm_add)
    .Inputs({"X", "W", "Z", "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y", "Raw", "BatchMean", "BatchInverse"})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(conv_norm_add));
PD_BUILD_GRAD_OP(ppzoo_conv_norm_add)
    .Inputs({"X", "W", "Gamma", "Beta", "Y", "Raw", "BatchMean", "BatchInverse", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("Z"), paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(conv_norm_add_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_conv_norm_add, "X");

PD_BUILD_OP(ppzoo_conv_norm_affine)
    .Inputs({"X", "W", "Gamma", "Beta", "Multiplier", "Addend", "Mean", "Variance"})
    .Outputs({"Y", "Raw", "BatchMean", "BatchInverse"})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(conv_norm_affine));
PD_BUILD_GRAD_OP(ppzoo_conv_norm_affine)
    .Inputs({"X", "W", "Gamma", "Beta", "Multiplier", "Addend", "Raw", "BatchMean", "BatchInverse", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("Gamma"), paddle::Grad("Beta"),
              paddle::Grad("Multiplier"), paddle::Grad("Addend")})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(conv_norm_affine_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_conv_norm_affine, "X");

PD_BUILD_OP(ppzoo_inverted_residual)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), paddle::Vec("Mean"),
             paddle::Vec("Variance")})
    .Outputs({"Y", "Saved"})
    .Attrs({"geometry: std::vector<int>", "activations: std::vector<int>", "shortcut: bool", "need_dx: bool",
            "momenta: std::vector<float>", "epsilons: std::vector<float>"})
    .SetKernelFn(PPZOO_KERNEL(inverted_residual));
PD_BUILD_GRAD_OP(ppzoo_inverted_residual)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), "Saved", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad(paddle::Vec("W")), paddle::Grad(paddle::Vec("Gamma")),
              paddle::Grad(paddle::Vec("Beta"))})
    .Attrs({"geometry: std::vector<int>", "activations: std::vector<int>", "shortcut: bool", "need_dx: bool",
            "momenta: std::vector<float>", "epsilons: std::vector<float>"})
    .SetKernelFn(PPZOO_KERNEL(inverted_residual_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_inverted_residual, "X");

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

PD_BUILD_OP(ppzoo_norm_inference)
    .Inputs({"X", paddle::Optional("Z"), "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y"})
    .Attrs({"epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(norm_inference));
