// Pooling, what lies between convolutions, and what is done to all parameters at once, as operators; see operators.h.
#include "kernels.h"
#include "operators.h"

namespace {

using namespace ppzoo::glue;
using ppzoo::Activation;

// ---- pooling

// `geometry`: kernel, strides, paddings (top, bottom, left, right), ceil_mode; or, for adaptive pooling, output sizes.
ppzoo::PoolShape pool_shape(const Shape& x, const std::vector<int>& geometry) {
  ppzoo::PoolShape s{x[0], x[1], x[2], x[3], {}, {}};
  if (geometry.size() == 2) {
    s.vertical = ppzoo::adaptive_windows(s.height, geometry[0]);
    s.horizontal = ppzoo::adaptive_windows(s.width, geometry[1]);
  } else {
    s.vertical = ppzoo::sliding_windows(s.height, geometry[0], geometry[2], geometry[4], geometry[5], geometry[8]);
    s.horizontal = ppzoo::sliding_windows(s.width, geometry[1], geometry[3], geometry[6], geometry[7], geometry[8]);
  }
  return s;
}

Shape output_shape(const ppzoo::PoolShape& s) {
  return {s.images, static_cast<int64_t>(s.vertical.begin.size()), static_cast<int64_t>(s.horizontal.begin.size()),
          s.channels};
}

std::vector<Tensor> max_pool(const Tensor& x, const std::vector<int>& geometry) {
  const auto lock = alone();
  const ppzoo::PoolShape s = pool_shape(x.shape(), geometry);
  Tensor y = like(x, output_shape(s));
  Tensor places = paddle::experimental::empty(output_shape(s), paddle::DataType::UINT8, x.place());
  ppzoo::max_pool(s, x.data<float>(), y.data<float>(), places.data<uint8_t>());
  return {y, places};
}

std::vector<Tensor> max_pool_gradient(const Tensor& x, const Tensor& places, const Tensor& dy,
                                      const std::vector<int>& geometry) {
  const auto lock = alone();
  Tensor dx = like(x);
  ppzoo::max_pool_gradient(pool_shape(x.shape(), geometry), dy.data<float>(), places.data<uint8_t>(),
                           dx.data<float>());
  return {dx};
}

std::vector<Tensor> average_pool(const Tensor& x, const std::vector<int>& geometry, bool padded) {
  const auto lock = alone();
  const ppzoo::PoolShape s = pool_shape(x.shape(), geometry);
  Tensor y = like(x, output_shape(s));
  ppzoo::average_pool(s, padded, x.data<float>(), y.data<float>());
  return {y};
}

std::vector<Tensor> average_pool_gradient(const Tensor& x, const Tensor& dy, const std::vector<int>& geometry,
                                          bool padded) {
  const auto lock = alone();
  Tensor dx = like(x);
  ppzoo::average_pool_gradient(pool_shape(x.shape(), geometry), padded, dy.data<float>(), dx.data<float>());
  return {dx};
}

// ---- between convolutions

std::vector<Tensor> to_channels_last(const Tensor& x) {
  const auto lock = alone();
  const Shape s = x.shape();
  Tensor y = like(x, {s[0], s[2], s[3], s[1]});
  ppzoo::transpose(x.data<float>(), s[0], s[1], s[2] * s[3], y.data<float>());
  return {y};
}

std::vector<Tensor> to_channels_last_gradient(const Tensor& dy) {
  const auto lock = alone();
  const Shape s = dy.shape();
  Tensor dx = like(dy, {s[0], s[3], s[1], s[2]});
  ppzoo::transpose(dy.data<float>(), s[0], s[1] * s[2], s[3], dx.data<float>());
  return {dx};
}

std::vector<Tensor> activate(const Tensor& x, int activation) {
  const auto lock = alone();
  Tensor y = like(x);
  ppzoo::add_activate(x.data<float>(), nullptr, static_cast<Activation>(activation), x.numel(), y.data<float>());
  return {y};
}

std::vector<Tensor> activate_gradient(const Tensor& x, const Tensor& dy, int activation) {
  const auto lock = alone();
  Tensor dx = like(x);
  ppzoo::add_activate_gradient(x.data<float>(), nullptr, dy.data<float>(), static_cast<Activation>(activation),
                               x.numel(), dx.data<float>());
  return {dx};
}

std::vector<Tensor> add_activate(const Tensor& x, const Tensor& z, int activation) {
  const auto lock = alone();
  Tensor y = like(x);
  ppzoo::add_activate(x.data<float>(), z.data<float>(), static_cast<Activation>(activation), x.numel(),
                      y.data<float>());
  return {y};
}

std::vector<Tensor> add_activate_gradient(const Tensor& x, const Tensor& z, const Tensor& dy, int activation) {
  const auto lock = alone();
  Tensor dx = like(x), dz = like(x);
  const auto kind = static_cast<Activation>(activation);
  ppzoo::add_activate_gradient(x.data<float>(), z.data<float>(), dy.data<float>(), kind, x.numel(), dx.data<float>());
  ppzoo::add_activate(dx.data<float>(), nullptr, Activation::kNone, x.numel(), dz.data<float>());
  return {dx, dz};
}

std::vector<Tensor> scale_channels(const Tensor& x, const Tensor& gate) {
  const auto lock = alone();
  Tensor y = like(x);
  ppzoo::scale_channels(x.data<float>(), gate.data<float>(), x.shape()[0], pixels_of(x) / x.shape()[0], channels_of(x),
                        y.data<float>());
  return {y};
}

std::vector<Tensor> scale_channels_gradient(const Tensor& x, const Tensor& gate, const Tensor& dy) {
  const auto lock = alone();
  Tensor dx = like(x), dgate = like(gate);
  ppzoo::scale_channels_gradient(x.data<float>(), gate.data<float>(), dy.data<float>(), x.shape()[0],
                                 pixels_of(x) / x.shape()[0], channels_of(x), dx.data<float>(), dgate.data<float>());
  return {dx, dgate};
}

std::vector<Tensor> join(const std::vector<Tensor>& parts, bool shuffled) {
  const auto lock = alone();
  std::vector<const float*> data;
  std::vector<int64_t> widths;
  Shape shape = parts[0].shape();
  shape.back() = 0;
  for (const Tensor& part : parts) {
    data.push_back(part.data<float>());
    widths.push_back(channels_of(part));
    shape.back() += widths.back();
  }
  Tensor whole = like(parts[0], shape);
  ppzoo::join_channels(data, widths, pixels_of(whole), shuffled, whole.data<float>());
  return {whole};
}

std::vector<Tensor> separate(const Tensor& whole, const std::vector<int64_t>& widths, bool shuffled) {
  std::vector<Tensor> parts;
  std::vector<float*> data;
  Shape shape = whole.shape();
  for (int64_t width : widths) {
    shape.back() = width;
    parts.push_back(like(whole, shape));
    data.push_back(parts.back().data<float>());
  }
  ppzoo::part_channels(whole.data<float>(), widths, pixels_of(whole), shuffled, data);
  return parts;
}

std::vector<Tensor> join_gradient(const std::vector<Tensor>& parts, const Tensor& dwhole, bool shuffled) {
  const auto lock = alone();
  std::vector<int64_t> widths;
  for (const Tensor& part : parts) widths.push_back(channels_of(part));
  return separate(dwhole, widths, shuffled);
}

std::vector<Tensor> halve(const Tensor& whole) {
  const auto lock = alone();
  const int64_t half = channels_of(whole) / 2;
  return separate(whole, {half, half}, false);
}

// A half that nothing was computed from has no gradient.
std::vector<Tensor> halve_gradient(const Tensor& first, const Tensor& second) {
  const Tensor left = first.initialized() ? first : paddle::experimental::zeros_like(second);
  const Tensor right = second.initialized() ? second : paddle::experimental::zeros_like(first);
  return join({left, right}, false);
}

// ---- all parameters at once

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

// Parameters and velocities are written to; the answer is a tensor without meaning, since an operator must have one.
std::vector<Tensor> momentum(const std::vector<Tensor>& parameters, const std::vector<Tensor>& gradients,
                             const std::vector<Tensor>& velocities, const std::vector<float>& rates,
                             const std::vector<float>& decays, float mu, bool nesterov) {
  const auto lock = alone();
  std::vector<ppzoo::MomentumPart> parts;
  for (size_t i = 0; i < parameters.size(); ++i) {
    parts.push_back({const_cast<float*>(parameters[i].data<float>()), const_cast<float*>(velocities[i].data<float>()),
                     gradients[i].data<float>(), parameters[i].numel(), rates[i], decays[i]});
  }
  ppzoo::momentum_step(parts, mu, nesterov);
  return {nothing(parameters[0])};
}

// The averages are written to.
std::vector<Tensor> blend(const std::vector<Tensor>& averages, const std::vector<Tensor>& values, float keep,
                          float take) {
  const auto lock = alone();
  std::vector<float*> to;
  for (const float* data : data_of(averages)) to.push_back(const_cast<float*>(data));
  ppzoo::blend(to, data_of(values), counts_of(values), keep, take);
  return {nothing(values[0])};
}

std::vector<Tensor> all_finite(const std::vector<Tensor>& values) {
  const auto lock = alone();
  Tensor answer = nothing(values[0]);
  answer.data<float>()[0] = ppzoo::all_finite(data_of(values), counts_of(values)) ? 1.0f : 0.0f;
  return {answer};
}

}  // namespace

PD_BUILD_OP(ppzoo_max_pool)
    .Inputs({"X"})
    .Outputs({"Y", "Places"})
    .Attrs({"geometry: std::vector<int>"})
    .SetKernelFn(PD_KERNEL(max_pool));
PD_BUILD_GRAD_OP(ppzoo_max_pool)
    .Inputs({"X", "Places", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"geometry: std::vector<int>"})
    .SetKernelFn(PD_KERNEL(max_pool_gradient));

PD_BUILD_OP(ppzoo_average_pool)
    .Inputs({"X"})
    .Outputs({"Y"})
    .Attrs({"geometry: std::vector<int>", "padded: bool"})
    .SetKernelFn(PD_KERNEL(average_pool));
PD_BUILD_GRAD_OP(ppzoo_average_pool)
    .Inputs({"X", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"geometry: std::vector<int>", "padded: bool"})
    .SetKernelFn(PD_KERNEL(average_pool_gradient));

PD_BUILD_OP(ppzoo_channels_last).Inputs({"X"}).Outputs({"Y"}).SetKernelFn(PD_KERNEL(to_channels_last));
PD_BUILD_GRAD_OP(ppzoo_channels_last)
    .Inputs({paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .SetKernelFn(PD_KERNEL(to_channels_last_gradient));

PD_BUILD_OP(ppzoo_activate)
    .Inputs({"X"})
    .Outputs({"Y"})
    .Attrs({"activation: int"})
    .SetKernelFn(PD_KERNEL(activate));
PD_BUILD_GRAD_OP(ppzoo_activate)
    .Inputs({"X", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"activation: int"})
    .SetKernelFn(PD_KERNEL(activate_gradient));

PD_BUILD_OP(ppzoo_add_activate)
    .Inputs({"X", "Z"})
    .Outputs({"Y"})
    .Attrs({"activation: int"})
    .SetKernelFn(PD_KERNEL(add_activate));
PD_BUILD_GRAD_OP(ppzoo_add_activate)
    .Inputs({"X", "Z", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Z")})
    .Attrs({"activation: int"})
    .SetKernelFn(PD_KERNEL(add_activate_gradient));

PD_BUILD_OP(ppzoo_scale_channels)
    .Inputs({"X", "Gate"})
    .Outputs({"Y"})
    .SetKernelFn(PD_KERNEL(scale_channels));
PD_BUILD_GRAD_OP(ppzoo_scale_channels)
    .Inputs({"X", "Gate", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Gate")})
    .SetKernelFn(PD_KERNEL(scale_channels_gradient));

PD_BUILD_OP(ppzoo_join)
    .Inputs({paddle::Vec("X")})
    .Outputs({"Y"})
    .Attrs({"shuffled: bool"})
    .SetKernelFn(PD_KERNEL(join));
PD_BUILD_GRAD_OP(ppzoo_join)
    .Inputs({paddle::Vec("X"), paddle::Grad("Y")})
    .Outputs({paddle::Grad(paddle::Vec("X"))})
    .Attrs({"shuffled: bool"})
    .SetKernelFn(PD_KERNEL(join_gradient));

PD_BUILD_OP(ppzoo_halve).Inputs({"X"}).Outputs({"A", "B"}).SetKernelFn(PD_KERNEL(halve));
PD_BUILD_GRAD_OP(ppzoo_halve)
    .Inputs({paddle::Grad("A"), paddle::Grad("B")})
    .Outputs({paddle::Grad("X")})
    .SetKernelFn(PD_KERNEL(halve_gradient));

PD_BUILD_OP(ppzoo_momentum)
    .Inputs({paddle::Vec("Parameter"), paddle::Vec("Gradient"), paddle::Vec("Velocity")})
    .Outputs({"Done"})
    .Attrs({"rates: std::vector<float>", "decays: std::vector<float>", "mu: float", "nesterov: bool"})
    .SetKernelFn(PD_KERNEL(momentum));

PD_BUILD_OP(ppzoo_blend)
    .Inputs({paddle::Vec("Average"), paddle::Vec("Value")})
    .Outputs({"Done"})
    .Attrs({"keep: float", "take: float"})
    .SetKernelFn(PD_KERNEL(blend));

PD_BUILD_OP(ppzoo_all_finite).Inputs({paddle::Vec("Value")}).Outputs({"Answer"}).SetKernelFn(PD_KERNEL(all_finite));
