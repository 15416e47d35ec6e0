// The weight gradient of depthwise convolutions with large filters or on small maps, for which oneDNN has no kernel of
// its own and takes that of grouped convolutions: two to nine times slower.
#include <algorithm>

#include "kernels.h"
#include "parallel.h"

namespace ppzoo {
namespace {

constexpr int64_t kLanes = 16;  // channels summed side by side

// The outputs of a row or column whose input under tap `tap` lies in the image: [begin, end).
struct Range {
  int64_t begin, end;
};

Range inside(int64_t tap, int64_t dilation, int64_t before, int64_t stride, int64_t size, int64_t outputs) {
  const int64_t offset = tap * dilation - before;  // input = output * stride + offset
  const int64_t begin = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  const int64_t end = size - offset <= 0 ? 0 : (size - offset - 1) / stride + 1;
  return {begin, std::max(begin, std::min(end, outputs))};
}

// Adds to sums (kernel_w x kLanes) what one image gives for row `kh` of the filter and kLanes channels. `kTaps` taps
// are summed side by side where all of them lie in the image.
template <int kTaps>
void add_image(const ConvShape& s, const float* x, const float* dy, int64_t kh, int64_t tap, float* sums) {
  const int64_t columns = s.out_width(), channels = s.channels;
  Range ranges[kTaps], all{0, columns};
  for (int t = 0; t < kTaps; ++t) {
    ranges[t] = inside(tap + t, s.dilation_w, s.left, s.stride_w, s.width, columns);
    all = {std::max(all.begin, ranges[t].begin), std::min(all.end, ranges[t].end)};
  }
  all.end = std::max(all.begin, all.end);
  float partial[kTaps][kLanes];
  for (int t = 0; t < kTaps; ++t) {
    for (int64_t i = 0; i < kLanes; ++i) partial[t][i] = sums[(tap + t) * kLanes + i];
  }
  const Range rows = inside(kh, s.dilation_h, s.top, s.stride_h, s.height, s.out_height());
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* line = x + ((row * s.stride_h + kh * s.dilation_h - s.top) * s.width - s.left) * channels;
    const float* gradient = dy + row * columns * channels;
    const auto add = [&](int t, int64_t column) {
      const float* from = line + (column * s.stride_w + (tap + t) * s.dilation_w) * channels;
#pragma omp simd
      for (int64_t i = 0; i < kLanes; ++i) partial[t][i] += from[i] * gradient[column * channels + i];
    };
    for (int t = 0; t < kTaps; ++t) {
      for (int64_t column = ranges[t].begin; column < std::min(all.begin, ranges[t].end); ++column) add(t, column);
    }
    for (int64_t column = all.begin; column < all.end; ++column) {
      for (int t = 0; t < kTaps; ++t) add(t, column);
    }
    for (int t = 0; t < kTaps; ++t) {
      for (int64_t column = std::max(all.end, ranges[t].begin); column < ranges[t].end; ++column) add(t, column);
    }
  }
  for (int t = 0; t < kTaps; ++t) {
    for (int64_t i = 0; i < kLanes; ++i) sums[(tap + t) * kLanes + i] = partial[t][i];
  }
}

void add_row_of_filter(const ConvShape& s, const float* x, const float* dy, int64_t kh, float* sums) {
  int64_t tap = 0;
  for (; tap + 5 <= s.kernel_w; tap += 5) add_image<5>(s, x, dy, kh, tap, sums);
  for (; tap + 3 <= s.kernel_w; tap += 3) add_image<3>(s, x, dy, kh, tap, sums);
  for (; tap < s.kernel_w; ++tap) add_image<1>(s, x, dy, kh, tap, sums);
}

}  // namespace

bool slow_depthwise(const ConvShape& s) {
  return s.groups == s.channels && s.out_channels == s.channels && s.channels >= kLanes &&
         (s.height <= s.kernel_h || s.width <= s.kernel_w || s.kernel_h > 3 || s.kernel_w > 3);
}

void depthwise_weight_gradient(const ConvShape& s, const float* x, const float* dy, float* dweights) {
  const int64_t taps = s.kernel_h * s.kernel_w;
  const int64_t source = s.source_size() / s.images, output = s.output_size() / s.images;
  parallel((s.channels + kLanes - 1) / kLanes, taps * s.output_size(), [&](int, int64_t begin, int64_t end) {
    std::vector<double> sums(taps * kLanes);
    std::vector<float> block(s.kernel_w * kLanes);
    for (int64_t part = begin; part < end; ++part) {
      // The last part overlaps the one before where the channels are no multiple of kLanes.
      const int64_t channel = std::min(part * kLanes, s.channels - kLanes), first = part * kLanes - channel;
      std::fill(sums.begin(), sums.end(), 0.0);
      for (int64_t image = 0; image < s.images; ++image) {
        for (int64_t kh = 0; kh < s.kernel_h; ++kh) {
          std::fill(block.begin(), block.end(), 0.0f);
          add_row_of_filter(s, x + image * source + channel, dy + image * output + channel, kh, block.data());
          double* row = &sums[kh * s.kernel_w * kLanes];
          for (int64_t i = 0; i < s.kernel_w * kLanes; ++i) row[i] += block[i];
        }
      }
      for (int64_t tap = 0; tap < taps; ++tap) {
        for (int64_t i = first; i < kLanes; ++i) {
          dweights[(channel + i) * taps + tap] = static_cast<float>(sums[tap * kLanes + i]);
        }
      }
    }
  });
}

}  // namespace ppzoo
