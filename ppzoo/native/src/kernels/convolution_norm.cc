// A convolution followed by batch norm in training.
//
// 1x1 and depthwise convolutions have kernels that fuse the passes of the norm into their loops (pointwise.cc,
// depthwise.cc). Other convolutions are computed for some images at a time (image_blocks.h), so that the norm reads
// their outputs or gradients from the cache. Loop nest: blocks of images -> the convolution of a block (convolution.cc)
// -> the pass of the norm over the block (wide_rows.h); these have the inner loops and are parallel. Layout: NHWC.
#include "kernels/convolution_norm.h"

#include <algorithm>
#include <optional>

#include "kernels/convolution.h"
#include "kernels/depthwise.h"
#include "kernels/image_blocks.h"
#include "kernels/pointwise.h"
#include "kernels/workspace.h"

namespace ppzoo {

Statistics convolve_statistics(const ConvShape& s, const float* x, const float* weights, float* raw) {
  if (pointwise(s)) return pointwise_convolve_statistics(s, x, weights, raw);
  if (depthwise(s)) return depthwise_convolve_statistics(s, x, weights, raw);
  const int64_t in = s.input_size() / s.images, out = s.output_size() / s.images;
  const int64_t part = images_at_a_time<float>(s.images, out), pixels = s.output_size() / s.out_channels;
  std::optional<Moments> moments;
  for (int64_t image = 0; image < s.images; image += part) {
    const int64_t count = std::min(part, s.images - image);
    float* to = raw + image * out;
    convolve(s.with_images(count), x + image * in, weights, nullptr, to);
    if (!moments) moments.emplace(s.out_channels, to, pixels);
    moments->add(to, count * out / s.out_channels);
  }
  return moments->statistics();
}

void convolve_norm_gradients(const ConvShape& s, const NormGradient& gradient, const float* x, const float* weights,
                             const float* raw, const float* dy, Activation activation, float* dx, float* dweights) {
  if (pointwise(s)) {
    return pointwise_gradients(s, gradient, activation, x, weights, raw, dy, dx, dweights);
  }
  if (depthwise(s)) {
    return depthwise_gradients(s, gradient, activation, x, weights, raw, dy, dx, dweights);
  }
  const int64_t in = s.input_size() / s.images, out = s.output_size() / s.images;
  const int64_t part = images_at_a_time<float>(s.images, out);
  float* raw_gradient = workspace(WorkspaceSlot::kOutputGradient, part * out);
  for (int64_t image = 0; image < s.images; image += part) {
    const int64_t count = std::min(part, s.images - image);
    const ConvShape piece = s.with_images(count);
    gradient.apply(raw + image * out, dy + image * out, activation, count * out / s.out_channels, raw_gradient);
    if (dx != nullptr) convolve_input_gradient(piece, weights, raw_gradient, dx + image * in);
    convolve_weight_gradient(piece, x + image * in, raw_gradient, image > 0, dweights, nullptr);
  }
}

}  // namespace ppzoo
