// An inverted residual as one operator on bfloat16 images; see inverted_residual.cc.
//
// The forward pass saves the convolutions' outputs before their norms, in bfloat16. The output of the expansion is
// saved only if it is small: a large one is computed again from x for each part of the batch that a loop reads
// (expanded_part), as reading it from memory takes longer than the product. Normalized tensors are not saved. They are
// computed when they are read, forward and backward: row by row for the depthwise convolution, and for one part of the
// batch at a time for 1x1 convolutions, so that the part stays in the cache until oneDNN reads it.
//
// Layout: NHWC. Loop nest: parts of the batch (for_parts) -> the kernels of bfloat16_convolution.cc,
// bfloat16_depthwise.cc and batch_norm.cc, which have the inner loops and are parallel.
//
// Forward: expansion and its statistics; depthwise convolution of the normalized expansion; projection of the
// normalized result. Backward: the same in reverse order. The first pass of each norm is part of the loop that computes
// the gradient of the norm's output, and its second pass is part of the loop that reads the gradient of its input.
#include "kernels/bfloat16_inverted_residual.h"

#include <algorithm>
#include <optional>

#include "kernels/bfloat16_convolution.h"
#include "kernels/bfloat16_depthwise.h"
#include "kernels/expansion.h"
#include "kernels/integer_math.h"
#include "kernels/parallel.h"
#include "kernels/sums.h"
#include "kernels/threads.h"
#include "kernels/workspace.h"

namespace ppzoo {
namespace {

// Bytes of a part of a wide tensor per thread: they fit into the L2 cache.
constexpr int64_t kPartBytes = 1 << 20;

Bfloat16* halves(WorkspaceSlot slot, int64_t count) {
  return static_cast<Bfloat16*>(reserve_workspace(slot, sizeof(Bfloat16) * count));
}

// Calls body(first image, shape) for parts of the batch, of at least one image per thread. `wide`: the number of
// elements of one image in the wide tensor.
template <class Body>
void for_parts(const ConvShape& s, int64_t wide, const Body& body) {
  const int64_t most = kPartBytes * max_threads() / static_cast<int64_t>(sizeof(Bfloat16)) / wide;
  const int64_t part = round_up(equal_part_size(s.images, most), max_threads());
  for (int64_t image = 0; image < s.images; image += part) body(image, s.with_images(std::min(part, s.images - image)));
}

int64_t input_of_one(const ConvShape& s) { return s.input_size() / s.images; }
int64_t output_of_one(const ConvShape& s) { return s.output_size() / s.images; }

// Adds rows of a part of the batch to the first pass of a norm without a residual.
void add_part(NormGradient& norm, const Bfloat16* raw, const Bfloat16* dy, Activation activation, int64_t rows,
              int64_t channels) {
  parallel_for(rows, rows * channels, [&](int thread, int64_t begin, int64_t end) {
    const int64_t start = begin * channels;
    norm.add_rows(thread, raw + start, nullptr, dy + start, activation, end - begin, nullptr);
  });
}

// The block's shapes and tensors under the names that both passes use.
template <class SavedStage>
struct Block {
  const InvertedResidual& block;
  const StageWeights* stages;
  const SavedStage* saved;
  const Bfloat16* x;
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
using ForwardBlock = Block<Bfloat16StageToSave>;
using BackwardBlock = Block<Bfloat16StageToRead>;

bool saves_expansion(const InvertedResidual& block) { return !recomputes_expansion(block.shapes[0]); }

// Computes the expansion of the images from `image` on, and returns it. It is written to `to`, or to slot kInputBlocks
// if that is null.
template <class AnyBlock>
const Bfloat16* expand_part(const AnyBlock& b, int64_t image, const ConvShape& part, Bfloat16* to = nullptr) {
  if (to == nullptr) to = halves(WorkspaceSlot::kInputBlocks, part.output_size());
  convolve(part, b.x + image * input_of_one(b.expand), b.stages[0].weights, nullptr, to);
  return to;
}

// Returns the expansion in the backward pass: the saved one, or else the one that is computed again.
const Bfloat16* expanded_part(const BackwardBlock& b, int64_t image, const ConvShape& part) {
  return saves_expansion(b.block) ? b.saved[0].raw + image * output_of_one(b.expand) : expand_part(b, image, part);
}

Statistics expansion_statistics(const ForwardBlock& b) {
  const ConvShape& s = b.expand;
  std::optional<Moments> moments;
  for_parts(s, output_of_one(s), [&](int64_t image, const ConvShape& part) {
    Bfloat16* to = saves_expansion(b.block) ? b.saved[0].raw + image * output_of_one(s) : nullptr;
    const Bfloat16* raw = expand_part(b, image, part, to);
    if (!moments) moments.emplace(s.out_channels, raw, s.output_pixels());
    moments->add(raw, part.output_pixels());
  });
  return moments->statistics();
}

// Writes the output of the depthwise convolution, and returns its statistics.
Statistics filter_statistics(const ForwardBlock& b, const Normalizer& norm) {
  const float* weights = b.stages[1].weights;
  Bfloat16* filtered = b.saved[1].raw;
  if (saves_expansion(b.block)) {
    return bfloat16_depthwise_statistics(b.filter, {b.saved[0].raw, &norm}, weights, filtered);
  }
  std::optional<Moments> moments;
  for_parts(b.expand, output_of_one(b.expand), [&](int64_t image, const ConvShape& part) {
    const Bfloat16Input input{expand_part(b, image, part), &norm};
    const ConvShape filter = b.filter.with_images(part.images);
    Bfloat16* to = filtered + image * output_of_one(b.filter);
    bfloat16_depthwise_convolve(filter, input, weights, to, moments ? &*moments : nullptr);
    if (moments) return;
    const Bfloat16* first = to;
    moments.emplace(filter.out_channels, first, b.filter.output_pixels());
    moments->add(first, filter.output_pixels());
  });
  return moments->statistics();
}

// Writes the output of the projection, and returns its statistics.
Statistics project_statistics(const ForwardBlock& b, const Normalizer& norm) {
  const ConvShape& s = b.project;
  std::optional<Moments> moments;
  for_parts(s, input_of_one(s), [&](int64_t image, const ConvShape& part) {
    const Bfloat16* filtered = b.saved[1].raw + image * input_of_one(s);
    Bfloat16* normed = halves(WorkspaceSlot::kInputBlocks, part.input_size());
    Bfloat16* to = b.saved[2].raw + image * output_of_one(s);
    norm.apply(filtered, nullptr, part.input_pixels(), normed);
    convolve(part, normed, b.stages[2].weights, nullptr, to);
    const Bfloat16* projected = to;
    if (!moments) moments.emplace(s.out_channels, projected, s.output_pixels());
    moments->add(projected, part.output_pixels());
  });
  return moments->statistics();
}

// Returns the gradient of the projection's output, in the workspace, and writes the gradients of the last norm.
const Bfloat16* projection_output_gradient(const BackwardBlock& b, const Bfloat16* dy, const StageGradient& to) {
  const Bfloat16* raw = b.saved[2].raw;
  const Activation activation = b.block.activations[2];
  NormGradient norm = b.gradient_of(2);
  norm.add(raw, nullptr, dy, activation, nullptr);
  norm.finish(to.gamma, to.beta);
  Bfloat16* draw = halves(WorkspaceSlot::kOutputGradient, b.project.output_size());
  norm.apply(raw, dy, activation, b.project.output_pixels(), draw);
  return draw;
}

// Writes the gradient of the projection's weights. Adds the gradient of the projection's input to the first pass over
// the second norm, and also writes it to `dfiltered` unless that is null.
void projection_gradients(const BackwardBlock& b, const Bfloat16* dprojected, NormGradient& second, float* dweights,
                          Bfloat16* dfiltered) {
  const Activation activation = b.block.activations[1];
  const Normalizer normalizer = second.normalizer(activation);
  const ConvShape& s = b.project;
  for_parts(s, input_of_one(s), [&](int64_t image, const ConvShape& part) {
    const Bfloat16 *raw = b.saved[1].raw + image * input_of_one(s), *dy = dprojected + image * output_of_one(s);
    Bfloat16* normed = halves(WorkspaceSlot::kInputBlocks, part.input_size());
    normalizer.apply(raw, nullptr, part.input_pixels(), normed);
    convolve_weight_gradient(part, normed, dy, image > 0, dweights);
    Bfloat16* dx = dfiltered != nullptr ? dfiltered + image * input_of_one(s) : normed;
    convolve_input_gradient(part, b.stages[2].weights, dy, dx);
    add_part(second, raw, dx, activation, part.input_pixels(), s.channels);
  });
}

// Writes the gradients of the depthwise convolution. `dfiltered`: the gradient of the projection's input; null if it is
// computed again from `dprojected`. `dexpanded`: the gradient of the first activation's argument.
void filter_gradients(const BackwardBlock& b, const Bfloat16* dprojected, const Bfloat16* dfiltered,
                      const NormGradient& second, NormGradient& first, float* dweights, Bfloat16* dexpanded) {
  const auto [first_act, second_act, third_act] = b.block.activations;
  const Normalizer norm = first.normalizer(first_act);
  const auto compute = [&](int64_t image, const ConvShape& part) {
    const Bfloat16* raw = expanded_part(b, image, part);
    const Bfloat16* gradient = dfiltered;
    if (dfiltered == nullptr) {
      const ConvShape project = b.project.with_images(part.images);
      Bfloat16* to = halves(WorkspaceSlot::kOutputBlocks, project.input_size());
      convolve_input_gradient(project, b.stages[2].weights, dprojected + image * output_of_one(b.project), to);
      gradient = to;
    }
    const Bfloat16* filtered = b.saved[1].raw + image * output_of_one(b.filter);
    bfloat16_depthwise_gradients(b.filter.with_images(part.images), {raw, &norm}, b.stages[1].weights,
                                 {gradient, &second, second_act, filtered},
                                 {dexpanded + image * output_of_one(b.expand), dweights, image > 0, &first, first_act});
  };
  if (dfiltered != nullptr) return compute(0, b.expand);
  for_parts(b.expand, output_of_one(b.expand), compute);
}

// Writes the gradients of the expansion's weights and input. `first`: the gradient of the expansion's norm after the
// first pass; `dexpanded`: the gradient of the argument of its activation.
void expansion_gradients(const BackwardBlock& b, const NormGradient& first, const Bfloat16* dexpanded, float* dweights,
                         Bfloat16* dx) {
  const ConvShape& s = b.expand;
  for_parts(s, output_of_one(s), [&](int64_t image, const ConvShape& part) {
    const Bfloat16* raw = expanded_part(b, image, part);
    Bfloat16* draw = halves(WorkspaceSlot::kOutputBlocks, part.output_size());
    first.apply(raw, dexpanded + image * output_of_one(s), Activation::kNone, part.output_pixels(), draw);
    convolve_weight_gradient(part, b.x + image * input_of_one(s), draw, image > 0, dweights);
    if (dx != nullptr) convolve_input_gradient(part, b.stages[0].weights, draw, dx + image * input_of_one(s));
  });
}

void zero_gradients(const InvertedResidual& block, const StageGradient* gradients, Bfloat16* dx) {
  for (int stage = 0; stage < 3; ++stage) {
    const ConvShape& shape = block.shapes[stage];
    std::fill_n(gradients[stage].weights, shape.weight_size(), 0.0f);
    std::fill_n(gradients[stage].gamma, shape.out_channels, 0.0f);
    std::fill_n(gradients[stage].beta, shape.out_channels, 0.0f);
  }
  if (dx != nullptr) std::fill_n(dx, block.shapes[0].input_size(), Bfloat16{});
}

}  // namespace

int64_t bfloat16_saved_elements(const InvertedResidual& block, int stage) {
  return stage > 0 || saves_expansion(block) ? block.shapes[stage].output_size() : 0;
}

void bfloat16_inverted_residual(const InvertedResidual& block, const Bfloat16* x, const StageWeights* stages,
                                const Bfloat16StageToSave* saved, Bfloat16* y) {
  if (block.shapes[2].empty()) return;
  const ForwardBlock b{block, stages, saved, x};
  const Normalizer first = b.finalize(0, expansion_statistics(b));
  const Normalizer second = b.finalize(1, filter_statistics(b, first));
  const Normalizer third = b.finalize(2, project_statistics(b, second));
  const Bfloat16* projected = saved[2].raw;
  third.apply(projected, block.shortcut ? x : nullptr, b.project.output_pixels(), y);
}

void bfloat16_inverted_residual_gradients(const InvertedResidual& block, const Bfloat16* x, const StageWeights* stages,
                                          const Bfloat16StageToRead* saved, const Bfloat16* dy,
                                          const StageGradient* gradients, Bfloat16* dx) {
  if (block.shapes[2].empty()) return zero_gradients(block, gradients, dx);
  const BackwardBlock b{block, stages, saved, x};
  const Bfloat16* dprojected = projection_output_gradient(b, dy, gradients[2]);
  Bfloat16* dfiltered = saves_expansion(block) ? halves(WorkspaceSlot::kOutputBlocks, b.project.input_size()) : nullptr;
  NormGradient second = b.gradient_of(1), first = b.gradient_of(0);
  projection_gradients(b, dprojected, second, gradients[2].weights, dfiltered);
  second.finish(gradients[1].gamma, gradients[1].beta);

  Bfloat16* dexpanded = halves(WorkspaceSlot::kExpansionGradient, b.expand.output_size());
  filter_gradients(b, dprojected, dfiltered, second, first, gradients[1].weights, dexpanded);
  first.finish(gradients[0].gamma, gradients[0].beta);
  expansion_gradients(b, first, dexpanded, gradients[0].weights, dx);
  if (block.shortcut && dx != nullptr) add_activate(dx, dy, Activation::kNone, b.expand.input_size(), dx);
}

}  // namespace ppzoo
