// Convolutions in sequence, each followed by batch norm and an activation: the depthwise separable convolutions of
// MobileNetV1 and PP-LCNet.
//
// Such layers are limited by memory bandwidth. Of the tensors between the stages, only the convolutions' outputs before
// their norms are written. The next convolution normalizes them row by row while it reads them (KernelInput), forward
// and backward.
//
// Backward, from the last stage to the first: one pass over the gradient of a stage's output computes the gradients of
// its convolution. In this pass, each row of the input's gradient is also added to the sums of the norm before it (the
// first pass of that norm) while the row is in the cache. The gradients of the tensors between stages alternate between
// two buffers.
//
// Layout: NHWC. The loop nest is stages -> the loops of pointwise.cc or depthwise.cc, which also describe the blocking,
// the layout of the weights, and what is parallel.
#include "kernels/conv_norm_sequence.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "kernels/convolution_norm.h"
#include "kernels/depthwise.h"
#include "kernels/pointwise.h"

namespace ppzoo {
namespace {

Statistics convolve_statistics_of(const ConvShape& shape, const KernelInput& input, const float* weights, float* raw) {
  if (input.norm == nullptr) return convolve_statistics(shape, input.data, weights, raw);
  if (pointwise(shape)) return pointwise_convolve_statistics(shape, input, weights, raw);
  return depthwise_convolve_statistics(shape, input, weights, raw);
}

// Computes the gradients of a depthwise convolution from the gradient of the output of the norm after it (`gradient`),
// `dy`, and the first pass of the norm before it (`before`).
void depthwise_gradients_between(const ConvShape& shape, const NormGradient& gradient, Activation activation,
                                 NormGradient& before, const KernelInput& x, const float* weights, const float* raw,
                                 const float* dy, float* dx, float* dweights) {
  const int64_t width = shape.out_width(), channels = shape.channels;
  const RowCallbacks rows{[&](int, int64_t image, int64_t row, float* to) {
                            const int64_t start = (image * shape.out_height() + row) * width * channels;
                            gradient.apply_rows(raw + start, dy + start, activation, width, to);
                          },
                          [&](int, int64_t pixel) { return dx + pixel * channels; },
                          [&](int thread, int64_t pixel, const float* before_norm) {
                            before.add_rows(thread, before_norm, nullptr, dx + pixel * channels, x.norm->activation(),
                                            shape.width, nullptr);
                          }};
  depthwise_gradients(shape, x, weights, rows, dweights);
}

int64_t largest_input(const ConvNormSequence& sequence) {
  int64_t size = 0;
  for (size_t i = 1; i < sequence.shapes.size(); ++i) size = std::max(size, sequence.shapes[i].input_size());
  return size;
}

}  // namespace

void conv_norm_sequence(const ConvNormSequence& sequence, const float* x, const StageWeights* stages,
                        const SavedStage<float>* saved, float* y) {
  const size_t count = sequence.shapes.size();
  KernelInput input = x;
  std::optional<Normalizer> norm;
  for (size_t i = 0; i < count; ++i) {
    const Statistics batch = convolve_statistics_of(sequence.shapes[i], input, stages[i].weights, saved[i].raw);
    norm = finalize_statistics(batch, stages[i].norm, sequence.activations[i], saved[i].mean, saved[i].inverse_std);
    input = {saved[i].raw, &*norm};
  }
  norm->apply(input.data, nullptr, sequence.shapes.back().output_pixels(), y);
}

int64_t gradient_scratch_size(const ConvNormSequence& sequence) {
  const int64_t count = static_cast<int64_t>(sequence.shapes.size());
  return std::min<int64_t>(2, count - 1) * largest_input(sequence);
}

void conv_norm_sequence_gradients(const ConvNormSequence& sequence, const float* x, const StageWeights* stages,
                                  const SavedStage<const float>* saved, const float* dy, const StageGradient* gradients,
                                  float* dx, float* scratch) {
  const auto gradient_of = [&](size_t stage) {
    const ConvShape& shape = sequence.shapes[stage];
    const NormParameters& norm = stages[stage].norm;
    return NormGradient(shape.out_channels, shape.output_pixels(), norm.gamma, norm.beta, saved[stage].mean,
                        saved[stage].inverse_std);
  };
  const size_t last = sequence.shapes.size() - 1;
  NormGradient gradient = gradient_of(last);
  gradient.add(saved[last].raw, nullptr, dy, sequence.activations[last], nullptr);
  gradient.finish(gradients[last].gamma, gradients[last].beta);
  for (size_t i = last; i > 0; --i) {
    const ConvShape& shape = sequence.shapes[i];
    NormGradient before = gradient_of(i - 1);
    const Normalizer norm = before.normalizer(sequence.activations[i - 1]);
    const KernelInput input(saved[i - 1].raw, &norm);
    float* dinput = scratch + ((last - i) % 2) * largest_input(sequence);
    const auto compute = pointwise(shape) ? pointwise_gradients_between : depthwise_gradients_between;
    compute(shape, gradient, sequence.activations[i], before, input, stages[i].weights, saved[i].raw, dy, dinput,
            gradients[i].weights);
    before.finish(gradients[i - 1].gamma, gradients[i - 1].beta);
    gradient = std::move(before);
    dy = dinput;
  }
  convolve_norm_gradients(sequence.shapes[0], gradient, x, stages[0].weights, saved[0].raw, dy, sequence.activations[0],
                          dx, gradients[0].weights);
}

}  // namespace ppzoo
