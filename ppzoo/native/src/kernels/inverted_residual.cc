// An inverted residual block (Sandler et al., arXiv:1801.04381) as one operator: expansion, depthwise convolution and
// projection, each with batch norm and activation.
//
// Such a block is limited by memory bandwidth, so the wide tensors between the convolutions are read from and written
// to memory as rarely as possible. The forward pass saves only the convolutions' outputs before their norms. It saves
// that of the expansion only if it is small; a large one is recomputed from x (see expansion.h). Normalized tensors are
// computed when they are read, forward and backward, and the gradients of the wide tensors are used row by row when
// they are computed.
//
// Forward, three passes: expansion and its statistics; depthwise convolution of the normalized expansion; projection of
// the normalized result. Squeeze-and-excitation adds a pass before the projection (see gated_projection.cc). Backward,
// the same in reverse order.
//
// Layout: NHWC. pointwise.cc, depthwise.cc and expansion.cc describe the loop nest and the blocking of each pass, and
// what is parallel.
#include "kernels/inverted_residual.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "kernels/depthwise.h"
#include "kernels/elementwise.h"
#include "kernels/expansion.h"
#include "kernels/pointwise.h"
#include "kernels/pointwise_blocks.h"
#include "kernels/threads.h"
#include "kernels/workspace.h"

namespace ppzoo {
namespace {

void zero_gradients(const InvertedResidual& block, const StageGradient* gradients, float* dx,
                    const GatesBackward* gates) {
  for (int stage = 0; stage < 3; ++stage) {
    const ConvShape& shape = block.shapes[stage];
    std::fill_n(gradients[stage].weights, shape.weight_size(), 0.0f);
    std::fill_n(gradients[stage].gamma, shape.out_channels, 0.0f);
    std::fill_n(gradients[stage].beta, shape.out_channels, 0.0f);
  }
  if (dx != nullptr) std::fill_n(dx, block.shapes[0].input_size(), 0.0f);
  if (gates == nullptr) return;
  const int64_t channels = gates->block.channels, hidden = gates->block.hidden;
  for (float* weights : {gates->gradients.squeeze, gates->gradients.excite}) {
    std::fill_n(weights, channels * hidden, 0.0f);
  }
  std::fill_n(gates->gradients.squeeze_bias, hidden, 0.0f);
  std::fill_n(gates->gradients.excite_bias, channels, 0.0f);
}

}  // namespace

int64_t saved_elements(const InvertedResidual& block, int stage) {
  const ConvShape& shape = block.shapes[stage];
  if (stage > 0 || !recomputes_expansion(shape)) return shape.output_size();
  return Covariance::size(shape.channels) * static_cast<int64_t>(sizeof(double) / sizeof(float));
}

void inverted_residual(const InvertedResidual& block, const float* x, const StageWeights* stages,
                       const SavedStage<float>* saved, float* y, const GatesForward* gates) {
  if (block.shapes[2].empty()) return;
  const auto finalize = [&](int stage, const Statistics& batch) {
    return finalize_statistics(batch, stages[stage].norm, block.activations[stage], saved[stage].mean,
                               saved[stage].inverse_std);
  };
  const ConvShape &expand = block.shapes[0], &filter = block.shapes[1], &project = block.shapes[2];
  float *expanded = saved[0].raw, *filtered = saved[1].raw, *projected = saved[2].raw;
  const auto filter_and_finalize = [&](const KernelInput& input) {
    return finalize(1, depthwise_convolve_statistics(filter, input, stages[1].weights, filtered));
  };
  const auto expand_and_filter = [&] {
    const float* weights = stages[0].weights;
    if (!recomputes_expansion(expand)) {
      const Normalizer norm = finalize(0, pointwise_convolve_statistics(expand, x, weights, expanded));
      return filter_and_finalize({expanded, &norm});
    }
    double* values = reinterpret_cast<double*>(expanded);
    compute_covariance(expand.input_pixels(), expand.channels, x, values);
    const Covariance covariance(expand.input_pixels(), expand.channels, values);
    const Normalizer norm = finalize(0, covariance.product_statistics(weights, expand.out_channels));
    const PackedWeights packed = PackedWeights::forward(weights, expand.channels, expand.out_channels);
    return filter_and_finalize({x, &norm, &packed});
  };
  const Normalizer second = expand_and_filter();
  const std::vector<float> factors =
      gates != nullptr ? gates_after_norm(*gates, filtered, second) : std::vector<float>();
  const int64_t pixels = project.height * project.width;
  const KernelInput to_project =
      gates != nullptr ? KernelInput(filtered, &second, factors.data(), pixels) : KernelInput(filtered, &second);
  const Normalizer third =
      finalize(2, pointwise_convolve_statistics(project, to_project, stages[2].weights, projected));
  third.apply(projected, block.shortcut ? x : nullptr, project.output_pixels(), y);
}

void inverted_residual_gradients(const InvertedResidual& block, const float* x, const StageWeights* stages,
                                 const SavedStage<const float>* saved, const float* dy, const StageGradient* gradients,
                                 float* dx, const GatesBackward* gates) {
  if (block.shapes[2].empty()) return zero_gradients(block, gradients, dx, gates);
  const auto gradient_of = [&](int stage) {
    const int64_t channels = block.shapes[stage].out_channels, rows = block.shapes[stage].output_pixels();
    const NormParameters& norm = stages[stage].norm;
    return NormGradient(channels, rows, norm.gamma, norm.beta, saved[stage].mean, saved[stage].inverse_std);
  };
  const ConvShape &expand = block.shapes[0], &filter = block.shapes[1], &project = block.shapes[2];
  const float *expanded = saved[0].raw, *filtered = saved[1].raw, *projected = saved[2].raw;
  const auto [first_act, second_act, third_act] = block.activations;
  const int64_t in = expand.channels, wide = project.channels, out = project.out_channels;

  NormGradient third = gradient_of(2);
  third.add(projected, nullptr, dy, third_act, nullptr);
  third.finish(gradients[2].gamma, gradients[2].beta);
  float* dprojected = workspace(WorkspaceSlot::kOutputGradient, project.output_size());
  third.apply(projected, dy, third_act, project.output_pixels(), dprojected);

  NormGradient second = gradient_of(1);
  std::optional<GatedProjectionGradient> gated;
  if (gates != nullptr) {
    gated.emplace(project, *gates, second, second_act, filtered, stages[2].weights, dprojected, gradients[2].weights);
  } else {
    pointwise_gradients_to(second, second_act, project, filtered, stages[2].weights, dprojected, gradients[2].weights);
  }
  second.finish(gradients[1].gamma, gradients[1].beta);

  NormGradient first = gradient_of(0);
  const Normalizer first_norm = first.normalizer(first_act);
  std::optional<PackedWeights> projection;
  if (!gated.has_value()) projection.emplace(PackedWeights::backward(stages[2].weights, wide, out));
  const int64_t width = filter.out_width(), buffer_size = width * wide;
  float* buffers = workspace(WorkspaceSlot::kOutputBlocks, buffer_size * max_threads());
  const auto load_row = [&](int thread, int64_t image, int64_t row, float* to) {
    const int64_t start = (image * filter.out_height() + row) * width;
    float* dnormed = buffers + thread * buffer_size;
    if (gated.has_value()) {
      gated->load_rows(image, start, width, dnormed);
    } else {
      projection->multiply(dprojected + start * out, width, dnormed);
    }
    second.apply_rows(filtered + start * wide, dnormed, second_act, width, to);
  };
  const float *weights = stages[0].weights, *residual = block.shortcut ? dy : nullptr;
  const StageGradient& expansion_gradients = gradients[0];
  if (recomputes_expansion(expand)) {
    const Covariance covariance(expand.input_pixels(), in, reinterpret_cast<const double*>(expanded));
    const PackedWeights packed = PackedWeights::forward(weights, in, wide, WorkspaceSlot::kExpansionWeights);
    ExpansionGradient expansion(expand, first, first_act, x, covariance, weights, filter.width, dx);
    const RowCallbacks rows{load_row, [&](int thread, int64_t pixel) { return expansion.row_buffer(thread, pixel); },
                            [&](int thread, int64_t, const float* raw) { expansion.add_row(thread, raw); }};
    depthwise_gradients(filter, {x, &first_norm, &packed}, stages[1].weights, rows, gradients[1].weights);
    expansion.finish(residual, expansion_gradients.gamma, expansion_gradients.beta, expansion_gradients.weights);
  } else {
    float* dexpanded = workspace(WorkspaceSlot::kExpansionGradient, expand.output_size());
    const RowCallbacks rows{load_row, [&](int, int64_t pixel) { return dexpanded + pixel * wide; },
                            [&](int thread, int64_t pixel, const float* raw) {
                              const float* gradient = dexpanded + pixel * wide;
                              first.add_rows(thread, raw, nullptr, gradient, first_act, filter.width, nullptr);
                            }};
    depthwise_gradients(filter, {expanded, &first_norm}, stages[1].weights, rows, gradients[1].weights);
    first.finish(expansion_gradients.gamma, expansion_gradients.beta);
    pointwise_gradients(expand, first, first_act, x, weights, expanded, dexpanded, dx, expansion_gradients.weights);
    if (residual != nullptr && dx != nullptr) accumulate(residual, expand.input_size(), dx);
  }
}

}  // namespace ppzoo
