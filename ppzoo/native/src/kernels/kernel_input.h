// The input of a fused kernel: a tensor, or a tensor that the kernel computes row by row while it reads it.
#pragma once

#include <cstdint>

namespace ppzoo {

class Normalizer;
class PackedWeights;

// The input is norm(data weights^T). Without `weights` it is norm(data); without `norm` it is not normalized.
struct KernelInput {
  KernelInput(const float* data, const Normalizer* norm = nullptr, const PackedWeights* weights = nullptr)
      : data(data), norm(norm), weights(weights) {}
  // gate * norm(data), with one gate per image (of `pixels` rows) and channel.
  KernelInput(const float* data, const Normalizer* norm, const float* gates, int64_t pixels)
      : data(data), norm(norm), weights(nullptr), gates(gates), pixels(pixels) {}
  // `count` rows from row `first` on, before the norm. They are written to `buffer` if they have to be computed.
  const float* raw_rows(int64_t first, int64_t count, int64_t channels, float* buffer) const;
  // The same rows after the norm, and multiplied by the gates.
  const float* normalized_rows(int64_t first, int64_t count, int64_t channels, float* buffer) const;
  const float* data;
  const Normalizer* norm;
  const PackedWeights* weights;
  const float* gates = nullptr;
  int64_t pixels = 1;
};

}  // namespace ppzoo
