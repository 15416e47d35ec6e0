// 1x1 convolutions as matrix products, fused with the passes of batch norm.
//
// An NHWC tensor is a matrix of pixels x channels, so y = x weights^T. The weights (out x in) are packed once
// (PackedWeights, slot kPackedWeights). Loop nest: blocks of 48 to 240 pixels (for_blocks) -> gemm. Everything that has
// to be done with a block (normalizing the input, the product, sums for the statistics or the weight gradient) is done
// while it is in the cache, in buffers of one block per thread.
//
// Parallel over blocks of pixels. Statistics and weight gradients have one sum per thread, which are added in the order
// of the threads at the end.
#include "kernels/pointwise.h"

#include <algorithm>

#include "kernels/parallel.h"
#include "kernels/pointwise_blocks.h"
#include "kernels/workspace.h"

namespace ppzoo {

bool pointwise(const ConvShape& s) {
  return s.kernel_h * s.kernel_w * s.stride_h * s.stride_w * s.groups == 1 && s.top + s.bottom + s.left + s.right == 0;
}

void pointwise_convolve(const ConvShape& s, const float* x, const float* weights, const float* bias, float* y) {
  const int64_t in = s.channels, out = s.out_channels;
  const PackedWeights packed = PackedWeights::forward(weights, in, out);
  for_blocks(s.input_pixels(), in, out, [&](int, int64_t row, int64_t rows) {
    packed.multiply(x + row * in, rows, y + row * out);
    if (bias == nullptr) return;
    for (int64_t i = row; i < row + rows; ++i) {
      for (int64_t c = 0; c < out; ++c) y[i * out + c] += bias[c];
    }
  });
}

Statistics pointwise_convolve_statistics(const ConvShape& s, const KernelInput& x, const float* weights, float* y) {
  const int64_t in = s.channels, out = s.out_channels, pixels = s.input_pixels(),
                buffer_size = block_rows(in, out) * in;
  if (s.empty()) return Statistics::zeros(out);
  const PackedWeights packed = PackedWeights::forward(weights, in, out);
  float* buffers = workspace(WorkspaceSlot::kInputBlocks, buffer_size * max_threads());
  packed.multiply(x.normalized_rows(0, 1, in, buffers), 1, y);
  Moments moments(out, y, pixels);
  for_blocks(pixels, in, out, [&](int thread, int64_t row, int64_t rows) {
    packed.multiply(x.normalized_rows(row, rows, in, buffers + thread * buffer_size), rows, y + row * out);
    moments.add_rows(thread, y + row * out, rows);
  });
  return moments.statistics();
}

void pointwise_input_gradient(const ConvShape& s, const float* weights, const float* dy, float* dx) {
  const int64_t in = s.channels, out = s.out_channels;
  const PackedWeights packed = PackedWeights::backward(weights, in, out);
  for_blocks(s.input_pixels(), in, out,
             [&](int, int64_t row, int64_t rows) { packed.multiply(dy + row * out, rows, dx + row * in); });
}

void pointwise_weight_gradient(const ConvShape& s, const float* x, const float* dy, bool add, float* dweights) {
  const int64_t in = s.channels, out = s.out_channels;
  WeightGradientSums sums(in, out);
  for_blocks(s.input_pixels(), in, out,
             [&](int thread, int64_t row, int64_t rows) { sums.add(thread, x + row * in, dy + row * out, rows); });
  sums.finish(add, dweights);
}

namespace {

// See pointwise_gradients. input_of(thread, row, rows) returns rows of the input; done(thread, row, rows) is called
// after the same rows of `dx` were written.
template <class InputOf, class Done>
void gradients_of_blocks(const ConvShape& s, const NormGradient& gradient, Activation activation, const float* weights,
                         const float* raw, const float* dy, float* dx, float* dweights, const InputOf& input_of,
                         const Done& done) {
  const int64_t in = s.channels, out = s.out_channels, block = block_rows(in, out) * out;
  const PackedWeights packed = PackedWeights::backward(weights, in, out);
  float* gradient_blocks = workspace(WorkspaceSlot::kOutputGradient, block * max_threads());
  WeightGradientSums sums(in, out);
  for_blocks(s.input_pixels(), in, out, [&](int thread, int64_t row, int64_t rows) {
    float* gradient_block = gradient_blocks + thread * block;
    gradient.apply_rows(raw + row * out, dy + row * out, activation, rows, gradient_block);
    if (dx != nullptr) {
      packed.multiply(gradient_block, rows, dx + row * in);
      done(thread, row, rows);
    }
    sums.add(thread, input_of(thread, row, rows), gradient_block, rows);
  });
  sums.finish(false, dweights);
}

}  // namespace

void pointwise_gradients(const ConvShape& s, const NormGradient& gradient, Activation activation, const float* x,
                         const float* weights, const float* raw, const float* dy, float* dx, float* dweights) {
  const auto input_of = [&](int, int64_t row, int64_t) { return x + row * s.channels; };
  gradients_of_blocks(s, gradient, activation, weights, raw, dy, dx, dweights, input_of, [](int, int64_t, int64_t) {});
}

void pointwise_gradients_between(const ConvShape& s, const NormGradient& gradient, Activation activation,
                                 NormGradient& before, const KernelInput& x, const float* weights, const float* raw,
                                 const float* dy, float* dx, float* dweights) {
  const int64_t in = s.channels, buffer_size = block_rows(in, s.out_channels) * in;
  float* buffers = workspace(WorkspaceSlot::kInputBlocks, buffer_size * max_threads());
  const auto input_of = [&](int thread, int64_t row, int64_t rows) {
    return x.normalized_rows(row, rows, in, buffers + thread * buffer_size);
  };
  const auto done = [&](int thread, int64_t row, int64_t rows) {
    before.add_rows(thread, x.data + row * in, nullptr, dx + row * in, x.norm->activation(), rows, nullptr);
  };
  gradients_of_blocks(s, gradient, activation, weights, raw, dy, dx, dweights, input_of, done);
}

void pointwise_gradients_to(NormGradient& before, Activation activation, const ConvShape& s, const float* raw,
                            const float* weights, const float* dy, float* dweights) {
  const int64_t in = s.channels, out = s.out_channels, buffer_size = block_rows(in, out) * in;
  const PackedWeights packed = PackedWeights::backward(weights, in, out);
  const Normalizer norm = before.normalizer(activation);
  float *buffers = workspace(WorkspaceSlot::kInputBlocks, buffer_size * max_threads()),
        *dx_buffers = workspace(WorkspaceSlot::kOutputBlocks, buffer_size * max_threads());
  WeightGradientSums sums(in, out);
  for_blocks(s.input_pixels(), in, out, [&](int thread, int64_t row, int64_t rows) {
    float *x = buffers + thread * buffer_size, *dx = dx_buffers + thread * buffer_size;
    packed.multiply(dy + row * out, rows, dx);
    before.add_rows(thread, raw + row * in, nullptr, dx, activation, rows, nullptr);
    norm.apply_rows(raw + row * in, nullptr, rows, x);
    sums.add(thread, x, dy + row * out, rows);
  });
  sums.finish(false, dweights);
}

}  // namespace ppzoo
