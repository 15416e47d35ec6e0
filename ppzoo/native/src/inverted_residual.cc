// An inverted residual (Sandler et al., arXiv:1801.04381) as one: 1x1 convolution, depthwise convolution and 1x1
// convolution, each with batch norm. Of the wide tensors between them only the raw results are kept; what a norm makes
// of them is computed where it is read, forward and backward, and their gradients are used up where they are made. That
// takes away most of what goes through memory, which is what such a block waits for.
#include "pointwise.h"

namespace ppzoo {

void inverted_residual(const InvertedResidual& block, const float* x, const std::vector<NormedWeights>& stages,
                       const std::vector<StageResult>& results, float* y) {
  const auto settled = [&](int stage, const Moments& moments) {
    return settle(moments, stages[stage].norm, block.activations[stage], results[stage].mean,
                  results[stage].inverse_std);
  };
  const ConvShape &expand = block.shapes[0], &filter = block.shapes[1], &project = block.shapes[2];
  float *expanded = results[0].raw, *filtered = results[1].raw, *projected = results[2].raw;
  const Normaliser first = settled(0, pointwise_convolve_moments(expand, x, stages[0].weights, expanded));
  const Normaliser second =
      settled(1, depthwise_convolve_moments(filter, {expanded, &first}, stages[1].weights, filtered));
  const Normaliser third =
      settled(2, pointwise_convolve_moments(project, {filtered, &second}, stages[2].weights, projected));
  third.all(projected, block.shortcut ? x : nullptr, project.output_size() / project.out_channels, y);
}

void inverted_residual_gradients(const InvertedResidual& block, const float* x,
                                 const std::vector<NormedWeights>& stages, const std::vector<StageResult>& results,
                                 const float* dy, const std::vector<StageGradient>& gradients, float* dx) {
  const auto gradient_of = [&](int stage) {
    const int64_t channels = block.shapes[stage].out_channels, rows = block.shapes[stage].output_size() / channels;
    const NormParameters& norm = stages[stage].norm;
    return NormGradient(channels, rows, norm.gamma, norm.beta, results[stage].mean, results[stage].inverse_std);
  };
  const ConvShape &expand = block.shapes[0], &filter = block.shapes[1], &project = block.shapes[2];
  const float *expanded = results[0].raw, *filtered = results[1].raw, *projected = results[2].raw;
  const auto [first_act, second_act, third_act] = block.activations;
  const int64_t in = project.channels, out = project.out_channels, pixels = project.output_size() / out;

  NormGradient third = gradient_of(2);
  third.add(projected, nullptr, dy, third_act, nullptr);
  third.finish(gradients[2].gamma, gradients[2].beta);
  float* dprojected = buffer(Purpose::kGradient, project.output_size());
  third.apply(projected, dy, third_act, pixels, dprojected);

  NormGradient second = gradient_of(1);
  const Normaliser second_norm = second.normaliser(second_act);
  pointwise_gradients_to(second, second_act, project, {filtered, &second_norm}, stages[2].weights, dprojected,
                         gradients[2].weights);
  second.finish(gradients[1].gamma, gradients[1].beta);

  NormGradient first = gradient_of(0);
  const Normaliser first_norm = first.normaliser(first_act);
  const Panels projecting = Panels::backward(stages[2].weights, in, out);
  const int64_t width = filter.out_width(), room = width * in;
  float* rooms = buffer(Purpose::kProducts, room * threads());
  const auto make_row = [&](int thread, int64_t image, int64_t row, float* to) {
    const int64_t start = (image * filter.out_height() + row) * width;
    float* dnormed = rooms + thread * room;
    projecting.multiply(dprojected + start * out, width, dnormed);
    second.apply_rows(filtered + start * in, dnormed, second_act, width, to);
  };
  const auto filter_gradients = [&](auto&& place, auto&& take) {
    const GradientRows rows{make_row, place, take};
    depthwise_gradients(filter, {expanded, &first_norm}, stages[1].weights, rows, gradients[1].weights);
  };
  const float* residual = block.shortcut ? dy : nullptr;
  const StageGradient& found = gradients[0];
  if (ExpansionGradient::pays(expand)) {
    ExpansionGradient expanding(expand, first, first_act, x, stages[0].weights, expanded, filter.width, dx);
    filter_gradients([&](int thread, int64_t pixel) { return expanding.place(thread, pixel); },
                     [&](int thread, int64_t pixel) { expanding.take(thread, pixel); });
    expanding.finish(residual, found.gamma, found.beta, found.weights);
  } else {
    float* dexpanded = buffer(Purpose::kInner, expand.output_size());
    filter_gradients([&](int, int64_t pixel) { return dexpanded + pixel * in; },
                     [&](int thread, int64_t pixel) {
                       const int64_t start = pixel * in;
                       first.add_rows(thread, expanded + start, nullptr, dexpanded + start, first_act, filter.width,
                                      nullptr);
                     });
    first.finish(found.gamma, found.beta);
    pointwise_gradients(expand, first, first_act, x, stages[0].weights, expanded, dexpanded, dx, found.weights);
    if (residual != nullptr && dx != nullptr) accumulate(residual, expand.source_size(), dx);
  }
}

}  // namespace ppzoo
