// Convolution of bfloat16 images, of any geometry, through oneDNN: with the processor's bfloat16 instructions a direct
// convolution is faster than Winograd's, and oneDNN's is faster than the matrix products of gemm.h.
//
// Images are NHWC in and out, rounded to bfloat16 once per output. Products are added in float32. Weights are float32 in
// OIHW: the primitives of conv_primitive.h round and reorder them at each call. oneDNN parallelizes.
#include "kernels/bfloat16_convolution.h"

#include "kernels/conv_inputs.h"
#include "kernels/conv_primitive.h"
#include "kernels/elementwise.h"
#include "kernels/workspace.h"

namespace ppzoo {

void bfloat16_convolve(const ConvShape& shape, const Bfloat16* x, const float* weights, Bfloat16* y) {
  if (shape.empty()) {
    std::fill_n(y, shape.output_size(), Bfloat16{});
    return;
  }
  if (samples_pixels(shape)) return bfloat16_convolve(sample_shape(shape), copy_sampled(shape, x), weights, y);
  if (onednn_miscomputes(shape)) {
    const ConvShape cropped = crop_to_receptive_field(shape);
    return bfloat16_convolve(cropped, copy_cropped(shape, cropped, x), weights, y);
  }
  run_convolution(shape, Pass::kForward, Precision::kBfloat16, false, {x, weights, y});
}

void bfloat16_input_gradient(const ConvShape& shape, const float* weights, const Bfloat16* dy, Bfloat16* dx) {
  if (shape.empty()) {
    std::fill_n(dx, shape.input_size(), Bfloat16{});
    return;
  }
  if (samples_pixels(shape)) {
    Bfloat16* gradient = copied_input<Bfloat16>(shape.output_pixels() * shape.channels);
    bfloat16_input_gradient(sample_shape(shape), weights, dy, gradient);
    std::fill_n(dx, shape.input_size(), Bfloat16{});
    return for_sampled_pixels(
        shape, [&](int64_t to, int64_t from) { std::copy_n(gradient + from, shape.channels, dx + to); });
  }
  if (onednn_miscomputes(shape)) {
    const ConvShape cropped = crop_to_receptive_field(shape);
    Bfloat16* gradient = copied_input<Bfloat16>(cropped.input_size());
    bfloat16_input_gradient(cropped, weights, dy, gradient);
    std::fill_n(dx, shape.input_size(), Bfloat16{});
    return for_cropped_rows(
        shape, cropped, [&](int64_t to, int64_t from, int64_t count) { std::copy_n(gradient + from, count, dx + to); });
  }
  run_convolution(shape, Pass::kInputGradient, Precision::kBfloat16, false, {dx, weights, dy});
}

void bfloat16_weight_gradient(const ConvShape& shape, const Bfloat16* x, const Bfloat16* dy, bool add,
                              float* dweights) {
  if (shape.empty()) {
    if (!add) std::fill_n(dweights, shape.weight_size(), 0.0f);
    return;
  }
  if (samples_pixels(shape)) {
    return bfloat16_weight_gradient(sample_shape(shape), copy_sampled(shape, x), dy, add, dweights);
  }
  if (onednn_miscomputes(shape)) {
    const ConvShape cropped = crop_to_receptive_field(shape);
    return bfloat16_weight_gradient(cropped, copy_cropped(shape, cropped, x), dy, add, dweights);
  }
  float* to = add ? workspace(WorkspaceSlot::kWeightGradients, shape.weight_size()) : dweights;
  run_convolution(shape, Pass::kWeightGradient, Precision::kBfloat16, false, {x, to, dy});
  if (add) accumulate(to, shape.weight_size(), dweights);
}

}  // namespace ppzoo
