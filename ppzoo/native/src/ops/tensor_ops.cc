// Operators: pooling, elementwise operations, and updates of all parameters. See common.h.
#include <algorithm>
#include <limits>

#include "kernels/elementwise.h"
#include "kernels/optimizer.h"
#include "kernels/pooling.h"
#include "ops/common.h"
#include "ops/pool_arguments.h"

namespace {

using namespace ppzoo::ops;

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

PD_BUILD_OP(ppzoo_scale_channels).Inputs({"X", "Gate"}).Outputs({"Y"}).SetKernelFn(PPZOO_KERNEL(scale_channels));
PD_BUILD_GRAD_OP(ppzoo_scale_channels)
    .Inputs({"X", "Gate", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Gate")})
    .SetKernelFn(PPZOO_KERNEL(scale_channels_gradient));
PPZOO_NO_SECOND_DERIVATIVE(ppzoo_scale_channels, "X");

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
