// Rows are pixels x channels (NHWC). Each step is one loop over the rows: the matrix product (pointwise_blocks.h), the
// norm (batch_norm.h), the product with the gates. All steps run on the calling thread. Callers pass blocks of rows
// that stay in the cache.
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
  if (gates == nullptr) return buffer;
  for (int64_t row = 0; row < count; ++row) {
    const float* gate = gates + (first + row) / pixels * channels;
    float* to = buffer + row * channels;
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) to[c] *= gate[c];
  }
  return buffer;
}

}  // namespace ppzoo
