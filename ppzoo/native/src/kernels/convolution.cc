// Convolution with arbitrary geometry, through the oneDNN library of PaddlePaddle's wheel.
//
// Geometries with a dedicated kernel (1x1, depthwise, Winograd) are passed on to it. The others are primitives of
// conv_primitive.h. Images are NHWC in and out. oneDNN parallelizes.
//
// Long sums are split for accuracy: over slices of at most kMaxSumTerms / (kernel_h kernel_w) channels for outputs and
// input gradients, over parts of the batch for weight gradients.
#include "kernels/convolution.h"

#include <algorithm>

#include "kernels/conv_inputs.h"
#include "kernels/conv_primitive.h"
#include "kernels/depthwise.h"
#include "kernels/elementwise.h"
#include "kernels/integer_math.h"
#include "kernels/parallel.h"
#include "kernels/pointwise.h"
#include "kernels/winograd.h"
#include "kernels/workspace.h"

namespace ppzoo {
namespace {

// The length of the sums that oneDNN computes in one run. Convolutions with more than 1.5 times as many terms, whose
// rounding can exceed 2e-6 of the output, are computed as a sum over slices of channels.
constexpr int64_t kMaxSumTerms = 1152;

bool needs_channel_slices(const ConvShape& s, int64_t channels) {
  return s.groups == 1 && 2 * channels * s.kernel_h * s.kernel_w > 3 * kMaxSumTerms;
}

// Calls body(first, slice, count, to) for slices of the channels of `values` (pixels x channels). `slice` has a dense
// copy of the channels [first, first + count); what the body writes to `to` is added to `sum`.
template <class Body>
void sum_over_channel_slices(const ConvShape& s, const float* values, int64_t pixels, int64_t channels, float* sum,
                             int64_t sum_size, const Body& body) {
  const int64_t part = (equal_part_size(channels, kMaxSumTerms / (s.kernel_h * s.kernel_w)) + 15) / 16 * 16;
  float* slice = workspace(WorkspaceSlot::kChannelSlice, pixels * part);
  float* term = workspace(WorkspaceSlot::kPartialOutput, sum_size);
  for (int64_t first = 0; first < channels; first += part) {
    const int64_t count = std::min(part, channels - first);
    parallel_for(pixels, pixels * count, [&](int, int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        std::copy_n(values + pixel * channels + first, count, slice + pixel * count);
      }
    });
    body(first, slice, count, first == 0 ? sum : term);
    if (first > 0) accumulate(term, sum_size, sum);
  }
}

// Writes `rows` copies of `row`, or zeros if it is null.
void repeat(const float* row, int64_t rows, int64_t width, float* to) {
  for (int64_t i = 0; i < rows; ++i, to += width) {
    if (row != nullptr) {
      std::copy_n(row, width, to);
    } else {
      std::fill_n(to, width, 0.0f);
    }
  }
}

}  // namespace

void convolve(const ConvShape& shape, const float* x, const float* weights, const float* bias, float* y) {
  if (shape.empty()) return repeat(bias, shape.output_pixels(), shape.out_channels, y);
  if (pointwise(shape)) return pointwise_convolve(shape, x, weights, bias, y);
  if (depthwise(shape)) return depthwise_convolve(shape, x, weights, bias, y);
  if (winograd(shape)) return winograd_convolve(shape, x, weights, bias, y);
  if (samples_pixels(shape)) return convolve(sample_shape(shape), copy_sampled(shape, x), weights, bias, y);
  if (onednn_miscomputes(shape)) {
    const ConvShape cropped = crop_to_receptive_field(shape);
    return convolve(cropped, copy_cropped(shape, cropped, x), weights, bias, y);
  }
  if (needs_channel_slices(shape, shape.channels)) {
    const int64_t taps = shape.kernel_h * shape.kernel_w, pixels = shape.images * shape.height * shape.width;
    const auto add = [&](int64_t first, const float* slice, int64_t count, float* to) {
      ConvShape piece = shape;
      piece.channels = count, piece.weight_stride = shape.channels * taps;
      const bool has_bias = bias != nullptr && first == 0;
      run_convolution(piece, Pass::kForward, Precision::kFloat32, has_bias, {slice, weights + first * taps, to, bias});
    };
    return sum_over_channel_slices(shape, x, pixels, shape.channels, y, shape.output_size(), add);
  }
  run_convolution(shape, Pass::kForward, Precision::kFloat32, bias != nullptr, {x, weights, y, bias});
}

void convolve_input_gradient(const ConvShape& shape, const float* weights, const float* dy, float* dx, bool add) {
  if (winograd(shape)) return winograd_input_gradient(shape, weights, dy, add, dx);
  if (add) {
    float* term = workspace(WorkspaceSlot::kInputGradient, shape.input_size());
    convolve_input_gradient(shape, weights, dy, term);
    return accumulate(term, shape.input_size(), dx);
  }
  if (shape.empty()) return repeat(nullptr, shape.input_pixels(), shape.channels, dx);
  if (pointwise(shape)) return pointwise_input_gradient(shape, weights, dy, dx);
  if (depthwise(shape)) return depthwise_input_gradient(shape, weights, dy, dx);
  if (samples_pixels(shape)) {
    float* gradient = workspace(WorkspaceSlot::kCroppedInput, shape.output_pixels() * shape.channels);
    convolve_input_gradient(sample_shape(shape), weights, dy, gradient);
    std::fill_n(dx, shape.input_size(), 0.0f);
    return for_sampled_pixels(shape,
                              [&](int64_t to, int64_t from) { std::copy_n(gradient + from, shape.channels, dx + to); });
  }
  if (onednn_miscomputes(shape)) {
    const ConvShape cropped = crop_to_receptive_field(shape);
    float* gradient = workspace(WorkspaceSlot::kCroppedInput, cropped.input_size());
    convolve_input_gradient(cropped, weights, dy, gradient);
    std::fill_n(dx, shape.input_size(), 0.0f);
    return for_cropped_rows(
        shape, cropped, [&](int64_t to, int64_t from, int64_t count) { std::copy_n(gradient + from, count, dx + to); });
  }
  if (needs_channel_slices(shape, shape.out_channels)) {
    const int64_t filter = shape.weight_size() / shape.out_channels;
    const auto add_slice = [&](int64_t first, const float* slice, int64_t count, float* to) {
      ConvShape piece = shape;
      piece.out_channels = count;
      run_convolution(piece, Pass::kInputGradient, Precision::kFloat32, false, {to, weights + first * filter, slice});
    };
    const int64_t pixels = shape.output_size() / shape.out_channels;
    return sum_over_channel_slices(shape, dy, pixels, shape.out_channels, dx, shape.input_size(), add_slice);
  }
  run_convolution(shape, Pass::kInputGradient, Precision::kFloat32, false, {dx, weights, dy});
}

void convolve_weight_gradient(const ConvShape& shape, const float* x, const float* dy, bool add, float* dweights,
                              float* dbias) {
  if (dbias != nullptr) sum_rows(dy, shape.output_pixels(), shape.out_channels, add, dbias);
  if (shape.empty()) {
    if (!add) repeat(nullptr, 1, shape.weight_size(), dweights);
    return;
  }
  if (pointwise(shape)) return pointwise_weight_gradient(shape, x, dy, add, dweights);
  if (depthwise(shape)) return depthwise_weight_gradient(shape, x, dy, add, dweights);
  if (winograd(shape)) return winograd_weight_gradient(shape, x, dy, add, dweights);
  if (samples_pixels(shape)) {
    return convolve_weight_gradient(sample_shape(shape), copy_sampled(shape, x), dy, add, dweights, nullptr);
  }
  if (onednn_miscomputes(shape)) {
    const ConvShape cropped = crop_to_receptive_field(shape);
    return convolve_weight_gradient(cropped, copy_cropped(shape, cropped, x), dy, add, dweights, nullptr);
  }
  // oneDNN sums over all pixels of a thread in float. Parts of the batch keep these sums short.
  constexpr int64_t kPixels = 4096;
  const int64_t in = shape.input_size() / shape.images, out = shape.output_size() / shape.images;
  const int64_t part = equal_part_size(shape.images, kPixels * max_threads() * shape.out_channels / out);
  for (int64_t image = 0; image < shape.images; image += part) {
    const ConvShape piece = shape.with_images(std::min(part, shape.images - image));
    const bool adding = add || image > 0;
    float* to = dweights;
    if (adding) to = workspace(WorkspaceSlot::kWeightGradients, shape.weight_size());
    run_convolution(piece, Pass::kWeightGradient, Precision::kFloat32, false, {x + image * in, to, dy + image * out});
    if (adding) accumulate(to, shape.weight_size(), dweights);
  }
}

}  // namespace ppzoo
