// Operators that one template defines for float32 images (`ppzoo_NAME`) and for bfloat16 images
// (`ppzoo_bfloat16_NAME`): convolution, the linear layer, batch norm, and their fusions. See common.h.
//
// Inputs, outputs and gradients of the images have the images' type. Weights, parameters and statistics of norms, their
// gradients, and the output of the linear layer are float32.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/bfloat16_convolution.h"
#include "kernels/convolution.h"
#include "kernels/convolution_norm.h"
#include "kernels/elementwise.h"
#include "kernels/linear.h"
#include "kernels/onednn.h"
#include "kernels/workspace.h"
#include "ops/bfloat16_tensors.h"
#include "ops/common.h"
#include "ops/layer_arguments.h"

namespace {

using namespace ppzoo::ops;
using ppzoo::Activation;
using ppzoo::Bfloat16;
using ppzoo::ConvShape;
using ppzoo::WorkspaceSlot;

// ---- convolution

template <class T>
std::vector<Tensor> conv(const Tensor& x, const Tensor& weights, const std::vector<int>& geometry, bool) {
  const ConvShape s = conv_shape(x, weights, geometry, kTypeOf<T>);
  Tensor y = empty_like(x, output_shape(s));
  ppzoo::convolve(s, elements<T>(x), weights.data<float>(), nullptr, elements<T>(y));
  return {y};
}

template <class T>
std::vector<Tensor> conv_gradient(const Tensor& x, const Tensor& weights, const Tensor& dy,
                                  const std::vector<int>& geometry, bool need_dx) {
  const ConvShape s = conv_shape(x, weights, geometry, kTypeOf<T>);
  require_output_shape(dy, "output gradient", s, kTypeOf<T>);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights);
  if (need_dx) ppzoo::convolve_input_gradient(s, weights.data<float>(), elements<T>(dy), elements<T>(dx));
  ppzoo::convolve_weight_gradient(s, elements<T>(x), elements<T>(dy), false, dweights.data<float>());
  return {dx, dweights};
}

// ---- linear, which computes in float32

// The elements of x in float32: bfloat16 is converted into the workspace.
template <class T>
const float* float_elements(const Tensor& x) {
  if constexpr (std::is_same_v<T, float>) {
    return x.data<float>();
  } else {
    float* copy = ppzoo::workspace(WorkspaceSlot::kCroppedInput, x.numel());
    ppzoo::widen_values(data(x), x.numel(), copy);
    return copy;
  }
}

template <class T>
std::vector<Tensor> linear(const Tensor& x, const Tensor& weights, const Tensor& bias, bool) {
  require_linear(x, weights, bias, kTypeOf<T>);
  const int64_t rows = pixels_of(x), out = channels_of(weights);
  Tensor y = empty_float32(x, {rows, out});
  ppzoo::linear(float_elements<T>(x), weights.data<float>(), bias.data<float>(), rows, channels_of(x), out,
                y.data<float>());
  return {y};
}

template <class T>
std::vector<Tensor> linear_gradient(const Tensor& x, const Tensor& weights, const Tensor& bias, const Tensor& dy,
                                    bool need_dx) {
  constexpr bool kConverts = !std::is_same_v<T, float>;
  require_linear(x, weights, bias, kTypeOf<T>);
  require_shape(dy, "output gradient", {x.dims()[0], weights.dims()[1]});
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights), dbias = empty_like(bias);
  float* gradient = nullptr;
  if (need_dx) {
    gradient = kConverts ? ppzoo::workspace(WorkspaceSlot::kOutputGradient, x.numel()) : dx.data<float>();
  }
  ppzoo::linear_gradient(float_elements<T>(x), weights.data<float>(), dy.data<float>(), pixels_of(x), channels_of(x),
                         channels_of(weights), gradient, dweights.data<float>(), dbias.data<float>());
  if constexpr (kConverts) {
    if (need_dx) ppzoo::round_values(gradient, x.numel(), data(dx));
  }
  return {dx, dweights, dbias};
}

// ---- batch norm in training, after a convolution or alone

template <class T>
std::vector<Tensor> norm_forward(const Tensor& x, const Tensor* z, const Tensor& gamma, const Tensor& beta,
                                 Tensor& running_mean, Tensor& running_variance, float momentum, float epsilon,
                                 int activation) {
  require_axes(x, "input", 4, kTypeOf<T>);
  if (z != nullptr) require_shape_of(*z, "residual", x, kTypeOf<T>);
  const auto kind = activation_of(activation, z != nullptr);
  const auto parameters =
      norm_parameters(channels_of(x), gamma, beta, running_mean, running_variance, momentum, epsilon);
  const T* from = elements<T>(x);
  ppzoo::Moments moments(channels_of(x), from, pixels_of(x));
  moments.add(from, pixels_of(x));
  Tensor y = empty_like(x), mean = empty_like(gamma), inverse_std = empty_like(gamma);
  ppzoo::finalize_statistics(moments.statistics(), parameters, kind, mean.data<float>(), inverse_std.data<float>())
      .apply(from, z ? elements<T>(*z) : nullptr, pixels_of(x), elements<T>(y));
  return {y, mean, inverse_std};
}

template <class T>
std::vector<Tensor> norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& running_mean,
                         Tensor& running_variance, float momentum, float epsilon, int activation) {
  return norm_forward<T>(x, nullptr, gamma, beta, running_mean, running_variance, momentum, epsilon, activation);
}

template <class T>
std::vector<Tensor> norm_add(const Tensor& x, const Tensor& z, const Tensor& gamma, const Tensor& beta,
                             Tensor& running_mean, Tensor& running_variance, float momentum, float epsilon,
                             int activation) {
  return norm_forward<T>(x, &z, gamma, beta, running_mean, running_variance, momentum, epsilon, activation);
}

template <class T>
std::vector<Tensor> norm_gradient(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                                  const Tensor& inverse_std, const Tensor& dy, float, float, int activation) {
  require_axes(x, "input", 4, kTypeOf<T>);
  require_shape_of(dy, "output gradient", x, kTypeOf<T>);
  const auto kind = activation_of(activation);
  const int64_t rows = pixels_of(x);
  auto gradient = norm_gradient_of(x, gamma, beta, mean, inverse_std);
  Tensor dx = empty_like(x), dgamma = empty_like(gamma), dbeta = empty_like(beta);
  gradient.add(elements<T>(x), nullptr, elements<T>(dy), kind, nullptr);
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  gradient.apply(elements<T>(x), elements<T>(dy), kind, rows, elements<T>(dx));
  return {dx, dgamma, dbeta};
}

template <class T>
std::vector<Tensor> norm_add_gradient(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& y,
                                      const Tensor& mean, const Tensor& inverse_std, const Tensor& dy, float, float,
                                      int activation) {
  require_axes(x, "input", 4, kTypeOf<T>);
  require_shape_of(y, "output", x, kTypeOf<T>);
  require_shape_of(dy, "output gradient", x, kTypeOf<T>);
  const auto kind = activation_of(activation, true);
  const int64_t rows = pixels_of(x);
  auto gradient = norm_gradient_of(x, gamma, beta, mean, inverse_std);
  Tensor dx = empty_like(x), dz = empty_like(x), dgamma = empty_like(gamma), dbeta = empty_like(beta);
  gradient.add(elements<T>(x), elements<T>(y), elements<T>(dy), kind, elements<T>(dz));
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  gradient.apply(elements<T>(x), elements<T>(dz), Activation::kNone, rows, elements<T>(dx));
  return {dx, dz, dgamma, dbeta};
}

template <class T>
std::vector<Tensor> conv_norm_forward(const Tensor& x, const Tensor& weights, const Tensor* z, const Tensor& gamma,
                                      const Tensor& beta, Tensor& running_mean, Tensor& running_variance,
                                      const std::vector<int>& geometry, float momentum, float epsilon, int activation,
                                      ppzoo::Affine affine = {}) {
  const ConvShape s = conv_shape(x, weights, geometry, kTypeOf<T>);
  if (z != nullptr) require_output_shape(*z, "residual", s, kTypeOf<T>);
  const auto kind = activation_of(activation, z != nullptr);
  const auto parameters =
      norm_parameters(s.out_channels, gamma, beta, running_mean, running_variance, momentum, epsilon);
  Tensor raw = empty_like(x, output_shape(s)), y = empty_like(raw);
  const auto statistics = ppzoo::convolve_statistics(s, elements<T>(x), weights.data<float>(), elements<T>(raw));
  Tensor mean = empty_like(gamma), inverse_std = empty_like(gamma);
  ppzoo::finalize_statistics(statistics, parameters, kind, mean.data<float>(), inverse_std.data<float>(), affine)
      .apply(elements<T>(raw), z ? elements<T>(*z) : nullptr, pixels_of(raw), elements<T>(y));
  return {y, raw, mean, inverse_std};
}

template <class T>
std::vector<Tensor> conv_norm(const Tensor& x, const Tensor& weights, const Tensor& gamma, const Tensor& beta,
                              Tensor& running_mean, Tensor& running_variance, const std::vector<int>& geometry, bool,
                              float momentum, float epsilon, int activation) {
  return conv_norm_forward<T>(x, weights, nullptr, gamma, beta, running_mean, running_variance, geometry, momentum,
                              epsilon, activation);
}

template <class T>
std::vector<Tensor> conv_norm_add(const Tensor& x, const Tensor& weights, const Tensor& z, const Tensor& gamma,
                                  const Tensor& beta, Tensor& running_mean, Tensor& running_variance,
                                  const std::vector<int>& geometry, bool, float momentum, float epsilon,
                                  int activation) {
  return conv_norm_forward<T>(x, weights, &z, gamma, beta, running_mean, running_variance, geometry, momentum, epsilon,
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

template <class T>
std::vector<Tensor> conv_norm_affine(const Tensor& x, const Tensor& weights, const Tensor& gamma, const Tensor& beta,
                                     const Tensor& multiplier, const Tensor& addend, Tensor& running_mean,
                                     Tensor& running_variance, const std::vector<int>& geometry, bool, float momentum,
                                     float epsilon, int activation) {
  require_affine(multiplier, addend, activation);
  return conv_norm_forward<T>(x, weights, nullptr, gamma, beta, running_mean, running_variance, geometry, momentum,
                              epsilon, activation, {*multiplier.data<float>(), *addend.data<float>()});
}

template <class T>
std::vector<Tensor> conv_norm_gradient(const Tensor& x, const Tensor& weights, const Tensor& gamma, const Tensor& beta,
                                       const Tensor& raw, const Tensor& mean, const Tensor& inverse_std,
                                       const Tensor& dy, const std::vector<int>& geometry, bool need_dx, float, float,
                                       int activation) {
  const ConvShape s = conv_shape(x, weights, geometry, kTypeOf<T>);
  require_output_shape(raw, "convolution's result", s, kTypeOf<T>);
  require_output_shape(dy, "output gradient", s, kTypeOf<T>);
  const auto kind = activation_of(activation);
  auto gradient = norm_gradient_of(raw, gamma, beta, mean, inverse_std);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights), dgamma = empty_like(gamma),
         dbeta = empty_like(beta);
  gradient.add(elements<T>(raw), nullptr, elements<T>(dy), kind, nullptr);
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  ppzoo::convolve_norm_gradients(s, gradient, elements<T>(x), weights.data<float>(), elements<T>(raw), elements<T>(dy),
                                 kind, need_dx ? elements<T>(dx) : nullptr, dweights.data<float>());
  return {dx, dweights, dgamma, dbeta};
}

template <class T>
std::vector<Tensor> conv_norm_affine_gradient(const Tensor& x, const Tensor& weights, const Tensor& gamma,
                                              const Tensor& beta, const Tensor& multiplier, const Tensor& addend,
                                              const Tensor& raw, const Tensor& mean, const Tensor& inverse_std,
                                              const Tensor& dy, const std::vector<int>& geometry, bool need_dx, float,
                                              float, int activation) {
  const ConvShape s = conv_shape(x, weights, geometry, kTypeOf<T>);
  require_output_shape(raw, "convolution's result", s, kTypeOf<T>);
  require_output_shape(dy, "output gradient", s, kTypeOf<T>);
  require_affine(multiplier, addend, activation);
  const auto kind = activation_of(activation);
  auto gradient = norm_gradient_of(raw, gamma, beta, mean, inverse_std, multiplier.data<float>());
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights), dgamma = empty_like(gamma),
         dbeta = empty_like(beta), dmultiplier = empty_like(multiplier), daddend = empty_like(addend);
  gradient.add(elements<T>(raw), nullptr, elements<T>(dy), kind, nullptr);
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  gradient.finish_affine(gamma.data<float>(), beta.data<float>(), dmultiplier.data<float>(), daddend.data<float>());
  ppzoo::convolve_norm_gradients(s, gradient, elements<T>(x), weights.data<float>(), elements<T>(raw), elements<T>(dy),
                                 kind, need_dx ? elements<T>(dx) : nullptr, dweights.data<float>());
  return {dx, dweights, dgamma, dbeta, dmultiplier, daddend};
}

template <class T>
std::vector<Tensor> conv_norm_add_gradient(const Tensor& x, const Tensor& weights, const Tensor& gamma,
                                           const Tensor& beta, const Tensor& y, const Tensor& raw, const Tensor& mean,
                                           const Tensor& inverse_std, const Tensor& dy,
                                           const std::vector<int>& geometry, bool need_dx, float, float,
                                           int activation) {
  const ConvShape s = conv_shape(x, weights, geometry, kTypeOf<T>);
  require_output_shape(raw, "convolution's result", s, kTypeOf<T>);
  require_output_shape(y, "output", s, kTypeOf<T>);
  require_output_shape(dy, "output gradient", s, kTypeOf<T>);
  const auto kind = activation_of(activation, true);
  auto gradient = norm_gradient_of(raw, gamma, beta, mean, inverse_std);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights), dgamma = empty_like(gamma),
         dbeta = empty_like(beta);
  Tensor dz = empty_like(raw);
  gradient.add(elements<T>(raw), elements<T>(y), elements<T>(dy), kind, elements<T>(dz));
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  ppzoo::convolve_norm_gradients(s, gradient, elements<T>(x), weights.data<float>(), elements<T>(raw), elements<T>(dz),
                                 Activation::kNone, need_dx ? elements<T>(dx) : nullptr, dweights.data<float>());
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

#define PPZOO_CONVOLUTION_OPERATORS(prefix, T)                                                                         \
  PD_BUILD_OP(prefix##conv)                                                                                            \
      .Inputs({"X", "W"})                                                                                              \
      .Outputs({"Y"})                                                                                                  \
      .Attrs({"geometry: std::vector<int>", "need_dx: bool"})                                                          \
      .SetKernelFn(PPZOO_KERNEL(conv<T>));                                                                             \
  PD_BUILD_GRAD_OP(prefix##conv)                                                                                       \
      .Inputs({"X", "W", paddle::Grad("Y")})                                                                           \
      .Outputs({paddle::Grad("X"), paddle::Grad("W")})                                                                 \
      .Attrs({"geometry: std::vector<int>", "need_dx: bool"})                                                          \
      .SetKernelFn(PPZOO_KERNEL(conv_gradient<T>));                                                                    \
  PPZOO_NO_SECOND_DERIVATIVE(prefix##conv, "X");                                                                       \
  PD_BUILD_OP(prefix##linear)                                                                                          \
      .Inputs({"X", "W", "B"})                                                                                         \
      .Outputs({"Y"})                                                                                                  \
      .Attrs({"need_dx: bool"})                                                                                        \
      .SetKernelFn(PPZOO_KERNEL(linear<T>));                                                                           \
  PD_BUILD_GRAD_OP(prefix##linear)                                                                                     \
      .Inputs({"X", "W", "B", paddle::Grad("Y")})                                                                      \
      .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("B")})                                              \
      .Attrs({"need_dx: bool"})                                                                                        \
      .SetKernelFn(PPZOO_KERNEL(linear_gradient<T>));                                                                  \
  PPZOO_NO_SECOND_DERIVATIVE(prefix##linear, "X");                                                                     \
  PD_BUILD_OP(prefix##norm)                                                                                            \
      .Inputs({"X", "Gamma", "Beta", "Mean", "Variance"})                                                              \
      .Outputs({"Y", "BatchMean", "BatchInverse"})                                                                     \
      .Attrs({"momentum: float", "epsilon: float", "activation: int"})                                                 \
      .SetKernelFn(PPZOO_KERNEL(norm<T>));                                                                             \
  PD_BUILD_GRAD_OP(prefix##norm)                                                                                       \
      .Inputs({"X", "Gamma", "Beta", "BatchMean", "BatchInverse", paddle::Grad("Y")})                                  \
      .Outputs({paddle::Grad("X"), paddle::Grad("Gamma"), paddle::Grad("Beta")})                                       \
      .Attrs({"momentum: float", "epsilon: float", "activation: int"})                                                 \
      .SetKernelFn(PPZOO_KERNEL(norm_gradient<T>));                                                                    \
  PPZOO_NO_SECOND_DERIVATIVE(prefix##norm, "X");                                                                       \
  PD_BUILD_OP(prefix##norm_add)                                                                                        \
      .Inputs({"X", "Z", "Gamma", "Beta", "Mean", "Variance"})                                                         \
      .Outputs({"Y", "BatchMean", "BatchInverse"})                                                                     \
      .Attrs({"momentum: float", "epsilon: float", "activation: int"})                                                 \
      .SetKernelFn(PPZOO_KERNEL(norm_add<T>));                                                                         \
  PD_BUILD_GRAD_OP(prefix##norm_add)                                                                                   \
      .Inputs({"X", "Gamma", "Beta", "Y", "BatchMean", "BatchInverse", paddle::Grad("Y")})                             \
      .Outputs({paddle::Grad("X"), paddle::Grad("Z"), paddle::Grad("Gamma"), paddle::Grad("Beta")})                    \
      .Attrs({"momentum: float", "epsilon: float", "activation: int"})                                                 \
      .SetKernelFn(PPZOO_KERNEL(norm_add_gradient<T>));                                                                \
  PPZOO_NO_SECOND_DERIVATIVE(prefix##norm_add, "X");                                                                   \
  PD_BUILD_OP(prefix##conv_norm)                                                                                       \
      .Inputs({"X", "W", "Gamma", "Beta", "Mean", "Variance"})                                                         \
      .Outputs({"Y", "Raw", "BatchMean", "BatchInverse"})                                                              \
      .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})  \
      .SetKernelFn(PPZOO_KERNEL(conv_norm<T>));                                                                        \
  PD_BUILD_GRAD_OP(prefix##conv_norm)                                                                                  \
      .Inputs({"X", "W", "Gamma", "Beta", "Raw", "BatchMean", "BatchInverse", paddle::Grad("Y")})                      \
      .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("Gamma"), paddle::Grad("Beta")})                    \
      .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})  \
      .SetKernelFn(PPZOO_KERNEL(conv_norm_gradient<T>));                                                               \
  PPZOO_NO_SECOND_DERIVATIVE(prefix##conv_norm, "X");                                                                  \
  PD_BUILD_OP(prefix##conv_norm_add)                                                                                   \
      .Inputs({"X", "W", "Z", "Gamma", "Beta", "Mean", "Variance"})                                                    \
      .Outputs({"Y", "Raw", "BatchMean", "BatchInverse"})                                                              \
      .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})  \
      .SetKernelFn(PPZOO_KERNEL(conv_norm_add<T>));                                                                    \
  PD_BUILD_GRAD_OP(prefix##conv_norm_add)                                                                              \
      .Inputs({"X", "W", "Gamma", "Beta", "Y", "Raw", "BatchMean", "BatchInverse", paddle::Grad("Y")})                 \
      .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("Z"), paddle::Grad("Gamma"), paddle::Grad("Beta")}) \
      .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})  \
      .SetKernelFn(PPZOO_KERNEL(conv_norm_add_gradient<T>));                                                           \
  PPZOO_NO_SECOND_DERIVATIVE(prefix##conv_norm_add, "X");                                                              \
  PD_BUILD_OP(prefix##conv_norm_affine)                                                                                \
      .Inputs({"X", "W", "Gamma", "Beta", "Multiplier", "Addend", "Mean", "Variance"})                                 \
      .Outputs({"Y", "Raw", "BatchMean", "BatchInverse"})                                                              \
      .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})  \
      .SetKernelFn(PPZOO_KERNEL(conv_norm_affine<T>));                                                                 \
  PD_BUILD_GRAD_OP(prefix##conv_norm_affine)                                                                           \
      .Inputs(                                                                                                         \
          {"X", "W", "Gamma", "Beta", "Multiplier", "Addend", "Raw", "BatchMean", "BatchInverse", paddle::Grad("Y")})  \
      .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("Gamma"), paddle::Grad("Beta"),                     \
                paddle::Grad("Multiplier"), paddle::Grad("Addend")})                                                   \
      .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})  \
      .SetKernelFn(PPZOO_KERNEL(conv_norm_affine_gradient<T>));                                                        \
  PPZOO_NO_SECOND_DERIVATIVE(prefix##conv_norm_affine, "X")

PPZOO_CONVOLUTION_OPERATORS(ppzoo_, float);
PPZOO_CONVOLUTION_OPERATORS(ppzoo_bfloat16_, Bfloat16);

PD_BUILD_OP(ppzoo_norm_inference)
    .Inputs({"X", paddle::Optional("Z"), "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y"})
    .Attrs({"epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(norm_inference));
