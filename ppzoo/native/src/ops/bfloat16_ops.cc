// Operators on bfloat16 images: the conversion to channels-last images, two uses of one tensor, and pooling. See
// common.h.
#include "kernels/bfloat16_pooling.h"
#include "kernels/elementwise.h"
#include "kernels/sums.h"
#include "kernels/workspace.h"
#include "ops/bfloat16_tensors.h"
#include "ops/common.h"
#include "ops/pool_arguments.h"

namespace {

using namespace ppzoo::ops;
using ppzoo::Activation;
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
