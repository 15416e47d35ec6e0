// An inverted residual (Sandler et al., arXiv:1801.04381) as one: 1x1 convolution, depthwise convolution and 1x1
// convolution, each with batch norm. Of the wide tensors between them only the raw results are kept, and that of the
// first only where it is small; what a norm makes of them is computed where it is read, forward and backward, and their
// gradients are used up where they are made. That takes away most of what goes through memory, which is what such a
// block waits for.
#include <algorithm>

#include "expansion.h"
#include "kernels.h"
#include "pointwise.h"

namespace ppzoo {
namespace {

// The covariance of the block's input, which is kept instead of the expansion's result where that is made again.
Covariance covariance_in(const InvertedResidual& block, const std::vector<StageResult>& results) {
  const ConvShape& expand = block.shapes[0];
  return {expand.source_pixels(), expand.channels, reinterpret_cast<double*>(results[0].raw)};
}

void no_gradients(const InvertedResidual& block, const std::vector<StageGradient>& gradients, float* dx) {
  for (int stage = 0; stage < 3; ++stage) {
    const ConvShape& shape = block.shapes[stage];
    std::fill_n(gradients[stage].weights, shape.weight_size(), 0.0f);
    std::fill_n(gradients[stage].gamma, shape.out_channels, 0.0f);
    std::fill_n(gradients[stage].beta, shape.out_channels, 0.0f);
  }
  if (dx != nullptr) std::fill_n(dx, block.shapes[0].source_size(), 0.0f);
}

}  // namespace

int64_t kept_elements(const InvertedResidual& block, int stage) {
  const ConvShape& shape = block.shapes[stage];
  if (stage > 0 || !made_again(shape)) return shape.output_size();
  return Covariance::size(shape.channels) * static_cast<int64_t>(sizeof(double) / sizeof(float));
}

void inverted_residual(const InvertedResidual& block, const float* x, const std::vector<NormedWeights>& stages,
                       const std::vector<StageResult>& results, float* y) {
  if (block.shapes[2].empty()) return;
  const auto settled = [&](int stage, const Statistics& batch) {
    return settle(batch, stages[stage].norm, block.activations[stage], results[stage].mean, results[stage].inverse_std);
  };
  const ConvShape &expand = block.shapes[0], &filter = block.shapes[1], &project = block.shapes[2];
  float *expanded = results[0].raw, *filtered = results[1].raw, *projected = results[2].raw;
  const auto filter_all = [&](const Input& input) {
    return settled(1, depthwise_convolve_statistics(filter, input, stages[1].weights, filtered));
  };
  const auto expand_and_filter = [&] {
    const float* weights = stages[0].weights;
    if (!made_again(expand)) {
      const Normalizer norm = settled(0, pointwise_convolve_statistics(expand, x, weights, expanded));
      return filter_all({expanded, &norm});
    }
    const Covariance covariance = covariance_in(block, results);
    covariance.of(x);
    const Normalizer norm = settled(0, covariance.product(weights, expand.out_channels));
    const Panels panels = Panels::forward(weights, expand.channels, expand.out_channels);
    return filter_all({x, &norm, &panels});
  };
  const Normalizer second = expand_and_filter();
  const Normalizer third =
      settled(2, pointwise_convolve_statistics(project, {filtered, &second}, stages[2].weights, projected));
  third.all(projected, block.shortcut ? x : nullptr, project.output_pixels(), y);
}

void inverted_residual_gradients(const InvertedResidual& block, const float* x,
                                 const std::vector<NormedWeights>& stages, const std::vector<StageResult>& results,
                                 const float* dy, const std::vector<StageGradient>& gradients, float* dx) {
  if (block.shapes[2].empty()) return no_gradients(block, gradients, dx);
  const auto gradient_of = [&](int stage) {
    const int64_t channels = block.shapes[stage].out_channels, rows = block.shapes[stage].output_pixels();
    const NormParameters& norm = stages[stage].norm;
    return NormGradient(channels, rows, norm.gamma, norm.beta, results[stage].mean, results[stage].inverse_std);
  };
  const ConvShape &expand = block.shapes[0], &filter = block.shapes[1], &project = block.shapes[2];
  const float *expanded = results[0].raw, *filtered = results[1].raw, *projected = results[2].raw;
  const auto [first_act, second_act, third_act] = block.activations;
  const int64_t in = expand.channels, wide = project.channels, out = project.out_channels;

  NormGradient third = gradient_of(2);
  third.add(projected, nullptr, dy, third_act, nullptr);
  third.finish(gradients[2].gamma, gradients[2].beta);
  float* dprojected = buffer(Purpose::kGradient, project.output_size());
  third.apply(projected, dy, third_act, project.output_pixels(), dprojected);

  NormGradient second = gradient_of(1);
  pointwise_gradients_to(second, second_act, project, filtered, stages[2].weights, dprojected, gradients[2].weights);
  second.finish(gradients[1].gamma, gradients[1].beta);

  NormGradient first = gradient_of(0);
  const Normalizer first_norm = first.normalizer(first_act);
  const Panels projecting = Panels::backward(stages[2].weights, wide, out);
  const int64_t width = filter.out_width(), room = width * wide;
  float* rooms = buffer(Purpose::kProducts, room * threads());
  const auto make_row = [&](int thread, int64_t image, int64_t row, float* to) {
    const int64_t start = (image * filter.out_height() + row) * width;
    float* dnormed = rooms + thread * room;
    projecting.multiply(dprojected + start * out, width, dnormed);
    second.apply_rows(filtered + start * wide, dnormed, second_act, width, to);
  };
  const float *weights = stages[0].weights, *residual = block.shortcut ? dy : nullptr;
  const StageGradient& found = gradients[0];
  if (made_again(expand)) {
    const Covariance covariance = covariance_in(block, results);
    const Panels panels = Panels::forward(weights, in, wide, Purpose::kInnerWeights);
    ExpansionGradient expanding(expand, first, first_act, x, covariance, weights, filter.width, dx);
    const GradientRows rows{make_row, [&](int thread, int64_t pixel) { return expanding.place(thread, pixel); },
                            [&](int thread, int64_t, const float* raw) { expanding.take(thread, raw); }};
    depthwise_gradients(filter, {x, &first_norm, &panels}, stages[1].weights, rows, gradients[1].weights);
    expanding.finish(residual, found.gamma, found.beta, found.weights);
  } else {
    float* dexpanded = buffer(Purpose::kInner, expand.output_size());
    const GradientRows rows{make_row, [&](int, int64_t pixel) { return dexpanded + pixel * wide; },
                            [&](int thread, int64_t pixel, const float* raw) {
                              const float* gradient = dexpanded + pixel * wide;
                              first.add_rows(thread, raw, nullptr, gradient, first_act, filter.width, nullptr);
                            }};
    depthwise_gradients(filter, {expanded, &first_norm}, stages[1].weights, rows, gradients[1].weights);
    first.finish(found.gamma, found.beta);
    pointwise_gradients(expand, first, first_act, x, weights, expanded, dexpanded, dx, found.weights);
    if (residual != nullptr && dx != nullptr) accumulate(residual, expand.source_size(), dx);
  }
}

}  // namespace ppzoo
