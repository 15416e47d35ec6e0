// Operators: pooling, elementwise operations, concatenation, and updates of all parameters. See common.h.
#include <algorithm>
#include <limits>

#include "kernels/affine.h"
#include "kernels/elementwise.h"
#include "kernels/optimizer.h"
#include "kernels/pooling.h"
#include "ops/common.h"
#include "ops/pool_arguments.h"

namespace {

using namespace ppzoo::ops;
using ppzoo::Activation;

// ---- pooling

std::vector<Tensor> max_pool(const Tensor& x, const std::vector<int>& geometry) {
  const ppzoo::PoolShape s = pool_shape(x, geometry, kMaxArgmaxWindow);
  Tensor y = empty_like(x, output_shape(s));
  Tensor argmax = paddle::experimental::empty(output_shape(s), paddle::DataType::UINT8, x.place());
  ppzoo::max_pool(s, x.data<float>(), y.data<float>(), argmax.data<uint8_t>());
  return {y, argmax};
}

std::vector<Tensor> max_pool_gradient(const Tensor& x, const Tensor& argmax, const Tensor& dy,
                                      const std::vector<int>& geometry) {
  const ppzoo::PoolShape s = pool_shape(x, geometry, kMaxArgmaxWindow);
  require_output_shape(dy, "output gradient", s);
  require(argmax.dtype() == paddle::DataType::UINT8 && argmax.dims() == dy.dims(),
          [] { return "argmax: expected a uint8 tensor with the shape of the output gradient"; });
  Tensor dx = empty_like(x);
  ppzoo::max_pool_gradient(s, dy.data<float>(), argmax.data<uint8_t>(), dx.data<float>());
  return {dx};
}

std::vector<Tensor> average_pool(const Tensor& x, const std::vector<int>& geometry, bool padded) {
  const ppzoo::PoolShape s = pool_shape(x, geometry);
  Tensor y = empty_like(x, output_shape(s));
  ppzoo::average_pool(s, padded, x.data<float>(), y.data<float>());
  return {y};
}

std::vector<Tensor> average_pool_gradient(const Tensor& x, const Tensor& dy, const std::vector<int>& geometry,
                                          bool padded) {
  const ppzoo::PoolShape s = pool_shape(x, geometry);
  require_output_shape(dy, "output gradient", s);
  Tensor dx = empty_like(x);
  ppzoo::average_pool_gradient(s, padded, dy.data<float>(), dx.data<float>());
  return {dx};
}

// ---- elementwise operations and layout changes

std::vector<Tensor> to_channels_last(const Tensor& x) {
  require_axes(x, "input", 4);
  const Shape s = x.shape();
  Tensor y = empty_like(x, {s[0], s[2], s[3], s[1]});
  ppzoo::transpose(x.data<float>(), s[0], s[1], s[2] * s[3], y.data<float>());
  return {y};
}

std::vector<Tensor> to_channels_last_gradient(const Tensor& dy) {
  require_axes(dy, "output gradient", 4);
  const Shape s = dy.shape();
  Tensor dx = empty_like(dy, {s[0], s[3], s[1], s[2]});
  ppzoo::transpose(dy.data<float>(), s[0], s[1] * s[2], s[3], dx.data<float>());
  return {dx};
}

std::vector<Tensor> activate(const Tensor& x, int activation) {
  require_readable(x, "input");
  const auto kind = activation_of(activation);
  Tensor y = empty_like(x);
  ppzoo::add_activate(x.data<float>(), nullptr, kind, x.numel(), y.data<float>());
  return {y};
}

std::vector<Tensor> activate_gradient(const Tensor& x, const Tensor& dy, int activation) {
  require_readable(x, "input");
  require_shape_of(dy, "output gradient", x);
  const auto kind = activation_of(activation);
  Tensor dx = empty_like(x);
  ppzoo::add_activate_gradient(x.data<float>(), nullptr, dy.data<float>(), kind, x.numel(), dx.data<float>());
  return {dx};
}

std::vector<Tensor> add_activate(const Tensor& x, const Tensor& z, int activation) {
  require_readable(x, "first summand");
  require_shape_of(z, "second summand", x);
  const auto kind = activation_of(activation);
  Tensor y = empty_like(x);
  ppzoo::add_activate(x.data<float>(), z.data<float>(), kind, x.numel(), y.data<float>());
  return {y};
}

std::vector<Tensor> add_activate_gradient(const Tensor& x, const Tensor& z, const Tensor& dy, int activation) {
  require_readable(x, "first summand");
  require_shape_of(z, "second summand", x);
  require_shape_of(dy, "output gradient", x);
  const auto kind = activation_of(activation);
  Tensor dx = empty_like(x), dz = empty_like(x);
  ppzoo::add_activate_gradient(x.data<float>(), z.data<float>(), dy.data<float>(), kind, x.numel(), dx.data<float>());
  ppzoo::add_activate(dx.data<float>(), nullptr, Activation::kNone, x.numel(), dz.data<float>());
  return {dx, dz};
}

std::vector<Tensor> affine(const Tensor& x, const Tensor& multiplier, const Tensor& addend) {
  require_readable(x, "input");
  require_shape(multiplier, "multiplier", {1});
  require_shape(addend, "addend", {1});
  Tensor y = empty_like(x);
  ppzoo::affine(x.data<float>(), *multiplier.data<float>(), *addend.data<float>(), x.numel(), y.data<float>());
  return {y};
}

std::vector<Tensor> affine_gradient(const Tensor& x, const Tensor& multiplier, const Tensor& dy) {
  require_readable(x, "input");
  require_shape(multiplier, "multiplier", {1});
  require_shape_of(dy, "output gradient", x);
  Tensor dx = empty_like(x), dmultiplier = empty_like(multiplier), daddend = empty_like(multiplier);
  ppzoo::affine_gradient(x.data<float>(), dy.data<float>(), *multiplier.data<float>(), x.numel(), dx.data<float>(),
                         dmultiplier.data<float>(), daddend.data<float>());
  return {dx, dmultiplier, daddend};
}

void require_gate(const Tensor& x, const Tensor& gate) {
  require_axes(x, "input", 4);
  require_shape(gate, "gate", {x.dims()[0], x.dims()[3]});
}

std::vector<Tensor> scale_channels(const Tensor& x, const Tensor& gate) {
  require_gate(x, gate);
  Tensor y = empty_like(x);
  ppzoo::scale_channels(x.data<float>(), gate.data<float>(), x.shape()[0], pixels_of(x) / x.shape()[0], channels_of(x),
                        y.data<float>());
  return {y};
}

std::vector<Tensor> scale_channels_gradient(const Tensor& x, const Tensor& gate, const Tensor& dy) {
  require_gate(x, gate);
  require_shape_of(dy, "output gradient", x);
  Tensor dx = empty_like(x), dgate = empty_like(gate);
  ppzoo::scale_channels_gradient(x.data<float>(), gate.data<float>(), dy.data<float>(), x.shape()[0],
                                 pixels_of(x) / x.shape()[0], channels_of(x), dx.data<float>(), dgate.data<float>());
  return {dx, dgate};
}

// Returns the number of channels of each part. Checks that the parts agree in all other axes, and with `shuffled` also
// in the number of channels.
std::vector<int64_t> widths_of(const std::vector<Tensor>& parts, bool shuffled) {
  require(!parts.empty(), [] { return "concatenation: expected at least one tensor, got none"; });
  std::vector<int64_t> widths;
  for (const Tensor& part : parts) {
    require_axes(part, "part", 4);
    const auto &first = parts[0].dims(), &own = part.dims();
    require(own[0] == first[0] && own[1] == first[1] && own[2] == first[2] && (!shuffled || own[3] == first[3]), [&] {
      return "concatenation: expected parts that agree in all axes" +
             std::string(shuffled ? "" : " except the channels") + ", got " + format(parts[0].shape()) + " and " +
             format(part.shape());
    });
    widths.push_back(own[3]);
  }
  return widths;
}

Shape concat_shape(const std::vector<Tensor>& parts, const std::vector<int64_t>& widths) {
  Shape shape = parts[0].shape();
  shape.back() = 0;
  for (const int64_t width : widths) shape.back() += width;
  return shape;
}

std::vector<Tensor> concat(const std::vector<Tensor>& parts, bool shuffled) {
  const std::vector<int64_t> widths = widths_of(parts, shuffled);
  const Shape shape = concat_shape(parts, widths);
  std::vector<const float*> data;
  for (const Tensor& part : parts) data.push_back(part.data<float>());
  Tensor joined = empty_like(parts[0], shape);
  ppzoo::concat_channels(data, widths, pixels_of(joined), shuffled, joined.data<float>());
  return {joined};
}

std::vector<Tensor> split(const Tensor& joined, const std::vector<int64_t>& widths, bool shuffled) {
  std::vector<Tensor> parts;
  std::vector<float*> data;
  Shape shape = joined.shape();
  for (int64_t width : widths) {
    shape.back() = width;
    parts.push_back(empty_like(joined, shape));
    data.push_back(parts.back().data<float>());
  }
  ppzoo::split_channels(joined.data<float>(), widths, pixels_of(joined), shuffled, data);
  return parts;
}

std::vector<Tensor> concat_gradient(const std::vector<Tensor>& parts, const Tensor& djoined, bool shuffled) {
  const std::vector<int64_t> widths = widths_of(parts, shuffled);
  const Shape shape = concat_shape(parts, widths);
  require_shape(djoined, "output gradient", {shape[0], shape[1], shape[2], shape[3]});
  return split(djoined, widths, shuffled);
}

std::vector<Tensor> split_halves(const Tensor& joined) {
  require_axes(joined, "input", 4);
  const int64_t half = channels_of(joined) / 2;
  require(2 * half == channels_of(joined),
          [&] { return "split: expected an even number of channels, got " + std::to_string(channels_of(joined)); });
  return split(joined, {half, half}, false);
}

// The gradient of a half that was not used is not initialized.
std::vector<Tensor> split_halves_gradient(const Tensor& first, const Tensor& second) {
  require(first.initialized() || second.initialized(),
          [] { return "split: expected a gradient of at least one half"; });
  const Tensor left = first.initialized() ? first : paddle::experimental::zeros_like(second);
  const Tensor right = second.initialized() ? second : paddle::experimental::zeros_like(first);
  return concat({left, right}, false);
}

// ---- updates of all parameters

std::vector<int64_t> counts_of(const std::vector<Tensor>& tensors) {
  std::vector<int64_t> counts;
  for (const Tensor& tensor : tensors) counts.push_back(tensor.numel());
  return counts;
}

std::vector<const float*> data_of(const std::vector<Tensor>& tensors) {
  std::vector<const float*> data;
  for (const Tensor& tensor : tensors) data.push_back(tensor.data<float>());
  return data;
}

// Requires that `others` has one tensor of the same shape for each of `tensors`, which are readable. `name` is their
// name in messages.
void require_same_shapes(const std::vector<Tensor>& tensors, const std::vector<Tensor>& others, const char* name) {
  require(tensors.size() == others.size(), [&] {
    return std::string(name) + ": expected " + std::to_string(tensors.size()) + " tensors, got " +
           std::to_string(others.size());
  });
  for (size_t i = 0; i < tensors.size(); ++i) require_shape_of(others[i], name, tensors[i]);
}

// Requires at least one tensor, and that all are readable.
void require_all_readable(const std::vector<Tensor>& tensors) {
  require(!tensors.empty(), [] { return "expected at least one tensor, got an empty list"; });
  for (const Tensor& tensor : tensors) require_readable(tensor, "tensor of a list");
}

void require_count(size_t received, size_t expected, const char* name) {
  require(received == expected, [&] {
    return std::string(name) + ": expected " + std::to_string(expected) + " values, got " + std::to_string(received);
  });
}

// Updates parameters and velocities in place. The output is a placeholder: an operator must have one.
std::vector<Tensor> momentum(std::vector<Tensor>& parameters, const std::vector<Tensor>& gradients,
                             std::vector<Tensor>& velocities, const std::vector<float>& rates,
                             const std::vector<float>& decays, float mu, bool nesterov) {
  require_all_readable(parameters);
  require_same_shapes(parameters, gradients, "gradients");
  require_same_shapes(parameters, velocities, "velocities");
  require_count(rates.size(), parameters.size(), "rates");
  require_count(decays.size(), parameters.size(), "decays");
  std::vector<ppzoo::MomentumTensor> tensors;
  for (size_t i = 0; i < parameters.size(); ++i) {
    tensors.push_back({parameters[i].data<float>(), velocities[i].data<float>(), gradients[i].data<float>(),
                       parameters[i].numel(), rates[i], decays[i]});
  }
  ppzoo::momentum_step(tensors, mu, nesterov);
  return {placeholder(parameters[0])};
}

// Updates the averages in place.
std::vector<Tensor> update_ema(std::vector<Tensor>& averages, const std::vector<Tensor>& values, float decay,
                               float weight) {
  require_all_readable(averages);
  require_same_shapes(averages, values, "values");
  std::vector<float*> targets;
  for (Tensor& average : averages) targets.push_back(average.data<float>());
  ppzoo::update_ema(targets, data_of(values), counts_of(values), decay, weight);
  return {placeholder(values[0])};
}

std::vector<Tensor> all_finite(const std::vector<Tensor>& values) {
  require_all_readable(values);
  Tensor result = placeholder(values[0]);
  result.data<float>()[0] = ppzoo::all_finite(data_of(values), counts_of(values)) ? 1.0f : 0.0f;
  return {result};
}

}  // namespace

std::atomic<int> ppzoo_gradient_count{0};

PD_BUILD_OP(ppzoo_max_pool)
    .Inputs({"X"})
    .Outputs({"Y", "Argmax"})
    .Attrs({"geometry: std::vector<int>"})
    .SetKernelFn(PPZOO_KERNEL(max_pool));
PD_BUILD_GRAD_OP(ppzoo_max_pool)
    .Inputs({"X", "Argmax", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"geometry: std::vector<int>"})
    .SetKernelFn(PPZOO_KERNEL(max_pool_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_max_pool, "X");

PD_BUILD_OP(ppzoo_average_pool)
    .Inputs({"X"})
    .Outputs({"Y"})
    .Attrs({"geometry: std::vector<int>", "padded: bool"})
    .SetKernelFn(PPZOO_KERNEL(average_pool));
PD_BUILD_GRAD_OP(ppzoo_average_pool)
    .Inputs({"X", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"geometry: std::vector<int>", "padded: bool"})
    .SetKernelFn(PPZOO_KERNEL(average_pool_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_average_pool, "X");

PD_BUILD_OP(ppzoo_channels_last).Inputs({"X"}).Outputs({"Y"}).SetKernelFn(PPZOO_KERNEL(to_channels_last));
PD_BUILD_GRAD_OP(ppzoo_channels_last)
    .Inputs({paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .SetKernelFn(PPZOO_KERNEL(to_channels_last_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_channels_last, paddle::Grad(paddle::Grad("X")));

PD_BUILD_OP(ppzoo_activate).Inputs({"X"}).Outputs({"Y"}).Attrs({"activation: int"}).SetKernelFn(PPZOO_KERNEL(activate));
PD_BUILD_GRAD_OP(ppzoo_activate)
    .Inputs({"X", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"activation: int"})
    .SetKernelFn(PPZOO_KERNEL(activate_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_activate, "X");

PD_BUILD_OP(ppzoo_add_activate)
    .Inputs({"X", "Z"})
    .Outputs({"Y"})
    .Attrs({"activation: int"})
    .SetKernelFn(PPZOO_KERNEL(add_activate));
PD_BUILD_GRAD_OP(ppzoo_add_activate)
    .Inputs({"X", "Z", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Z")})
    .Attrs({"activation: int"})
    .SetKernelFn(PPZOO_KERNEL(add_activate_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_add_activate, "X");

PD_BUILD_OP(ppzoo_affine).Inputs({"X", "Multiplier", "Addend"}).Outputs({"Y"}).SetKernelFn(PPZOO_KERNEL(affine));
PD_BUILD_GRAD_OP(ppzoo_affine)
    .Inputs({"X", "Multiplier", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Multiplier"), paddle::Grad("Addend")})
    .SetKernelFn(PPZOO_KERNEL(affine_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_affine, "X");

PD_BUILD_OP(ppzoo_scale_channels).Inputs({"X", "Gate"}).Outputs({"Y"}).SetKernelFn(PPZOO_KERNEL(scale_channels));
PD_BUILD_GRAD_OP(ppzoo_scale_channels)
    .Inputs({"X", "Gate", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Gate")})
    .SetKernelFn(PPZOO_KERNEL(scale_channels_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_scale_channels, "X");

PD_BUILD_OP(ppzoo_concat)
    .Inputs({paddle::Vec("X")})
    .Outputs({"Y"})
    .Attrs({"shuffled: bool"})
    .SetKernelFn(PPZOO_KERNEL(concat));
PD_BUILD_GRAD_OP(ppzoo_concat)
    .Inputs({paddle::Vec("X"), paddle::Grad("Y")})
    .Outputs({paddle::Grad(paddle::Vec("X"))})
    .Attrs({"shuffled: bool"})
    .SetKernelFn(PPZOO_KERNEL(concat_gradient));
PPZOO_NO_SECOND_DERIVATIVE_OF_LIST(ppzoo_concat, "X");

PD_BUILD_OP(ppzoo_split_halves).Inputs({"X"}).Outputs({"A", "B"}).SetKernelFn(PPZOO_KERNEL(split_halves));
PD_BUILD_GRAD_OP(ppzoo_split_halves)
    .Inputs({paddle::Grad("A"), paddle::Grad("B")})
    .Outputs({paddle::Grad("X")})
    .SetKernelFn(PPZOO_KERNEL(split_halves_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_split_halves, paddle::Grad(paddle::Grad("X")));

PD_BUILD_OP(ppzoo_momentum)
    .Inputs({paddle::Vec("Parameter"), paddle::Vec("Gradient"), paddle::Vec("Velocity")})
    .Outputs({"Done"})
    .Attrs({"rates: std::vector<float>", "decays: std::vector<float>", "mu: float", "nesterov: bool"})
    .SetKernelFn(PPZOO_KERNEL(momentum));

PD_BUILD_OP(ppzoo_update_ema)
    .Inputs({paddle::Vec("Average"), paddle::Vec("Value")})
    .Outputs({"Done"})
    .Attrs({"decay: float", "weight: float"})
    .SetKernelFn(PPZOO_KERNEL(update_ema));

PD_BUILD_OP(ppzoo_all_finite).Inputs({paddle::Vec("Value")}).Outputs({"Result"}).SetKernelFn(PPZOO_KERNEL(all_finite));
