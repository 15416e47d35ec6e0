// Elementwise operations, sums and layout changes of channels-last tensors.
#pragma once

#include <cstdint>

namespace ppzoo {

// y = x with the last two of its axes (images x rows x columns) swapped.
void transpose(const float* x, int64_t images, int64_t rows, int64_t columns, float* y);
// total += part.
void accumulate(const float* part, int64_t count, float* total);
// y = x gate, with one gate per image and channel (images x channels).
void scale_channels(const float* x, const float* gate, int64_t images, int64_t pixels, int64_t channels, float* y);
void scale_channels_gradient(const float* x, const float* gate, const float* dy, int64_t images, int64_t pixels,
                             int64_t channels, float* dx, float* dgate);

}  // namespace ppzoo
