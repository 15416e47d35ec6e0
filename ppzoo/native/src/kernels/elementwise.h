// Elementwise operations, sums, layout changes and concatenation of channels-last tensors.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/activation.h"

namespace ppzoo {

// y = x with the last two of its axes (images x rows x columns) swapped.
void transpose(const float* x, int64_t images, int64_t rows, int64_t columns, float* y);
// y = activation(x + z). `z` can be null.
void add_activate(const float* x, const float* z, Activation activation, int64_t count, float* y);
// dx = dy activation'(x + z), the gradient of both terms.
void add_activate_gradient(const float* x, const float* z, const float* dy, Activation activation, int64_t count,
                           float* dx);
// total += part.
void accumulate(const float* part, int64_t count, float* total);
// The sums of the columns of x (rows x columns), computed in double. With `add`, they are added to `sums`.
void sum_rows(const float* x, int64_t rows, int64_t columns, bool add, float* sums);
// y = x gate, with one gate per image and channel (images x channels).
void scale_channels(const float* x, const float* gate, int64_t images, int64_t pixels, int64_t channels, float* y);
void scale_channels_gradient(const float* x, const float* gate, const float* dy, int64_t images, int64_t pixels,
                             int64_t channels, float* dx, float* dgate);
// Copies several tensors of `pixels` rows into one along the channels, one after the other. With `shuffled`, which
// needs parts of equal width, channel j of part i becomes channel j * parts + i (a channel shuffle).
void concat_channels(const std::vector<const float*>& parts, const std::vector<int64_t>& widths, int64_t pixels,
                     bool shuffled, float* joined);
// The inverse of concat_channels.
void split_channels(const float* joined, const std::vector<int64_t>& widths, int64_t pixels, bool shuffled,
                    const std::vector<float*>& parts);

}  // namespace ppzoo
