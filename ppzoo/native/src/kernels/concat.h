// Concatenation of channels-last tensors along the channels. The element type T is float or Bfloat16.
#pragma once

#include <cstdint>
#include <vector>

namespace ppzoo {

// Copies several tensors of `pixels` rows into one along the channels, one after the other. With `shuffled`, which
// needs parts of equal width, channel j of part i becomes channel j * parts + i (a channel shuffle).
template <class T>
void concat_channels(const std::vector<const T*>& parts, const std::vector<int64_t>& widths, int64_t pixels,
                     bool shuffled, T* joined);
// The inverse of concat_channels.
template <class T>
void split_channels(const T* joined, const std::vector<int64_t>& widths, int64_t pixels, bool shuffled,
                    const std::vector<T*>& parts);

}  // namespace ppzoo
