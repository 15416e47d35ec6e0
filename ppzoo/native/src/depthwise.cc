// The weight gradient of a depthwise convolution on small maps, where oneDNN has only a kernel for grouped ones.
#include <algorithm>

#include "kernels.h"
#include "parallel.h"

namespace ppzoo {
namespace {

constexpr int64_t kLanes = 16;

// Sums of one tap of the filter over all images for `lanes` channels from `channel` on.
template <bool kFull>
void add_tap(const ConvShape& s, const float* x, const float* dy, int64_t kh, int64_t kw, int64_t channel,
             int64_t lanes, double* sums) {
  const int64_t rows = s.out_height(), columns = s.out_width();
  const int64_t count = kFull ? kLanes : lanes;
  for (int64_t image = 0; image < s.images; ++image) {
    float partial[kLanes] = {};
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t h = row * s.stride_h + kh * s.dilation_h - s.top;
      if (h < 0 || h >= s.height) continue;
      for (int64_t column = 0; column < columns; ++column) {
        const int64_t w = column * s.stride_w + kw * s.dilation_w - s.left;
        if (w < 0 || w >= s.width) continue;
        const float* from = x + ((image * s.height + h) * s.width + w) * s.channels + channel;
        const float* gradient = dy + ((image * rows + row) * columns + column) * s.channels + channel;
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) partial[i] += from[i] * gradient[i];
      }
    }
    for (int64_t i = 0; i < count; ++i) sums[i] += partial[i];
  }
}

}  // namespace

bool small_depthwise(const ConvShape& s) {
  return s.groups == s.channels && s.out_channels == s.channels &&
         (s.height <= s.kernel_h || s.width <= s.kernel_w || s.dilation_h > 1 || s.dilation_w > 1);
}

void depthwise_weight_gradient(const ConvShape& s, const float* x, const float* dy, float* dweights) {
  const int64_t taps = s.kernel_h * s.kernel_w, blocks = (s.channels + kLanes - 1) / kLanes;
  parallel(blocks, taps * s.output_size(), [&](int, int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t channel = block * kLanes, lanes = std::min(kLanes, s.channels - channel);
      for (int64_t tap = 0; tap < taps; ++tap) {
        double sums[kLanes] = {};
        const auto add = lanes == kLanes ? add_tap<true> : add_tap<false>;
        add(s, x, dy, tap / s.kernel_w, tap % s.kernel_w, channel, lanes, sums);
        for (int64_t i = 0; i < lanes; ++i) dweights[(channel + i) * taps + tap] = static_cast<float>(sums[i]);
      }
    }
  });
}

}  // namespace ppzoo
