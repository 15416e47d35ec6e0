// Convolution with arbitrary geometry, through the oneDNN library of PaddlePaddle's wheel.
//
// Geometries with a dedicated kernel (1x1, depthwise, Winograd) are computed by that kernel, the others by the
// primitives of conv_primitive.h.
//
// Layout: inputs and outputs are NHWC, weights OIHW. oneDNN chooses the inner loops and the blocking, and parallelizes.
// The loops of this file run it on parts of a long sum, which limits the rounding error: on slices of at most
// kMaxSumTerms / (kernel_h kernel_w) channels for outputs and input gradients, and on pieces of at most kMaxSumPixels
// pixels for weight gradients.
#include "kernels/convolution.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "kernels/conv_inputs.h"
#include "kernels/conv_primitive.h"
#include "kernels/depthwise.h"
#include "kernels/elementwise.h"
#include "kernels/integer_math.h"
#include "kernels/parallel.h"
#include "kernels/pointwise.h"
#include "kernels/sums.h"
#include "kernels/winograd.h"
#include "kernels/workspace.h"

namespace ppzoo {
namespace {

// The length of the sums that oneDNN computes in one run. Convolutions with more than 1.5 times as many terms, whose
// rounding can exceed 2e-6 of the output, are computed as a sum over slices of channels.
constexpr int64_t kMaxSumTerms = 1152;

// The number of output pixels over which oneDNN sums weight gradients in one run. A thread adds them all one by one; at
// 12,544 pixels (112 x 112) rounding reaches 3e-6 of the gradient.
constexpr int64_t kMaxSumPixels = 1024;

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

// Returns the convolution that computes the output rows [first, first + count) of an image, and its first input row.
std::pair<ConvShape, int64_t> output_rows(const ConvShape& s, int64_t first, int64_t count) {
  ConvShape piece = s.with_images(1);
  if (count == 1) piece.stride_h = 1;  // see onednn_miscomputes
  const int64_t from = first * s.stride_h - s.top;
  const int64_t to = from + (count - 1) * s.stride_h + s.dilation_h * (s.kernel_h - 1) + 1;
  piece.top = std::max<int64_t>(0, -from), piece.bottom = std::max<int64_t>(0, to - s.height);
  piece.height = to - from - piece.top - piece.bottom;
  return {piece, from + piece.top};
}

// Calls body(piece, offset in the input, offset in the output, whether it is the first) for pieces with few output
// pixels: parts of the batch or, if images are large, rows of one image.
template <class Body>
void for_pieces(const ConvShape& s, const Body& body) {
  const int64_t rows = s.out_height(), columns = s.out_width();
  const int64_t row_part = equal_part_size(rows, kMaxSumPixels / columns);
  const int64_t image_part = row_part < rows ? 1 : equal_part_size(s.images, kMaxSumPixels / (rows * columns));
  for (int64_t image = 0; image < s.images; image += image_part) {
    for (int64_t row = 0; row < rows; row += row_part) {
      ConvShape piece = s.with_images(std::min(image_part, s.images - image));
      int64_t first_row = 0;
      if (row_part < rows) std::tie(piece, first_row) = output_rows(s, row, std::min(row_part, rows - row));
      body(piece, (image * s.height + first_row) * s.width * s.channels,
           (image * rows + row) * columns * s.out_channels, image + row == 0);
    }
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
  if (skips_rows(shape)) return convolve(covered_rows(shape), copy_covered_rows(shape, x), weights, bias, y);
  if (needs_channel_slices(shape, shape.channels)) {
    const int64_t taps = shape.kernel_h * shape.kernel_w, pixels = shape.images * shape.height * shape.width;
    const auto add = [&](int64_t first, const float* slice, int64_t count, float* to) {
      ConvShape piece = shape;
      piece.channels = count, piece.weight_stride = shape.channels * taps;
      onednn_convolve(piece, Precision::kFloat32, slice, weights + first * taps, first == 0 ? bias : nullptr, to);
    };
    return sum_over_channel_slices(shape, x, pixels, shape.channels, y, shape.output_size(), add);
  }
  onednn_convolve(shape, Precision::kFloat32, x, weights, bias, y);
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
      onednn_input_gradient(piece, Precision::kFloat32, weights + first * filter, slice, to);
    };
    const int64_t pixels = shape.output_size() / shape.out_channels;
    return sum_over_channel_slices(shape, dy, pixels, shape.out_channels, dx, shape.input_size(), add_slice);
  }
  onednn_input_gradient(shape, Precision::kFloat32, weights, dy, dx);
}

void convolve_weight_gradient(const ConvShape& shape, const float* x, const float* dy, bool add, float* dweights) {
  if (shape.empty()) {
    if (!add) repeat(nullptr, 1, shape.weight_size(), dweights);
    return;
  }
  if (pointwise(shape)) return pointwise_weight_gradient(shape, x, dy, add, dweights);
  if (depthwise(shape)) return depthwise_weight_gradient(shape, x, dy, add, dweights);
  if (winograd(shape)) return winograd_weight_gradient(shape, x, dy, add, dweights);
  if (samples_pixels(shape)) {
    return convolve_weight_gradient(sample_shape(shape), copy_sampled(shape, x), dy, add, dweights);
  }
  if (onednn_miscomputes(shape)) {
    const ConvShape cropped = crop_to_receptive_field(shape);
    return convolve_weight_gradient(cropped, copy_cropped(shape, cropped, x), dy, add, dweights);
  }
  for_pieces(shape, [&](const ConvShape& piece, int64_t first_input, int64_t first_output, bool first) {
    const bool adding = add || !first;
    float* to = adding ? workspace(WorkspaceSlot::kWeightGradients, shape.weight_size()) : dweights;
    onednn_weight_gradient(piece, Precision::kFloat32, x + first_input, dy + first_output, to);
    if (adding) accumulate(to, shape.weight_size(), dweights);
  });
}

}  // namespace ppzoo
