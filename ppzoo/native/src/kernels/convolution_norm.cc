// A convolution followed by batch norm in training.
//
// Depthwise convolutions, and in float32 1x1 convolutions, have kernels that fuse the passes of the norm into their
// loops (depthwise.cc, bfloat16_depthwise.cc, pointwise.cc). Other convolutions are computed for some images at a time
// (image_blocks.h), so that the norm reads their outputs or gradients from the cache. Loop nest: blocks of images ->
// the convolution of a block (convolution.cc)
// -> the pass of the norm over the block (wide_rows.h); these have the inner loops and are parallel. Layout: NHWC.
#include "kernels/convolution_norm.h"

#include <algorithm>
#include <optional>
#include <type_traits>

#include "kernels/bfloat16_convolution.h"
#include "kernels/bfloat16_depthwise.h"
#include "kernels/convolution.h"
#include "kernels/depthwise.h"
#include "kernels/image_blocks.h"
#include "kernels/pointwise.h"
#include "kernels/workspace.h"

namespace ppzoo {

template <class T>
Statistics convolve_statistics(const ConvShape& s, const T* x, const float* weights, T* raw) {
  if constexpr (std::is_same_v<T, float>) {
    if (pointwise(s)) return pointwise_convolve_statistics(s, x, weights, raw);
    if (depthwise(s)) return depthwise_convolve_statistics(s, x, weights, raw);
  } else {
    if (depthwise(s)) return bfloat16_depthwise_statistics(s, {x}, weights, raw);
  }
  const int64_t in = s.input_size() / s.images, out = s.output_size() / s.images;
  const int64_t part = images_at_a_time<T>(s.images, out);
  std::optional<Moments> moments;
  for (int64_t image = 0; image < s.images; image += part) {
    const int64_t count = std::min(part, s.images - image);
    T* to = raw + image * out;
    convolve(s.with_images(count), x + image * in, weights, nullptr, to);
    if (!moments) moments.emplace(s.out_channels, to, s.output_pixels());
    moments->add(to, count * out / s.out_channels);
  }
  return moments->statistics();
}

template <class T>
void convolve_norm_gradients(const ConvShape& s, const NormGradient& gradient, const T* x, const float* weights,
                             const T* raw, const T* dy, Activation activation, Exactly<T>* dx, float* dweights) {
  if constexpr (std::is_same_v<T, float>) {
    if (pointwise(s)) return pointwise_gradients(s, gradient, activation, x, weights, raw, dy, dx, dweights);
    if (depthwise(s)) return depthwise_gradients(s, gradient, activation, x, weights, raw, dy, dx, dweights);
  } else {
    if (depthwise(s)) {
      return bfloat16_depthwise_gradients(s, {x}, weights, {dy, &gradient, activation, raw}, {dx, dweights});
    }
  }
  const int64_t in = s.input_size() / s.images, out = s.output_size() / s.images;
  const int64_t part = images_at_a_time<T>(s.images, out);
  auto* raw_gradient = static_cast<T*>(reserve_workspace(WorkspaceSlot::kOutputGradient, sizeof(T) * part * out));
  for (int64_t image = 0; image < s.images; image += part) {
    const int64_t count = std::min(part, s.images - image);
    const ConvShape piece = s.with_images(count);
    gradient.apply(raw + image * out, dy + image * out, activation, count * out / s.out_channels, raw_gradient);
    if (dx != nullptr) convolve_input_gradient(piece, weights, raw_gradient, dx + image * in);
    convolve_weight_gradient(piece, x + image * in, raw_gradient, image > 0, dweights);
  }
}

#define PPZOO_INSTANTIATE(T)                                                                                     \
  template Statistics convolve_statistics(const ConvShape&, const T*, const float*, T*);                         \
  template void convolve_norm_gradients(const ConvShape&, const NormGradient&, const T*, const float*, const T*, \
                                        const T*, Activation, T*, float*)
PPZOO_INSTANTIATE(float);
PPZOO_INSTANTIATE(Bfloat16);

}  // namespace ppzoo
