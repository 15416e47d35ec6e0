#include "kernels/kernel_input.h"

#include "kernels/batch_norm.h"
#include "kernels/pointwise_blocks.h"

namespace ppzoo {

const float* KernelInput::raw_rows(int64_t first, int64_t count, int64_t channels, float* buffer) const {
  if (weights == nullptr) return data + first * channels;
  weights->multiply(data + first * weights->depth(), count, buffer);
  return buffer;
}

const float* KernelInput::normalized_rows(int64_t first, int64_t count, int64_t channels, float* buffer) const {
  const float* from = raw_rows(first, count, channels, buffer);
  if (norm == nullptr) return from;
  norm->apply_rows(from, nullptr, count, buffer);
  return buffer;
}

}  // namespace ppzoo
