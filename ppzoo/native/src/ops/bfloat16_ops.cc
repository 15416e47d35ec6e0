// Operators on bfloat16 images: convolution, batch norm, their fusions, pooling, and the linear layer. See
// common.h.
//
// Inputs, outputs and gradients of the images are bfloat16. Weights, parameters and statistics of norms, their
// gradients, and the output of the linear layer are float32. `ppzoo_bfloat16_NAME` has the arguments of `ppzoo_NAME`.
#include <algorithm>
#include <optional>

#include "kernels/bfloat16.h"
#include "kernels/bfloat16_convolution.h"
#include "kernels/bfloat16_depthwise.h"
#include "kernels/bfloat16_pooling.h"
#include "kernels/depthwise.h"
#include "kernels/elementwise.h"
#include "kernels/linear.h"
#include "kernels/sums.h"
#include "kernels/workspace.h"
#include "ops/bfloat16_tensors.h"
#include "ops/common.h"
#include "ops/layer_arguments.h"
#include "ops/pool_arguments.h"

namespace {

using namespace ppzoo::ops;
using ppzoo::Activation;
using ppzoo::Bfloat16;
using ppzoo::ConvShape;
using ppzoo::WorkspaceSlot;

// ---- layout and precision

// Converts N x C x H x W in float32 to N x H x W x C in bfloat16.
std::vector<Tensor> to_channels_last(const Tensor& x) {
  require_axes(x, "input", 4);
  const Shape s = x.shape();
  Tensor y = empty_bfloat16(x, {s[0], s[2], s[3], s[1]});
  float* transposed = ppzoo::workspace(WorkspaceSlot::kCroppedInput, x.numel());
  ppzoo::transpose(x.data<float>(), s[0], s[1], s[2] * s[3], transposed);
  ppzoo::round_values(transposed, x.numel(), data(y));
  return {y};
}

std::vector<Tensor> to_channels_last_gradient(const Tensor& dy) {
  require_axes(dy, "output gradient", 4, kBfloat16);
  const Shape s = dy.shape();
  Tensor dx = empty_float32(dy, {s[0], s[3], s[1], s[2]});
  float* values = ppzoo::workspace(WorkspaceSlot::kCroppedInput, dy.numel());
  ppzoo::widen_values(data(dy), dy.numel(), values);
  ppzoo::transpose(values, s[0], s[1] * s[2], s[3], dx.data<float>());
  return {dx};
}

// ---- two uses of one tensor

// Returns the tensor twice, without a copy. PaddlePaddle would add the gradients of two uses on one thread.
std::vector<Tensor> use_twice(const Tensor& x) {
  require_readable(x, "input", kBfloat16);
  return {x, x};
}

// The gradient of a use that does not exist is not initialized.
std::vector<Tensor> use_twice_gradient(const Tensor& first, const Tensor& second) {
  if (!second.initialized()) return {first};
  if (!first.initialized()) return {second};
  require_readable(first, "first output gradient", kBfloat16);
  require_shape_of(second, "second output gradient", first, kBfloat16);
  Tensor dx = empty_like(first);
  ppzoo::add_activate(data(first), data(second), Activation::kNone, first.numel(), data(dx));
  return {dx};
}

// ---- convolution

std::vector<Tensor> conv(const Tensor& x, const Tensor& weights, const std::vector<int>& geometry, bool) {
  const ConvShape s = conv_shape(x, weights, geometry, kBfloat16);
  Tensor y = empty_bfloat16(x, output_shape(s));
  ppzoo::bfloat16_convolve(s, data(x), weights.data<float>(), nullptr, data(y));
  return {y};
}

std::vector<Tensor> conv_gradient(const Tensor& x, const Tensor& weights, const Tensor& dy,
                                  const std::vector<int>& geometry, bool need_dx) {
  const ConvShape s = conv_shape(x, weights, geometry, kBfloat16);
  require_output_shape(dy, "output gradient", s, kBfloat16);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights);
  if (need_dx) ppzoo::bfloat16_input_gradient(s, weights.data<float>(), data(dy), data(dx));
  ppzoo::bfloat16_weight_gradient(s, data(x), data(dy), false, dweights.data<float>());
  return {dx, dweights};
}

// ---- linear, which computes in float32

const float* float_copy(const Tensor& x) {
  float* copy = ppzoo::workspace(WorkspaceSlot::kCroppedInput, x.numel());
  ppzoo::widen_values(data(x), x.numel(), copy);
  return copy;
}

std::vector<Tensor> linear(const Tensor& x, const Tensor& weights, const Tensor& bias, bool) {
  require_linear(x, weights, bias, kBfloat16);
  const int64_t rows = pixels_of(x), out = channels_of(weights);
  Tensor y = empty_float32(x, {rows, out});
  ppzoo::linear(float_copy(x), weights.data<float>(), bias.data<float>(), rows, channels_of(x), out, y.data<float>());
  return {y};
}

std::vector<Tensor> linear_gradient(const Tensor& x, const Tensor& weights, const Tensor& bias, const Tensor& dy,
                                    bool need_dx) {
  require_linear(x, weights, bias, kBfloat16);
  require_shape(dy, "output gradient", {x.dims()[0], weights.dims()[1]});
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights), dbias = empty_like(bias);
  float* gradient = need_dx ? ppzoo::workspace(WorkspaceSlot::kOutputGradient, x.numel()) : nullptr;
  ppzoo::linear_gradient(float_copy(x), weights.data<float>(), dy.data<float>(), pixels_of(x), channels_of(x),
                         channels_of(weights), gradient, dweights.data<float>(), dbias.data<float>());
  if (need_dx) ppzoo::round_values(gradient, x.numel(), data(dx));
  return {dx, dweights, dbias};
}

// ---- batch norm in training, after a convolution or alone

std::vector<Tensor> norm_forward(const Tensor& x, const Tensor* z, const Tensor& gamma, const Tensor& beta,
                                 Tensor& running_mean, Tensor& running_variance, float momentum, float epsilon,
                                 int activation) {
  require_axes(x, "input", 4, kBfloat16);
  if (z != nullptr) require_shape_of(*z, "residual", x, kBfloat16);
  const auto kind = activation_of(activation, z != nullptr);
  const auto parameters =
      norm_parameters(channels_of(x), gamma, beta, running_mean, running_variance, momentum, epsilon);
  ppzoo::Moments moments(channels_of(x), data(x), pixels_of(x));
  moments.add(data(x), pixels_of(x));
  Tensor y = empty_like(x), mean = empty_like(gamma), inverse_std = empty_like(gamma);
  ppzoo::finalize_statistics(moments.statistics(), parameters, kind, mean.data<float>(), inverse_std.data<float>())
      .apply(data(x), z ? data(*z) : nullptr, pixels_of(x), data(y));
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
  require_axes(x, "input", 4, kBfloat16);
  require_shape_of(dy, "output gradient", x, kBfloat16);
  const auto kind = activation_of(activation);
  auto gradient = norm_gradient_of(x, gamma, beta, mean, inverse_std);
  Tensor dx = empty_like(x), dgamma = empty_like(gamma), dbeta = empty_like(beta);
  gradient.add(data(x), nullptr, data(dy), kind, nullptr);
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  gradient.apply(data(x), data(dy), kind, pixels_of(x), data(dx));
  return {dx, dgamma, dbeta};
}

std::vector<Tensor> norm_add_gradient(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& y,
                                      const Tensor& mean, const Tensor& inverse_std, const Tensor& dy, float, float,
                                      int activation) {
  require_axes(x, "input", 4, kBfloat16);
  require_shape_of(y, "output", x, kBfloat16);
  require_shape_of(dy, "output gradient", x, kBfloat16);
  const auto kind = activation_of(activation, true);
  auto gradient = norm_gradient_of(x, gamma, beta, mean, inverse_std);
  Tensor dx = empty_like(x), dz = empty_like(x), dgamma = empty_like(gamma), dbeta = empty_like(beta);
  gradient.add(data(x), data(y), data(dy), kind, data(dz));
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  const Tensor& masked = dz;
  gradient.apply(data(x), data(masked), Activation::kNone, pixels_of(x), data(dx));
  return {dx, dz, dgamma, dbeta};
}

// Writes the convolution's output `raw`, and returns its statistics. Both are computed row by row for a depthwise
// convolution, and for some images at a time for others.
ppzoo::Statistics convolve_statistics(const ConvShape& s, const Bfloat16* x, const float* weights, Bfloat16* raw) {
  if (ppzoo::depthwise(s)) return ppzoo::bfloat16_depthwise_statistics(s, {x}, weights, raw);
  const int64_t in = s.input_size() / s.images, out = s.output_size() / s.images;
  const int64_t part = images_at_a_time<Bfloat16>(s.images, out);
  std::optional<ppzoo::Moments> moments;
  for (int64_t image = 0; image < s.images; image += part) {
    const int64_t count = std::min(part, s.images - image);
    const Bfloat16* to = raw + image * out;
    ppzoo::bfloat16_convolve(s.with_images(count), x + image * in, weights, nullptr, raw + image * out);
    if (!moments) moments.emplace(s.out_channels, to, s.output_pixels());
    moments->add(to, count * out / s.out_channels);
  }
  return moments->statistics();
}

std::vector<Tensor> conv_norm_forward(const Tensor& x, const Tensor& weights, const Tensor* z, const Tensor& gamma,
                                      const Tensor& beta, Tensor& running_mean, Tensor& running_variance,
                                      const std::vector<int>& geometry, float momentum, float epsilon, int activation) {
  const ConvShape s = conv_shape(x, weights, geometry, kBfloat16);
  if (z != nullptr) require_output_shape(*z, "residual", s, kBfloat16);
  const auto kind = activation_of(activation, z != nullptr);
  const auto parameters =
      norm_parameters(s.out_channels, gamma, beta, running_mean, running_variance, momentum, epsilon);
  Tensor raw = empty_bfloat16(x, output_shape(s)), y = empty_like(raw);
  const auto statistics = convolve_statistics(s, data(x), weights.data<float>(), data(raw));
  Tensor mean = empty_like(gamma), inverse_std = empty_like(gamma);
  const Tensor& convolved = raw;
  ppzoo::finalize_statistics(statistics, parameters, kind, mean.data<float>(), inverse_std.data<float>())
      .apply(data(convolved), z ? data(*z) : nullptr, pixels_of(raw), data(y));
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

// Computes the gradients of the convolution's input and weights from the gradient of batch norm's output, `dy`. The
// gradient of the convolution's output is computed row by row for a depthwise convolution, and for some images at a
// time in the workspace for others.
void conv_norm_second_pass(const ConvShape& s, const ppzoo::NormGradient& gradient, const Bfloat16* x,
                           const float* weights, const Bfloat16* raw, const Bfloat16* dy, Activation activation,
                           Bfloat16* dx, float* dweights) {
  if (ppzoo::depthwise(s)) {
    return ppzoo::bfloat16_depthwise_gradients(s, {x}, weights, {dy, &gradient, activation, raw}, {dx, dweights});
  }
  const int64_t in = s.input_size() / s.images, out = s.output_size() / s.images;
  const int64_t part = images_at_a_time<Bfloat16>(s.images, out);
  auto* draw =
      static_cast<Bfloat16*>(ppzoo::reserve_workspace(WorkspaceSlot::kOutputGradient, sizeof(Bfloat16) * part * out));
  for (int64_t image = 0; image < s.images; image += part) {
    const int64_t count = std::min(part, s.images - image);
    const ConvShape piece = s.with_images(count);
    gradient.apply(raw + image * out, dy + image * out, activation, count * out / s.out_channels, draw);
    if (dx != nullptr) ppzoo::bfloat16_input_gradient(piece, weights, draw, dx + image * in);
    ppzoo::bfloat16_weight_gradient(piece, x + image * in, draw, image > 0, dweights);
  }
}

std::vector<Tensor> conv_norm_gradient(const Tensor& x, const Tensor& weights, const Tensor& gamma, const Tensor& beta,
                                       const Tensor& raw, const Tensor& mean, const Tensor& inverse_std,
                                       const Tensor& dy, const std::vector<int>& geometry, bool need_dx, float, float,
                                       int activation) {
  const ConvShape s = conv_shape(x, weights, geometry, kBfloat16);
  require_output_shape(raw, "convolution's result", s, kBfloat16);
  require_output_shape(dy, "output gradient", s, kBfloat16);
  const auto kind = activation_of(activation);
  auto gradient = norm_gradient_of(raw, gamma, beta, mean, inverse_std);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights), dgamma = empty_like(gamma),
         dbeta = empty_like(beta);
  gradient.add(data(raw), nullptr, data(dy), kind, nullptr);
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  conv_norm_second_pass(s, gradient, data(x), weights.data<float>(), data(raw), data(dy), kind,
                        need_dx ? data(dx) : nullptr, dweights.data<float>());
  return {dx, dweights, dgamma, dbeta};
}

std::vector<Tensor> conv_norm_add_gradient(const Tensor& x, const Tensor& weights, const Tensor& gamma,
                                           const Tensor& beta, const Tensor& y, const Tensor& raw, const Tensor& mean,
                                           const Tensor& inverse_std, const Tensor& dy,
                                           const std::vector<int>& geometry, bool need_dx, float, float,
                                           int activation) {
  const ConvShape s = conv_shape(x, weights, geometry, kBfloat16);
  require_output_shape(raw, "convolution's result", s, kBfloat16);
  require_output_shape(y, "output", s, kBfloat16);
  require_output_shape(dy, "output gradient", s, kBfloat16);
  const auto kind = activation_of(activation, true);
  auto gradient = norm_gradient_of(raw, gamma, beta, mean, inverse_std);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights), dgamma = empty_like(gamma),
         dbeta = empty_like(beta), dz = empty_like(raw);
  gradient.add(data(raw), data(y), data(dy), kind, data(dz));
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  conv_norm_second_pass(s, gradient, data(x), weights.data<float>(), data(raw), data(dz), Activation::kNone,
                        need_dx ? data(dx) : nullptr, dweights.data<float>());
  return {dx, dweights, dz, dgamma, dbeta};
}

// ---- pooling

std::vector<Tensor> max_pool(const Tensor& x, const std::vector<int>& geometry) {
  const ppzoo::PoolShape s = pool_shape(x, geometry, kMaxArgmaxWindow, kBfloat16);
  Tensor y = empty_bfloat16(x, output_shape(s));
  Tensor argmax = paddle::experimental::empty(output_shape(s), paddle::DataType::UINT8, x.place());
  ppzoo::bfloat16_max_pool(s, data(x), data(y), argmax.data<uint8_t>());
  return {y, argmax};
}

std::vector<Tensor> max_pool_gradient(const Tensor& x, const Tensor& argmax, const Tensor& dy,
                                      const std::vector<int>& geometry) {
  const ppzoo::PoolShape s = pool_shape(x, geometry, kMaxArgmaxWindow, kBfloat16);
  require_output_shape(dy, "output gradient", s, kBfloat16);
  require(argmax.dtype() == paddle::DataType::UINT8 && argmax.dims() == dy.dims(),
          [] { return "argmax: expected a uint8 tensor with the shape of the output gradient"; });
  Tensor dx = empty_like(x);
  ppzoo::bfloat16_max_pool_gradient(s, data(dy), argmax.data<uint8_t>(), data(dx));
  return {dx};
}

std::vector<Tensor> average_pool(const Tensor& x, const std::vector<int>& geometry, bool padded) {
  const ppzoo::PoolShape s = pool_shape(x, geometry, kUnlimitedWindow, kBfloat16);
  Tensor y = empty_bfloat16(x, output_shape(s));
  ppzoo::bfloat16_average_pool(s, padded, data(x), data(y));
  return {y};
}

std::vector<Tensor> average_pool_gradient(const Tensor& x, const Tensor& dy, const std::vector<int>& geometry,
                                          bool padded) {
  const ppzoo::PoolShape s = pool_shape(x, geometry, kUnlimitedWindow, kBfloat16);
  require_output_shape(dy, "output gradient", s, kBfloat16);
  Tensor dx = empty_like(x);
  ppzoo::bfloat16_average_pool_gradient(s, padded, data(dy), data(dx));
  return {dx};
}

}  // namespace

PD_BUILD_OP(ppzoo_bfloat16_channels_last).Inputs({"X"}).Outputs({"Y"}).SetKernelFn(PPZOO_KERNEL(to_channels_last));
PD_BUILD_GRAD_OP(ppzoo_bfloat16_channels_last)
    .Inputs({paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .SetKernelFn(PPZOO_KERNEL(to_channels_last_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_bfloat16_channels_last, paddle::Grad(paddle::Grad("X")));

PD_BUILD_OP(ppzoo_bfloat16_use_twice).Inputs({"X"}).Outputs({"First", "Second"}).SetKernelFn(PPZOO_KERNEL(use_twice));
PD_BUILD_GRAD_OP(ppzoo_bfloat16_use_twice)
    .Inputs({paddle::Grad("First"), paddle::Grad("Second")})
    .Outputs({paddle::Grad("X")})
    .SetKernelFn(PPZOO_KERNEL(use_twice_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_bfloat16_use_twice, paddle::Grad(paddle::Grad("X")));

PD_BUILD_OP(ppzoo_bfloat16_conv)
    .Inputs({"X", "W"})
    .Outputs({"Y"})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool"})
    .SetKernelFn(PPZOO_KERNEL(conv));
PD_BUILD_GRAD_OP(ppzoo_bfloat16_conv)
    .Inputs({"X", "W", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W")})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool"})
    .SetKernelFn(PPZOO_KERNEL(conv_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_bfloat16_conv, "X");

PD_BUILD_OP(ppzoo_bfloat16_linear)
    .Inputs({"X", "W", "B"})
    .Outputs({"Y"})
    .Attrs({"need_dx: bool"})
    .SetKernelFn(PPZOO_KERNEL(linear));
PD_BUILD_GRAD_OP(ppzoo_bfloat16_linear)
    .Inputs({"X", "W", "B", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("B")})
    .Attrs({"need_dx: bool"})
    .SetKernelFn(PPZOO_KERNEL(linear_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_bfloat16_linear, "X");

PD_BUILD_OP(ppzoo_bfloat16_norm)
    .Inputs({"X", "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y", "BatchMean", "BatchInverse"})
    .Attrs({"momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(norm));
PD_BUILD_GRAD_OP(ppzoo_bfloat16_norm)
    .Inputs({"X", "Gamma", "Beta", "BatchMean", "BatchInverse", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(norm_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_bfloat16_norm, "X");

PD_BUILD_OP(ppzoo_bfloat16_norm_add)
    .Inputs({"X", "Z", "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y", "BatchMean", "BatchInverse"})
    .Attrs({"momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(norm_add));
PD_BUILD_GRAD_OP(ppzoo_bfloat16_norm_add)
    .Inputs({"X", "Gamma", "Beta", "Y", "BatchMean", "BatchInverse", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Z"), paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(norm_add_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_bfloat16_norm_add, "X");

PD_BUILD_OP(ppzoo_bfloat16_conv_norm)
    .Inputs({"X", "W", "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y", "Raw", "BatchMean", "BatchInverse"})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(conv_norm));
PD_BUILD_GRAD_OP(ppzoo_bfloat16_conv_norm)
    .Inputs({"X", "W", "Gamma", "Beta", "Raw", "BatchMean", "BatchInverse", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(conv_norm_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_bfloat16_conv_norm, "X");

PD_BUILD_OP(ppzoo_bfloat16_conv_norm_add)
    .Inputs({"X", "W", "Z", "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y", "Raw", "BatchMean", "BatchInverse"})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(conv_norm_add));
PD_BUILD_GRAD_OP(ppzoo_bfloat16_conv_norm_add)
    .Inputs({"X", "W", "Gamma", "Beta", "Y", "Raw", "BatchMean", "BatchInverse", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("Z"), paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PPZOO_KERNEL(conv_norm_add_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_bfloat16_conv_norm_add, "X");

PD_BUILD_OP(ppzoo_bfloat16_max_pool)
    .Inputs({"X"})
    .Outputs({"Y", "Argmax"})
    .Attrs({"geometry: std::vector<int>"})
    .SetKernelFn(PPZOO_KERNEL(max_pool));
PD_BUILD_GRAD_OP(ppzoo_bfloat16_max_pool)
    .Inputs({"X", "Argmax", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"geometry: std::vector<int>"})
    .SetKernelFn(PPZOO_KERNEL(max_pool_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_bfloat16_max_pool, "X");

PD_BUILD_OP(ppzoo_bfloat16_average_pool)
    .Inputs({"X"})
    .Outputs({"Y"})
    .Attrs({"geometry: std::vector<int>", "padded: bool"})
    .SetKernelFn(PPZOO_KERNEL(average_pool));
PD_BUILD_GRAD_OP(ppzoo_bfloat16_average_pool)
    .Inputs({"X", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"geometry: std::vector<int>", "padded: bool"})
    .SetKernelFn(PPZOO_KERNEL(average_pool_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_bfloat16_average_pool, "X");
