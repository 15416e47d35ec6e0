// Concatenation of channels-last tensors along the channels.
//
// Loop nest: pixels -> parts -> channels of a part, which are contiguous. Parallel over pixels.
#include "kernels/concat.h"

#include <numeric>

#include "kernels/bfloat16_simd.h"
#include "kernels/parallel.h"

namespace ppzoo {
namespace {

// Copies the channels of one pixel. They are often so few that a call of memcpy would take longer.
template <class T>
void copy_channels(const T* from, int64_t count, T* to) {
  int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes) store(load(from + c), to + c);
  if (c < count) store_partial(count - c, load_partial(count - c, from + c), to + c);
}

int64_t sum(const std::vector<int64_t>& widths) { return std::accumulate(widths.begin(), widths.end(), int64_t{0}); }

}  // namespace

template <class T>
void concat_channels(const std::vector<const T*>& parts, const std::vector<int64_t>& widths, int64_t pixels,
                     bool shuffled, T* joined) {
  const int64_t channels = sum(widths), count = static_cast<int64_t>(parts.size());
  parallel_for(pixels, pixels * channels, [&](int, int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      T* to = joined + pixel * channels;
      for (int64_t part = 0; part < count; ++part) {
        const T* from = parts[part] + pixel * widths[part];
        if (shuffled) {
          for (int64_t c = 0; c < widths[part]; ++c) to[c * count + part] = from[c];
        } else {
          copy_channels(from, widths[part], to);
          to += widths[part];
        }
      }
    }
  });
}

template <class T>
void split_channels(const T* joined, const std::vector<int64_t>& widths, int64_t pixels, bool shuffled,
                    const std::vector<T*>& parts) {
  const int64_t channels = sum(widths), count = static_cast<int64_t>(parts.size());
  parallel_for(pixels, pixels * channels, [&](int, int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const T* from = joined + pixel * channels;
      for (int64_t part = 0; part < count; ++part) {
        T* to = parts[part] + pixel * widths[part];
        if (shuffled) {
          for (int64_t c = 0; c < widths[part]; ++c) to[c] = from[c * count + part];
        } else {
          copy_channels(from, widths[part], to);
          from += widths[part];
        }
      }
    }
  });
}

template void concat_channels(const std::vector<const float*>&, const std::vector<int64_t>&, int64_t, bool, float*);
template void concat_channels(const std::vector<const Bfloat16*>&, const std::vector<int64_t>&, int64_t, bool,
                              Bfloat16*);
template void split_channels(const float*, const std::vector<int64_t>&, int64_t, bool, const std::vector<float*>&);
template void split_channels(const Bfloat16*, const std::vector<int64_t>&, int64_t, bool,
                             const std::vector<Bfloat16*>&);

}  // namespace ppzoo
