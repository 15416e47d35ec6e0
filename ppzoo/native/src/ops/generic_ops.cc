// Operators that one template defines for float32 images (`ppzoo_NAME`) and for bfloat16 images
// (`ppzoo_bfloat16_NAME`): activations, sums, affine blocks, concatenation and splitting. See common.h.
#include "kernels/affine.h"
#include "kernels/concat.h"
#include "kernels/sums.h"
#include "ops/bfloat16_tensors.h"
#include "ops/common.h"

namespace {

using namespace ppzoo::ops;
using ppzoo::Activation;
using ppzoo::Bfloat16;
using Tensors = std::vector<Tensor>;
using Widths = std::vector<int64_t>;

// ---- concatenation along the channels

// Returns the number of channels of each part. Checks that the parts agree in all other axes, and with `shuffled` also
// in the number of channels.
Widths widths_of(const Tensors& parts, bool shuffled, phi::DataType type) {
  require(!parts.empty(), [] { return "concatenation: expected at least one tensor, got none"; });
  Widths widths;
  for (const Tensor& part : parts) {
    require_axes(part, "part", 4, type);
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

Shape concat_shape(const Tensors& parts, const Widths& widths) {
  Shape shape = parts[0].shape();
  shape.back() = 0;
  for (const int64_t width : widths) shape.back() += width;
  return shape;
}

template <class T>
Tensors concat(const Tensors& parts, bool shuffled) {
  const Widths widths = widths_of(parts, shuffled, kTypeOf<T>);
  std::vector<const T*> from;
  for (const Tensor& part : parts) from.push_back(elements<T>(part));
  Tensor joined = empty_like(parts[0], concat_shape(parts, widths));
  ppzoo::concat_channels(from, widths, pixels_of(joined), shuffled, elements<T>(joined));
  return {joined};
}

template <class T>
Tensors split(const Tensor& joined, const Widths& widths, bool shuffled) {
  Tensors parts;
  std::vector<T*> to;
  Shape shape = joined.shape();
  for (const int64_t width : widths) {
    shape.back() = width;
    parts.push_back(empty_like(joined, shape));
    to.push_back(elements<T>(parts.back()));
  }
  ppzoo::split_channels(elements<T>(joined), widths, pixels_of(joined), shuffled, to);
  return parts;
}

template <class T>
Tensors concat_gradient(const Tensors& parts, const Tensor& djoined, bool shuffled) {
  const Widths widths = widths_of(parts, shuffled, kTypeOf<T>);
  const Shape shape = concat_shape(parts, widths);
  require_shape(djoined, "output gradient", {shape[0], shape[1], shape[2], shape[3]}, kTypeOf<T>);
  return split<T>(djoined, widths, shuffled);
}

template <class T>
Tensors split_halves(const Tensor& joined) {
  require_axes(joined, "input", 4, kTypeOf<T>);
  const int64_t half = channels_of(joined) / 2;
  require(2 * half == channels_of(joined),
          [&] { return "split: expected an even number of channels, got " + std::to_string(channels_of(joined)); });
  return split<T>(joined, {half, half}, false);
}

// The gradient of a half that was not used is not initialized.
template <class T>
Tensors split_halves_gradient(const Tensor& first, const Tensor& second) {
  require(first.initialized() || second.initialized(),
          [] { return "split: expected a gradient of at least one half"; });
  const Tensor left = first.initialized() ? first : paddle::experimental::zeros_like(second);
  const Tensor right = second.initialized() ? second : paddle::experimental::zeros_like(first);
  return concat<T>({left, right}, false);
}

// ---- activations and sums

template <class T>
Tensors activate(const Tensor& x, int activation) {
  require_readable(x, "input", kTypeOf<T>);
  const auto kind = activation_of(activation);
  Tensor y = empty_like(x);
  ppzoo::add_activate(elements<T>(x), nullptr, kind, x.numel(), elements<T>(y));
  return {y};
}

template <class T>
Tensors activate_gradient(const Tensor& x, const Tensor& dy, int activation) {
  require_readable(x, "input", kTypeOf<T>);
  require_shape_of(dy, "output gradient", x, kTypeOf<T>);
  const auto kind = activation_of(activation);
  Tensor dx = empty_like(x);
  ppzoo::add_activate_gradient(elements<T>(x), nullptr, elements<T>(dy), kind, x.numel(), elements<T>(dx), nullptr);
  return {dx};
}

template <class T>
Tensors add_activate(const Tensor& x, const Tensor& z, int activation) {
  require_readable(x, "first summand", kTypeOf<T>);
  require_shape_of(z, "second summand", x, kTypeOf<T>);
  const auto kind = activation_of(activation);
  Tensor y = empty_like(x);
  ppzoo::add_activate(elements<T>(x), elements<T>(z), kind, x.numel(), elements<T>(y));
  return {y};
}

template <class T>
Tensors add_activate_gradient(const Tensor& x, const Tensor& z, const Tensor& dy, int activation) {
  require_readable(x, "first summand", kTypeOf<T>);
  require_shape_of(z, "second summand", x, kTypeOf<T>);
  require_shape_of(dy, "output gradient", x, kTypeOf<T>);
  const auto kind = activation_of(activation);
  Tensor dx = empty_like(x), dz = empty_like(x);
  ppzoo::add_activate_gradient(elements<T>(x), elements<T>(z), elements<T>(dy), kind, x.numel(), elements<T>(dx),
                               elements<T>(dz));
  return {dx, dz};
}

// Returns x + factor z, with one factor per image.
template <class T>
Tensors add_scaled(const Tensor& x, const Tensor& z, const Tensor& factors) {
  require_axes(x, "first summand", 4, kTypeOf<T>);
  require_shape_of(z, "second summand", x, kTypeOf<T>);
  require_shape(factors, "factors", {x.dims()[0]});
  Tensor y = empty_like(x);
  ppzoo::add_scaled(elements<T>(x), elements<T>(z), factors.data<float>(), x.dims()[0], x.numel() / x.dims()[0],
                    elements<T>(y));
  return {y};
}

// The gradient of x is a copy of dy: PaddlePaddle adds the gradients of further uses of x to it in place.
template <class T>
Tensors add_scaled_gradient(const Tensor& factors, const Tensor& dy) {
  require_axes(dy, "output gradient", 4, kTypeOf<T>);
  require_shape(factors, "factors", {dy.dims()[0]});
  Tensor dx = empty_like(dy), dz = empty_like(dy);
  ppzoo::add_scaled_gradient(elements<T>(dy), factors.data<float>(), dy.dims()[0], dy.numel() / dy.dims()[0],
                             elements<T>(dx), elements<T>(dz));
  return {dx, dz};
}

// ---- the affine block with two numbers

template <class T>
Tensors affine(const Tensor& x, const Tensor& multiplier, const Tensor& addend) {
  require_readable(x, "input", kTypeOf<T>);
  require_shape(multiplier, "multiplier", {1});
  require_shape(addend, "addend", {1});
  Tensor y = empty_like(x);
  ppzoo::affine(elements<T>(x), *multiplier.data<float>(), *addend.data<float>(), x.numel(), elements<T>(y));
  return {y};
}

template <class T>
Tensors affine_gradient(const Tensor& x, const Tensor& multiplier, const Tensor& dy) {
  require_readable(x, "input", kTypeOf<T>);
  require_shape(multiplier, "multiplier", {1});
  require_shape_of(dy, "output gradient", x, kTypeOf<T>);
  Tensor dx = empty_like(x), dmultiplier = empty_like(multiplier), daddend = empty_like(multiplier);
  ppzoo::affine_gradient(elements<T>(x), elements<T>(dy), *multiplier.data<float>(), x.numel(), elements<T>(dx),
                         dmultiplier.data<float>(), daddend.data<float>());
  return {dx, dmultiplier, daddend};
}

}  // namespace

#define PPZOO_GENERIC_OPERATORS(prefix, T)                                                                        \
  PD_BUILD_OP(prefix##activate)                                                                                   \
      .Inputs({"X"})                                                                                              \
      .Outputs({"Y"})                                                                                             \
      .Attrs({"activation: int"})                                                                                 \
      .SetKernelFn(PPZOO_KERNEL(activate<T>));                                                                    \
  PD_BUILD_GRAD_OP(prefix##activate)                                                                              \
      .Inputs({"X", paddle::Grad("Y")})                                                                           \
      .Outputs({paddle::Grad("X")})                                                                               \
      .Attrs({"activation: int"})                                                                                 \
      .SetKernelFn(PPZOO_KERNEL(activate_gradient<T>));                                                           \
  PPZOO_NO_SECOND_DERIVATIVE(prefix##activate, "X");                                                              \
  PD_BUILD_OP(prefix##add_activate)                                                                               \
      .Inputs({"X", "Z"})                                                                                         \
      .Outputs({"Y"})                                                                                             \
      .Attrs({"activation: int"})                                                                                 \
      .SetKernelFn(PPZOO_KERNEL(add_activate<T>));                                                                \
  PD_BUILD_GRAD_OP(prefix##add_activate)                                                                          \
      .Inputs({"X", "Z", paddle::Grad("Y")})                                                                      \
      .Outputs({paddle::Grad("X"), paddle::Grad("Z")})                                                            \
      .Attrs({"activation: int"})                                                                                 \
      .SetKernelFn(PPZOO_KERNEL(add_activate_gradient<T>));                                                       \
  PPZOO_NO_SECOND_DERIVATIVE(prefix##add_activate, "X");                                                          \
  PD_BUILD_OP(prefix##affine)                                                                                     \
      .Inputs({"X", "Multiplier", "Addend"})                                                                      \
      .Outputs({"Y"})                                                                                             \
      .SetKernelFn(PPZOO_KERNEL(affine<T>));                                                                      \
  PD_BUILD_GRAD_OP(prefix##affine)                                                                                \
      .Inputs({"X", "Multiplier", paddle::Grad("Y")})                                                             \
      .Outputs({paddle::Grad("X"), paddle::Grad("Multiplier"), paddle::Grad("Addend")})                           \
      .SetKernelFn(PPZOO_KERNEL(affine_gradient<T>));                                                             \
  PPZOO_NO_SECOND_DERIVATIVE(prefix##affine, "X");                                                                \
  PD_BUILD_OP(prefix##concat)                                                                                     \
      .Inputs({paddle::Vec("X")})                                                                                 \
      .Outputs({"Y"})                                                                                             \
      .Attrs({"shuffled: bool"})                                                                                  \
      .SetKernelFn(PPZOO_KERNEL(concat<T>));                                                                      \
  PD_BUILD_GRAD_OP(prefix##concat)                                                                                \
      .Inputs({paddle::Vec("X"), paddle::Grad("Y")})                                                              \
      .Outputs({paddle::Grad(paddle::Vec("X"))})                                                                  \
      .Attrs({"shuffled: bool"})                                                                                  \
      .SetKernelFn(PPZOO_KERNEL(concat_gradient<T>));                                                             \
  PPZOO_NO_SECOND_DERIVATIVE_OF_LIST(prefix##concat, "X");                                                        \
  PD_BUILD_OP(prefix##split_halves).Inputs({"X"}).Outputs({"A", "B"}).SetKernelFn(PPZOO_KERNEL(split_halves<T>)); \
  PD_BUILD_GRAD_OP(prefix##split_halves)                                                                          \
      .Inputs({paddle::Grad("A"), paddle::Grad("B")})                                                             \
      .Outputs({paddle::Grad("X")})                                                                               \
      .SetKernelFn(PPZOO_KERNEL(split_halves_gradient<T>));                                                       \
  PPZOO_NO_SECOND_DERIVATIVE(prefix##split_halves, paddle::Grad(paddle::Grad("X")));                              \
  PD_BUILD_OP(prefix##add_scaled)                                                                                 \
      .Inputs({"X", "Z", "Factors"})                                                                              \
      .Outputs({"Y"})                                                                                             \
      .SetKernelFn(PPZOO_KERNEL(add_scaled<T>));                                                                  \
  PD_BUILD_GRAD_OP(prefix##add_scaled)                                                                            \
      .Inputs({"Factors", paddle::Grad("Y")})                                                                     \
      .Outputs({paddle::Grad("X"), paddle::Grad("Z")})                                                            \
      .SetKernelFn(PPZOO_KERNEL(add_scaled_gradient<T>));                                                         \
  PPZOO_NO_SECOND_DERIVATIVE(prefix##add_scaled, "Factors")

PPZOO_GENERIC_OPERATORS(ppzoo_, float);
PPZOO_GENERIC_OPERATORS(ppzoo_bfloat16_, Bfloat16);
