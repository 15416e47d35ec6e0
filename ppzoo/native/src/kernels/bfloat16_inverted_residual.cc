// An inverted residual as one operator on bfloat16 images; see inverted_residual.cc.
//
// The convolutions' outputs before their norms are saved, in bfloat16. Normalized tensors are not: they are computed
// where they are read, forward and backward, for a row of the depthwise convolution, or for a part of the batch whose
// values stay in the cache until oneDNN's 1x1 convolution reads them.
//
// Forward: expansion and its statistics, part by part; depthwise convolution of the normalized expansion; projection of
// the normalized result, part by part. Backward in reverse order: each norm's first pass is part of the loop that
// computes the gradient of its output, and its second pass is part of the loop that reads it.
#include "kernels/bfloat16_inverted_residual.h"

#include <algorithm>
#include <optional>

#include "kernels/bfloat16_convolution.h"
#include "kernels/bfloat16_depthwise.h"
#include "kernels/integer_math.h"
#include "kernels/parallel.h"
#include "kernels/threads.h"
#include "kernels/workspace.h"

namespace ppzoo {
namespace {

// Bytes of a part of a wide tensor per thread: a second-level cache holds them.
constexpr int64_t kPartBytes = 1 << 20;

Bfloat16* halves(WorkspaceSlot slot, int64_t count) {
  return static_cast<Bfloat16*>(reserve_workspace(slot, sizeof(Bfloat16) * count));
}

// Calls body(first image, shape) for parts of the batch; `wide`: elements of an image in the wide tensor.
template <class Body>
void for_parts(const ConvShape& s, int64_t wide, const Body& body) {
  const int64_t most = kPartBytes * max_threads() / static_cast<int64_t>(sizeof(Bfloat16)) / wide;
  const int64_t part = equal_part_size(s.images, most);
  for (int64_t image = 0; image < s.images; image += part) body(image, s.with_images(std::min(part, s.images - image)));
}

int64_t input_of_one(const ConvShape& s) { return s.input_size() / s.images; }
int64_t output_of_one(const ConvShape& s) { return s.output_size() / s.images; }

// Adds rows of a part of the batch to the first pass of a norm without a residual, and replaces dy, the gradient of the
// norm's output, by that of the activation's argument.
void add_part(NormGradient& norm, const Bfloat16* raw, Activation activation, int64_t rows, int64_t channels,
              Bfloat16* dy) {
  parallel_for(rows, rows * channels, [&](int thread, int64_t begin, int64_t end) {
    Bfloat16* part = dy + begin * channels;
    const Bfloat16* gradient = part;
    norm.add_rows(thread, raw + begin * channels, nullptr, gradient, activation, end - begin, part);
  });
}

// The block's shapes and tensors under the names that both passes use.
struct Block {
  const InvertedResidual& block;
  const std::vector<StageWeights>& stages;
  const std::vector<Bfloat16SavedStage>& saved;
  const ConvShape &expand = block.shapes[0], &filter = block.shapes[1], &project = block.shapes[2];

  Normalizer finalize(int stage, const Statistics& batch) const {
    return finalize_statistics(batch, stages[stage].norm, block.activations[stage], saved[stage].mean,
                               saved[stage].inverse_std);
  }
  NormGradient gradient_of(int stage) const {
    const NormParameters& norm = stages[stage].norm;
    const ConvShape& s = block.shapes[stage];
    return {s.out_channels, s.output_pixels(), norm.gamma, norm.beta, saved[stage].mean, saved[stage].inverse_std};
  }
};

// Writes the output of a 1x1 convolution of norm(x), or of x without a norm, and returns its statistics. `wide`: as in
// for_parts.
Statistics convolve_parts(const ConvShape& s, int64_t wide, const Bfloat16* x, const Normalizer* norm,
                          const float* weights, Bfloat16* raw) {
  std::optional<Moments> moments;
  for_parts(s, wide, [&](int64_t image, const ConvShape& part) {
    const Bfloat16* from = x + image * input_of_one(s);
    if (norm != nullptr) {
      Bfloat16* normed = halves(WorkspaceSlot::kInputBlocks, part.input_size());
      norm->apply(from, nullptr, part.input_pixels(), normed);
      from = normed;
    }
    Bfloat16* to = raw + image * output_of_one(s);
    bfloat16_convolve(part, from, weights, to);
    const Bfloat16* convolved = to;
    if (!moments) moments.emplace(s.out_channels, convolved, s.output_pixels());
    moments->add(convolved, part.output_pixels());
  });
  return moments->statistics();
}

// Returns the gradient of the projection's output, in the workspace, and writes the gradients of the last norm.
const Bfloat16* projection_output_gradient(const Block& b, const Bfloat16* dy, const StageGradient& to) {
  const Bfloat16* raw = b.saved[2].raw;
  const Activation activation = b.block.activations[2];
  NormGradient norm = b.gradient_of(2);
  norm.add(raw, nullptr, dy, activation, nullptr);
  norm.finish(to.gamma, to.beta);
  Bfloat16* draw = halves(WorkspaceSlot::kOutputGradient, b.project.output_size());
  norm.apply(raw, dy, activation, b.project.output_pixels(), draw);
  return draw;
}

// Writes the gradients of the projection's weights and of the argument of the second activation (`dfiltered`), and adds
// the latter to the first pass over the second norm.
void projection_gradients(const Block& b, const Bfloat16* dprojected, NormGradient& second, float* dweights,
                          Bfloat16* dfiltered) {
  const Normalizer normalizer = second.normalizer(b.block.activations[1]);
  const ConvShape& s = b.project;
  for_parts(s, input_of_one(s), [&](int64_t image, const ConvShape& part) {
    const Bfloat16 *raw = b.saved[1].raw + image * input_of_one(s), *dy = dprojected + image * output_of_one(s);
    Bfloat16* dx = dfiltered + image * input_of_one(s);
    Bfloat16* normed = halves(WorkspaceSlot::kInputBlocks, part.input_size());
    normalizer.apply(raw, nullptr, part.input_pixels(), normed);
    bfloat16_weight_gradient(part, normed, dy, image > 0, dweights);
    bfloat16_input_gradient(part, b.stages[2].weights, dy, dx);
    add_part(second, raw, b.block.activations[1], part.input_pixels(), s.channels, dx);
  });
}

// Writes the gradients of the expansion's weights and input. `first`: its norm after the first pass; `dexpanded`: the
// gradient of its activation's argument.
void expansion_gradients(const Block& b, const NormGradient& first, const Bfloat16* x, const Bfloat16* dexpanded,
                         float* dweights, Bfloat16* dx) {
  const ConvShape& s = b.expand;
  for_parts(s, output_of_one(s), [&](int64_t image, const ConvShape& part) {
    Bfloat16* draw = halves(WorkspaceSlot::kInputBlocks, part.output_size());
    first.apply(static_cast<const Bfloat16*>(b.saved[0].raw) + image * output_of_one(s),
                dexpanded + image * output_of_one(s), Activation::kNone, part.output_pixels(), draw);
    bfloat16_weight_gradient(part, x + image * input_of_one(s), draw, image > 0, dweights);
    if (dx != nullptr) bfloat16_input_gradient(part, b.stages[0].weights, draw, dx + image * input_of_one(s));
  });
}

void zero_gradients(const InvertedResidual& block, const std::vector<StageGradient>& gradients, Bfloat16* dx) {
  for (int stage = 0; stage < 3; ++stage) {
    const ConvShape& shape = block.shapes[stage];
    std::fill_n(gradients[stage].weights, shape.weight_size(), 0.0f);
    std::fill_n(gradients[stage].gamma, shape.out_channels, 0.0f);
    std::fill_n(gradients[stage].beta, shape.out_channels, 0.0f);
  }
  if (dx != nullptr) std::fill_n(dx, block.shapes[0].input_size(), Bfloat16{});
}

}  // namespace

void bfloat16_inverted_residual(const InvertedResidual& block, const Bfloat16* x,
                                const std::vector<StageWeights>& stages, const std::vector<Bfloat16SavedStage>& saved,
                                Bfloat16* y) {
  if (block.shapes[2].empty()) return;
  const Block b{block, stages, saved};
  const Normalizer first =
      b.finalize(0, convolve_parts(b.expand, output_of_one(b.expand), x, nullptr, stages[0].weights, saved[0].raw));
  const Normalizer second = b.finalize(
      1, bfloat16_depthwise_statistics(b.filter, {saved[0].raw, &first}, stages[1].weights, saved[1].raw));
  const Bfloat16 *filtered = saved[1].raw, *projected = saved[2].raw;
  const Normalizer third = b.finalize(
      2, convolve_parts(b.project, input_of_one(b.project), filtered, &second, stages[2].weights, saved[2].raw));
  third.apply(projected, block.shortcut ? x : nullptr, b.project.output_pixels(), y);
}

void bfloat16_inverted_residual_gradients(const InvertedResidual& block, const Bfloat16* x,
                                          const std::vector<StageWeights>& stages,
                                          const std::vector<Bfloat16SavedStage>& saved, const Bfloat16* dy,
                                          const std::vector<StageGradient>& gradients, Bfloat16* dx) {
  if (block.shapes[2].empty()) return zero_gradients(block, gradients, dx);
  const Block b{block, stages, saved};
  const Bfloat16* dprojected = projection_output_gradient(b, dy, gradients[2]);
  Bfloat16* dfiltered = halves(WorkspaceSlot::kOutputBlocks, b.project.input_size());
  NormGradient second = b.gradient_of(1);
  projection_gradients(b, dprojected, second, gradients[2].weights, dfiltered);
  second.finish(gradients[1].gamma, gradients[1].beta);

  Bfloat16* dexpanded = halves(WorkspaceSlot::kExpansionGradient, b.expand.output_size());
  NormGradient first = b.gradient_of(0);
  const Normalizer first_norm = first.normalizer(block.activations[0]);
  bfloat16_depthwise_gradients(b.filter, {saved[0].raw, &first_norm}, stages[1].weights,
                               {dfiltered, &second, Activation::kNone, saved[1].raw},
                               {dexpanded, gradients[1].weights, false, &first, block.activations[0]});
  first.finish(gradients[0].gamma, gradients[0].beta);
  expansion_gradients(b, first, x, dexpanded, gradients[0].weights, dx);
  if (block.shortcut && dx != nullptr) add_values(dx, dy, b.expand.input_size(), dx);
}

}  // namespace ppzoo
