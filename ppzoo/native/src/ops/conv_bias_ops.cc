// The convolution with a bias and an activation, for float32 images (`ppzoo_conv_bias`) and for bfloat16 images
// (`ppzoo_bfloat16_conv_bias`). See common.h.
//
// With an activation, the convolution is computed for some images at a time, so that its output and the gradient of its
// output are in the cache when the activation is computed.
#include <algorithm>

#include "kernels/bfloat16_convolution.h"
#include "kernels/convolution.h"
#include "kernels/sums.h"
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

// Calls body(piece, offset in the input, offset in the output) for blocks of images; without an activation, for all.
template <class T, class Body>
void for_image_blocks(const ConvShape& s, Activation activation, const Body& body) {
  const int64_t in = s.input_size() / s.images, out = s.output_size() / s.images;
  const int64_t part = activation == Activation::kNone ? s.images : images_at_a_time<T>(s.images, out);
  for (int64_t image = 0; image < s.images; image += part) {
    body(s.with_images(std::min(part, s.images - image)), image * in, image * out);
  }
}

template <class T>
std::vector<Tensor> conv_bias(const Tensor& x, const Tensor& weights, const Tensor& bias,
                              const std::vector<int>& geometry, bool, int activation) {
  const ConvShape s = conv_shape(x, weights, geometry, kTypeOf<T>);
  require_shape(bias, "bias", {s.out_channels});
  const auto kind = activation_of(activation, true);
  Tensor y = empty_like(x, output_shape(s));
  T* to = elements<T>(y);
  for_image_blocks<T>(s, kind, [&](const ConvShape& piece, int64_t in, int64_t out) {
    ppzoo::convolve(piece, elements<T>(x) + in, weights.data<float>(), bias.data<float>(), to + out);
    if (kind != Activation::kNone) ppzoo::add_activate(to + out, nullptr, kind, piece.output_size(), to + out);
  });
  return {y};
}

template <class T>
std::vector<Tensor> conv_bias_gradient(const Tensor& x, const Tensor& weights, const Tensor& bias, const Tensor& y,
                                       const Tensor& dy, const std::vector<int>& geometry, bool need_dx,
                                       int activation) {
  const ConvShape s = conv_shape(x, weights, geometry, kTypeOf<T>);
  require_shape(bias, "bias", {s.out_channels});
  require_output_shape(y, "output", s, kTypeOf<T>);
  require_output_shape(dy, "output gradient", s, kTypeOf<T>);
  const auto kind = activation_of(activation, true);
  Tensor dx = need_dx ? empty_like(x) : placeholder(x), dweights = empty_like(weights), dbias = empty_like(bias);
  for_image_blocks<T>(s, kind, [&](const ConvShape& piece, int64_t in, int64_t out) {
    const T* gradient = elements<T>(dy) + out;
    if (kind != Activation::kNone) {
      const int64_t count = piece.output_size();
      auto* activated = static_cast<T*>(ppzoo::reserve_workspace(WorkspaceSlot::kOutputGradient, sizeof(T) * count));
      ppzoo::add_activate_gradient(elements<T>(y) + out, nullptr, gradient, kind, count, activated, nullptr);
      gradient = activated;
    }
    if (need_dx) ppzoo::convolve_input_gradient(piece, weights.data<float>(), gradient, elements<T>(dx) + in);
    ppzoo::convolve_weight_gradient(piece, elements<T>(x) + in, gradient, out > 0, dweights.data<float>());
    ppzoo::sum_rows(gradient, piece.output_pixels(), piece.out_channels, out > 0, dbias.data<float>());
  });
  return {dx, dweights, dbias};
}

}  // namespace

#define PPZOO_CONV_BIAS(prefix, T)                                               \
  PD_BUILD_OP(prefix##conv_bias)                                                 \
      .Inputs({"X", "W", "B"})                                                   \
      .Outputs({"Y"})                                                            \
      .Attrs({"geometry: std::vector<int>", "need_dx: bool", "activation: int"}) \
      .SetKernelFn(PPZOO_KERNEL(conv_bias<T>));                                  \
  PD_BUILD_GRAD_OP(prefix##conv_bias)                                            \
      .Inputs({"X", "W", "B", "Y", paddle::Grad("Y")})                           \
      .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("B")})        \
      .Attrs({"geometry: std::vector<int>", "need_dx: bool", "activation: int"}) \
      .SetKernelFn(PPZOO_KERNEL(conv_bias_gradient<T>));                         \
  PPZOO_NO_SECOND_DERIVATIVE(prefix##conv_bias, "X")

PPZOO_CONV_BIAS(ppzoo_, float);
PPZOO_CONV_BIAS(ppzoo_bfloat16_, Bfloat16);
