// Squeeze-and-excitation between the depthwise convolution and the projection of an inverted residual. The images
// between them, norm(raw) and gate * norm(raw), are computed in blocks that stay in the cache, and are not written.
//
// Forward, one pass over `raw` (channels-last, pixels x channels): images -> blocks of at most 64 pixels -> channels.
// A block is normalized into a buffer and added to the sums of the image, in float within the block, in double across
// blocks. The projection normalizes again and multiplies by the gates (see KernelInput).
//
// Backward, one pass over `raw` and dy: images of a thread -> blocks of pixels as in pointwise.cc (of several images if
// these are small, so that the products are large) -> gemm, sums per image, the weights' gradient. z, the gradient of
// gate * norm(raw), is kept in the workspace (slot kGatedGradient), since computing it again takes longer. The gradient
// of norm(raw) is gate z + (gradient of the mean), with one gate and one gradient of the mean per image and channel.
// The latter is known only after the pass, because it follows from the gradients of the gates. The sums that the norm's
// first pass needs are linear in these two numbers. Therefore, the pass computes the five sums per image and channel
// from which they follow (enum Sum): with for_strips (wide_rows.h) within a block, in double across blocks.
//
// Forward and backward are parallel over images.
#include "kernels/gated_projection.h"

#include <algorithm>

#include "kernels/activation_simd.h"
#include "kernels/parallel.h"
#include "kernels/pointwise_blocks.h"
#include "kernels/wide_rows.h"
#include "kernels/workspace.h"

namespace ppzoo {
namespace {

// With t the argument of the activation a, and c the deviation of raw from its mean, the sums over an image's pixels of
// z a(t), z a'(t), z a'(t) c, a'(t) and a'(t) c.
enum Sum { kGate, kMasked, kMaskedProduct, kSlope, kSlopeProduct, kSums };

// The sums of all images: per image kSums wide rows of doubles.
class ImageSums {
 public:
  ImageSums(int64_t images, int64_t channels)
      : channels_(channels), width_(WideRows(1, channels).width), totals_(images * kSums * width_, 0.0) {}

  // Adds the sums of `rows` pixels of an image, and writes gate * norm(raw) to `gated`.
  void add_rows(int64_t image, const NormGradient& norm, Activation activation, const float* raw, const float* z,
                const float* gate, int64_t rows, float* gated) {
    double* totals = &totals_[image * kSums * width_];
    const int64_t width = width_;
    const std::vector<float> gates = WideRows(1, channels_).repeat({gate, gate + channels_});
    const Vector ones = Vector{} + 1.0f;
    dispatch_activation(activation, [&](auto tag) {
      constexpr Activation kActivation = decltype(tag)::value;
      for_strips(WideRows(rows, channels_), [&](auto strip, int64_t first, int64_t begin, int64_t end) {
        constexpr int kCount = decltype(strip)::kCount;
        for (int v = 0; v < kCount; ++v) {
          const int64_t column = first + v * kLanes;
          const Vector scale = strip.load(norm.scale() + column), offset = strip.load(norm.offset() + column);
          const Vector mean = strip.load(norm.mean() + column), factor = strip.load(&gates[column]);
          // Zero in lanes that are not used.
          const Vector one = strip.load(reinterpret_cast<const float*>(&ones));
          Vector sums[kSums] = {};
          for (int64_t row = begin; row < end; ++row) {
            const int64_t index = row * width + column;
            const Vector from = strip.load(raw + index), gradient = strip.load(z + index);
            const Vector t = from * scale + offset, centered = from - mean;
            const Vector value = activate<kActivation>(t);
            const Vector slope = activation_gradient<kActivation>(t, one), masked = slope * gradient;
            strip.store(value * factor, gated + index);
            sums[kGate] += gradient * value;
            sums[kMasked] += masked, sums[kMaskedProduct] += masked * centered;
            sums[kSlope] += slope, sums[kSlopeProduct] += slope * centered;
          }
          for (int i = 0; i < kSums; ++i) add_to(totals + i * width + column, to_doubles(sums[i]));
        }
      });
    });
  }

  double sum(int64_t image, Sum kind, int64_t channel) const {
    const double* totals = &totals_[(image * kSums + kind) * width_];
    double sum = 0.0;
    for (int64_t i = channel; i < width_; i += channels_) sum += totals[i];
    return sum;
  }

 private:
  int64_t channels_, width_;
  std::vector<double> totals_;
};

}  // namespace

std::vector<float> gates_after_norm(const GatesForward& gates, const float* raw, const Normalizer& norm) {
  const SqueezeExcite& block = gates.block;
  const int64_t channels = block.channels, pixels = block.pixels;
  const int64_t max_rows = std::clamp<int64_t>(kStripElements / channels, kMinStripRows, kFloatSumRows);
  float* buffers = workspace(WorkspaceSlot::kInputBlocks, max_rows * channels * max_threads());
  parallel_for(block.images, block.images * pixels * channels, [&](int thread, int64_t begin, int64_t end) {
    float* buffer = buffers + thread * max_rows * channels;
    std::vector<float> part(channels);
    std::vector<double> totals(channels);
    for (int64_t image = begin; image < end; ++image) {
      std::fill(totals.begin(), totals.end(), 0.0);
      for (int64_t first = 0; first < pixels; first += max_rows) {
        const int64_t rows = std::min(max_rows, pixels - first);
        norm.apply_rows(raw + (image * pixels + first) * channels, nullptr, rows, buffer);
        std::fill(part.begin(), part.end(), 0.0f);
        for (int64_t row = 0; row < rows; ++row) {
          const float* from = buffer + row * channels;
          float* to = part.data();
#pragma omp simd
          for (int64_t c = 0; c < channels; ++c) to[c] += from[c];
        }
        for (int64_t c = 0; c < channels; ++c) totals[c] += part[c];
      }
      float* means = gates.saved + image * channels;
      for (int64_t c = 0; c < channels; ++c) means[c] = static_cast<float>(totals[c] / static_cast<double>(pixels));
    }
  });
  return compute_gates(block, gates.layers, gates.saved);
}

GatedProjectionGradient::GatedProjectionGradient(const ConvShape& projection, const GatesBackward& backward,
                                                 NormGradient& norm, Activation activation, const float* raw,
                                                 const float* weights, const float* dy, float* dweights)
    : channels_(projection.channels),
      gates_(saved_gates(backward.block, backward.saved)),
      products_(workspace(WorkspaceSlot::kGatedGradient, projection.input_size())) {
  const int64_t in = projection.channels, out = projection.out_channels, max_rows = block_rows(in, out);
  const int64_t images = projection.images, pixels = backward.block.pixels;
  const PackedWeights packed = PackedWeights::backward(weights, in, out);
  float* buffers = workspace(WorkspaceSlot::kInputBlocks, max_rows * in * max_threads());
  WeightGradientSums weight_sums(in, out);
  ImageSums sums(images, in);
  parallel_for(images, images * pixels * std::max(in, out), [&](int thread, int64_t begin, int64_t end) {
    float* gated = buffers + thread * max_rows * in;
    const int64_t last = end * pixels;
    for (int64_t row = begin * pixels; row < last; row += max_rows) {
      const int64_t rows = std::min(max_rows, last - row);
      packed.multiply(dy + row * out, rows, products_ + row * in);
      for (int64_t first = row; first < row + rows;) {
        const int64_t image = first / pixels, count = std::min((image + 1) * pixels, row + rows) - first;
        sums.add_rows(image, norm, activation, raw + first * in, products_ + first * in, &gates_[image * in], count,
                      gated + (first - row) * in);
        first += count;
      }
      weight_sums.add(thread, gated, dy + row * out, rows);
    }
  });
  weight_sums.finish(false, dweights);

  std::vector<float> dgates(images * in);
  for (int64_t i = 0; i < images * in; ++i) dgates[i] = static_cast<float>(sums.sum(i / in, kGate, i % in));
  dmeans_ = gate_gradients(backward.block, backward.layers, backward.saved, dgates, backward.gradients);
  for (int64_t c = 0; c < in; ++c) {
    double masked = 0.0, product = 0.0;
    for (int64_t image = 0; image < images; ++image) {
      const double gate = gates_[image * in + c], dmean = dmeans_[image * in + c];
      masked += gate * sums.sum(image, kMasked, c) + dmean * sums.sum(image, kSlope, c);
      product += gate * sums.sum(image, kMaskedProduct, c) + dmean * sums.sum(image, kSlopeProduct, c);
    }
    norm.add_sums(0, c, masked, product);
  }
}

void GatedProjectionGradient::load_rows(int64_t image, int64_t first, int64_t rows, float* to) const {
  const float *gate = &gates_[image * channels_], *dmean = &dmeans_[image * channels_];
  const float* from = products_ + first * channels_;
  for (int64_t row = 0; row < rows; ++row, from += channels_, to += channels_) {
#pragma omp simd
    for (int64_t c = 0; c < channels_; ++c) to[c] = from[c] * gate[c] + dmean[c];
  }
}

}  // namespace ppzoo
