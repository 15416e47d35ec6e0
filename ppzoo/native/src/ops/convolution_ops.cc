// Operators: convolution, the linear layer, batch norm, and their fusions. See common.h.
#include <algorithm>
#include <cmath>

#include "kernels/convolution.h"
#include "kernels/convolution_norm.h"
#include "kernels/depthwise.h"
#include "kernels/linear.h"
#include "kernels/onednn.h"
#include "kernels/pointwise.h"
#include "ops/common.h"
#include "ops/layer_arguments.h"

namespace {

using namespace ppzoo::ops;
using ppzoo::Activation;
using ppzoo::ConvShape;

// ---- convolution

std::vector<Tensor> conv(const Tensor& x, const Tensor& weights, const std::vector<int>& geometry, bool) {
  const ConvShape s = conv_shape(x, weights, geometry);
  Tensor y = empty_like(x, output_shape(s));
  ppzoo::convolve(s, x.data<float>(), weights.data<float>(), nullptr, y.data<float>());
  return {y};
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

// ---- linear

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

// Requires numbers as multiplier and addend of an affine block, and an activation that NormGradient supports with it.
void require_affine(const Tensor& multiplier, const Tensor& addend, int activation) {
  require_shape(multiplier, "multiplier", {1});
  require_shape(addend, "addend", {1});
  const auto kind = activation_of(activation);
  require(kind == Activation::kNone || kind == Activation::kRelu,
          [&] { return "affine block: expected no activation or ReLU (0 or 1), got " + std::to_string(activation); });
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

PD_BUILD_OP(ppzoo_norm_inference)
    .Inputs({"X", paddle::Optional("Z"), "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y"})
    .Attrs({"epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(norm_inference));
