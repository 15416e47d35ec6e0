// Convolution of bfloat16 images through oneDNN. On processors with bfloat16 instructions, oneDNN's direct convolution
// is faster than Winograd's algorithm, and its 1x1 convolution is faster than the matrix products of gemm.h.
//
// Layout: inputs and outputs are NHWC. Weights are float32 in OIHW: the primitives of conv_primitive.h round and
// reorder them at each call. Products are added in float32, and each output is rounded to bfloat16 once. oneDNN chooses
// the loop nest and the blocking, and parallelizes.
//
// oneDNN (at least in version 3.6) returns wrong values in bfloat16 for some unusual geometries, for example for
// strides of 3 or 4, or for a stride of 2 with one column of inputs or outputs. Geometries that are not usual
// (is_usual) are therefore computed by the float32 kernels, on converted copies of the images in the workspace slots
// kFloatInput and kFloatOutput. Depthwise convolutions are computed by bfloat16_depthwise.cc.
#include "kernels/bfloat16_convolution.h"

#include <algorithm>

#include "kernels/bfloat16_depthwise.h"
#include "kernels/conv_inputs.h"
#include "kernels/conv_primitive.h"
#include "kernels/convolution.h"
#include "kernels/depthwise.h"
#include "kernels/elementwise.h"
#include "kernels/workspace.h"

namespace ppzoo {
namespace {

// Whether oneDNN computes this geometry correctly in bfloat16. The sanitizer driver tests random geometries.
bool is_usual(const ConvShape& s) {
  const bool small_steps = s.stride_h <= 2 && s.stride_w <= 2 && s.dilation_h == 1 && s.dilation_w == 1;
  const bool narrow_borders = std::max(s.top, s.bottom) < s.kernel_h && std::max(s.left, s.right) < s.kernel_w;
  const bool many_rows = s.stride_h == 1 || (s.height > 1 && s.out_height() > 1);
  const bool many_columns = s.stride_w == 1 || (s.width > 1 && s.out_width() > 1);
  const bool is_correct = !onednn_miscomputes(s) && !skips_rows(s);
  return s.groups == 1 && small_steps && narrow_borders && many_rows && many_columns && is_correct;
}

// Returns the weights rounded to bfloat16, as oneDNN rounds them, in float32.
const float* rounded_weights(const ConvShape& s, const float* weights) {
  const int64_t count = s.weight_size();
  float* rounded = workspace(WorkspaceSlot::kWeightGradients, count + (count + 1) / 2);
  auto* halves = reinterpret_cast<Bfloat16*>(rounded + count);
  round_values(weights, count, halves);
  widen_values(halves, count, rounded);
  return rounded;
}

const float* to_float32(WorkspaceSlot slot, const Bfloat16* values, int64_t count) {
  float* converted = workspace(slot, count);
  widen_values(values, count, converted);
  return converted;
}

}  // namespace

void convolve(const ConvShape& shape, const Bfloat16* x, const float* weights, const float* bias, Bfloat16* y) {
  if (depthwise(shape) && bias == nullptr && !shape.empty()) return bfloat16_depthwise_convolve(shape, {x}, weights, y);
  if (samples_pixels(shape)) return convolve(sample_shape(shape), copy_sampled(shape, x), weights, bias, y);
  if (is_usual(shape) && !shape.empty()) {
    return onednn_convolve(shape, Precision::kBfloat16, x, weights, bias, y);
  }
  float* output = workspace(WorkspaceSlot::kFloatOutput, shape.output_size());
  convolve(shape, to_float32(WorkspaceSlot::kFloatInput, x, shape.input_size()), rounded_weights(shape, weights), bias,
           output);
  round_values(output, shape.output_size(), y);
}

void convolve_input_gradient(const ConvShape& shape, const float* weights, const Bfloat16* dy, Bfloat16* dx) {
  if (shape.empty()) {
    std::fill_n(dx, shape.input_size(), Bfloat16{});
    return;
  }
  if (depthwise(shape)) return bfloat16_depthwise_gradients(shape, {nullptr}, weights, {dy}, {dx, nullptr});
  if (samples_pixels(shape)) {
    Bfloat16* gradient = copied_input<Bfloat16>(shape.output_pixels() * shape.channels);
    convolve_input_gradient(sample_shape(shape), weights, dy, gradient);
    std::fill_n(dx, shape.input_size(), Bfloat16{});
    return for_sampled_pixels(shape,
                              [&](int64_t to, int64_t from) { std::copy_n(gradient + from, shape.channels, dx + to); });
  }
  if (is_usual(shape)) {
    return onednn_input_gradient(shape, Precision::kBfloat16, weights, dy, dx);
  }
  float* gradient = workspace(WorkspaceSlot::kFloatInput, shape.input_size());
  convolve_input_gradient(shape, rounded_weights(shape, weights),
                          to_float32(WorkspaceSlot::kFloatOutput, dy, shape.output_size()), gradient);
  round_values(gradient, shape.input_size(), dx);
}

void convolve_weight_gradient(const ConvShape& shape, const Bfloat16* x, const Bfloat16* dy, bool add,
                              float* dweights) {
  if (shape.empty()) {
    if (!add) std::fill_n(dweights, shape.weight_size(), 0.0f);
    return;
  }
  if (depthwise(shape)) return bfloat16_depthwise_gradients(shape, {x}, nullptr, {dy}, {nullptr, dweights, add});
  if (samples_pixels(shape)) {
    return convolve_weight_gradient(sample_shape(shape), copy_sampled(shape, x), dy, add, dweights);
  }
  if (!is_usual(shape)) {
    return convolve_weight_gradient(shape, to_float32(WorkspaceSlot::kFloatInput, x, shape.input_size()),
                                    to_float32(WorkspaceSlot::kFloatOutput, dy, shape.output_size()), add, dweights);
  }
  float* to = add ? workspace(WorkspaceSlot::kWeightGradients, shape.weight_size()) : dweights;
  onednn_weight_gradient(shape, Precision::kBfloat16, x, dy, to);
  if (add) accumulate(to, shape.weight_size(), dweights);
}

}  // namespace ppzoo
