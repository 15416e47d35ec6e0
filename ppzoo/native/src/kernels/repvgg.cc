// A block of RepVGG in training: a 3x3 convolution, a 1x1 convolution and the identity, each with batch norm, and the
// ReLU of their sum.
//
// Forward: both convolutions with their statistics, the statistics of x, and one pass that writes y (norm_sum.cc).
//
// Backward: one pass computes the sums of all norms. Then, for some images at a time (image_blocks.h), a pass over
// blocks of pixels computes the gradients of the inputs of all norms. The gradient of the 1x1 convolution's output
// stays in the cache, where it is multiplied with weights and inputs. The gradient of the 3x3 convolution's output is
// written for the kernels of that convolution. Each term of dx is added to dx when it is computed.
//
// Layout: NHWC. Backward loop nest: blocks of images -> blocks of pixels (for_blocks, parallel) -> norms, gemm; then
// the 3x3 convolution of the block of images (convolution.cc).
#include "kernels/repvgg.h"

#include <algorithm>

#include "kernels/conv_inputs.h"
#include "kernels/convolution.h"
#include "kernels/convolution_norm.h"
#include "kernels/image_blocks.h"
#include "kernels/norm_sum.h"
#include "kernels/pointwise.h"
#include "kernels/pointwise_blocks.h"
#include "kernels/workspace.h"

namespace ppzoo {
namespace {

// Return the shape and the input of the 1x1 convolution as one without stride. If it has a stride, the input is a copy
// of the covered pixels in slot kCroppedInput.
ConvShape unstrided(const ConvShape& s) { return samples_pixels(s) ? sample_shape(s) : s; }
const float* unstrided_input(const ConvShape& s, const float* x) { return samples_pixels(s) ? copy_sampled(s, x) : x; }

// The tensors of some images.
struct Images {
  RepVggBlock block;
  std::vector<const float*> branches;  // the inputs of the norms
  const float *x, *y, *dy;
  float* dx;
};

// Writes the gradient of the 3x3 convolution's result to `dense_gradient`. Writes the weight gradient of the 1x1
// convolution, or with `add` adds to it. Returns the gradient of the 1x1 convolution's input: without a stride in dx,
// where the gradient of the identity is added to it; with a stride, the gradient of the covered pixels in the
// workspace.
float* pointwise_branch_gradients(const Images& images, const NormSumGradient& norms, const float* weights,
                                  float* dense_gradient, bool add, float* dweights) {
  const ConvShape s = unstrided(images.block.pointwise);
  const int64_t in = s.channels, out = s.out_channels, block = block_rows(in, out) * out;
  const float* x = unstrided_input(images.block.pointwise, images.x);
  float *dx = images.dx, *buffers = workspace(WorkspaceSlot::kOutputBlocks, block * max_threads());
  if (dx != nullptr && x != images.x) dx = workspace(WorkspaceSlot::kSampledGradient, s.input_size());
  const PackedWeights packed = PackedWeights::backward(weights, in, out);
  WeightGradientSums sums(in, out);
  for_blocks(s.input_pixels(), in, out, [&](int thread, int64_t row, int64_t rows) {
    float* gradient = buffers + thread * block;
    std::vector<const float*> from;
    for (const float* branch : images.branches) from.push_back(branch + row * out);
    std::vector<float*> to{dense_gradient + row * out, gradient};
    if (images.block.identity) to.push_back(dx != nullptr ? dx + row * in : nullptr);
    norms.apply_rows(from, images.y + row * out, images.dy + row * out, rows, to);
    if (dx != nullptr) packed.multiply(gradient, rows, dx + row * in, images.block.identity);
    sums.add(thread, x + row * in, gradient, rows);
  });
  sums.finish(add, dweights);
  return dx;
}

// Adds the gradient of the pixels that a strided 1x1 filter covers to the gradient of the input.
void add_sampled(const ConvShape& s, const float* gradient, float* dx) {
  for_sampled_pixels(s, [&](int64_t to, int64_t from) {
    for (int64_t c = 0; c < s.channels; ++c) dx[to + c] += gradient[from + c];
  });
}

}  // namespace

void repvgg(const RepVggBlock& block, const float* x, const RepVggWeights& weights, const RepVggSaved<float>& saved,
            float* y) {
  const int64_t rows = block.dense.output_pixels();
  std::vector<Normalizer> norms;
  const auto finalize = [&](const Statistics& batch) {
    const size_t branch = norms.size();
    norms.push_back(finalize_statistics(batch, weights.norms[branch], Activation::kNone, saved.means[branch],
                                        saved.inverse_stds[branch]));
  };
  finalize(convolve_statistics(block.dense, x, weights.dense, saved.dense));
  finalize(pointwise_convolve_statistics(unstrided(block.pointwise), unstrided_input(block.pointwise, x),
                                         weights.pointwise, saved.pointwise));
  std::vector<const float*> branches{saved.dense, saved.pointwise};
  if (block.identity) {
    Moments moments(block.dense.channels, x, rows);
    moments.add(x, rows);
    finalize(moments.statistics());
    branches.push_back(x);
  }
  NormSum(std::move(norms)).apply(branches, rows, y);
}

void repvgg_gradients(const RepVggBlock& block, const float* x, const RepVggWeights& weights,
                      const RepVggSaved<const float>& saved, const float* y, const float* dy,
                      const RepVggGradients& gradients, float* dx) {
  const ConvShape& s = block.dense;
  std::vector<NormGradient> branch_gradients;
  for (size_t i = 0; i < weights.norms.size(); ++i) {
    const NormParameters& norm = weights.norms[i];
    branch_gradients.emplace_back(s.out_channels, s.output_pixels(), norm.gamma, norm.beta, saved.means[i],
                                  saved.inverse_stds[i]);
  }
  NormSumGradient norms(std::move(branch_gradients));
  std::vector<const float*> branches{saved.dense, saved.pointwise};
  if (block.identity) branches.push_back(x);
  norms.add(branches, y, dy);
  for (size_t i = 0; i < branches.size(); ++i) norms.finish(i, gradients.gammas[i], gradients.betas[i]);

  const int64_t in = s.input_size() / s.images, out = s.output_size() / s.images;
  const int64_t part = images_at_a_time<float>(s.images, out);
  float* dense_gradient = workspace(WorkspaceSlot::kOutputGradient, part * out);
  for (int64_t image = 0; image < s.images; image += part) {
    const int64_t count = std::min(part, s.images - image);
    const ConvShape dense = s.with_images(count), pointwise = block.pointwise.with_images(count);
    Images images{{dense, pointwise, block.identity}, {}, x + image * in, y + image * out, dy + image * out, nullptr};
    for (const float* branch : branches) images.branches.push_back(branch + image * out);
    if (dx != nullptr) images.dx = dx + image * in;
    float* pointwise_dx =
        pointwise_branch_gradients(images, norms, weights.pointwise, dense_gradient, image > 0, gradients.pointwise);
    if (dx != nullptr) {
      const bool strided = pointwise_dx != images.dx;
      convolve_input_gradient(dense, weights.dense, dense_gradient, images.dx, !strided);
      if (strided) add_sampled(pointwise, pointwise_dx, images.dx);
    }
    convolve_weight_gradient(dense, images.x, dense_gradient, image > 0, gradients.dense);
  }
}

}  // namespace ppzoo
