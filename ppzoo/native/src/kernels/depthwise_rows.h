// The inner loops of depthwise convolutions, in float32 on rows of pixels that are in the cache.
//
// Layout: rows of pixels x channels; weights are KH x KW x C, so that a vector holds kLanes channels of one pixel or
// tap. The last vector overlaps the one before if the channels are not a multiple of kLanes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/bfloat16_simd.h"
#include "kernels/conv_shape.h"
#include "kernels/integer_math.h"
#include "kernels/simd.h"

namespace ppzoo::depthwise_rows {

// A ring buffer of the last `rows` rows of an image, which are zeros at first. Rows are aligned to vectors: loads that
// cross cache lines take twice as long.
class RowRing {
 public:
  RowRing(int64_t rows, int64_t pixels, int64_t channels)
      : rows_(rows), vectors_(round_up(pixels * channels, kLanes) / kLanes), data_(rows * vectors_, Vector{}) {}
  float* row(int64_t number) { return reinterpret_cast<float*>(&data_[number % rows_ * vectors_]); }

 private:
  int64_t rows_, vectors_;
  std::vector<Vector> data_;
};

// Returns the weights as kernel_h x kernel_w x channels.
inline std::vector<float> channels_last_weights(const ConvShape& s, const float* weights) {
  const int64_t taps = s.kernel_h * s.kernel_w;
  std::vector<float> transposed(taps * s.channels);
  for (int64_t c = 0; c < s.channels; ++c) {
    for (int64_t tap = 0; tap < taps; ++tap) transposed[tap * s.channels + c] = weights[c * taps + tap];
  }
  return transposed;
}

// Calls body(channel) for vectors of kLanes channels from `channel` on.
template <class Body>
void for_channel_vectors(int64_t channels, const Body& body) {
  for (int64_t channel = 0; channel < channels; channel += kLanes) body(std::min(channel, channels - kLanes));
}

// A column of the filter, and the input pixel that it multiplies for the first output.
struct Tap {
  int64_t kw, pixel;
};

// Computes a row of outputs: output i is the sum over kh and taps of rows[kh][tap.pixel + i x_step]
// weights[kh][tap.kw]. Rows that are null are zeros.
struct RowFilter {
  int64_t channels, kernel_h, kernel_w, x_step, outputs;
  std::vector<Tap> taps;
  const float* weights;

  // Calls write(i, sum) for the vector of channels from `channel` on, in groups of 8 (then 4, 1) outputs, whose sums
  // stay in registers.
  template <class Write>
  void operator()(const float* const* rows, int64_t channel, const Write& write) const {
    int64_t i = 0;
    for (; i + 8 <= outputs; i += 8) pixels<8>(rows, i, channel, write);
    for (; i + 4 <= outputs; i += 4) pixels<4>(rows, i, channel, write);
    for (; i < outputs; ++i) pixels<1>(rows, i, channel, write);
  }

 private:
  template <int kPixels, class Write>
  void pixels(const float* const* rows, int64_t first, int64_t channel, const Write& write) const {
    static_assert(kPixels == 1 || kPixels == 4 || kPixels == 8);
    // Two bases and three distances, so that no address has to be computed from the one before.
    const int64_t step = x_step * channels, second = 2 * step, third = 3 * step;
    const int64_t start = first * step + channel;
    Vector sums[kPixels] = {};
    for (int64_t kh = 0; kh < kernel_h; ++kh) {
      if (rows[kh] == nullptr) continue;
      const float *row = rows[kh] + start, *filter = weights + kh * kernel_w * channels + channel;
      for (const Tap& tap : taps) {
        const float *from = row + tap.pixel * channels, *other = from + 4 * step;
        const Vector factor = load(filter + tap.kw * channels);
        sums[0] += load(from) * factor;
        if constexpr (kPixels >= 4) {
          sums[1] += load(from + step) * factor;
          sums[2] += load(from + second) * factor;
          sums[3] += load(from + third) * factor;
        }
        if constexpr (kPixels == 8) {
          sums[4] += load(other) * factor;
          sums[5] += load(other + step) * factor;
          sums[6] += load(other + second) * factor;
          sums[7] += load(other + third) * factor;
        }
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i) write(first + i, sums[i]);
  }
};

// The sums of a weight gradient over rows of outputs, for kLanes channels of each tap: in float over kSummedPixels
// pixels, beyond that in double.
class WeightSums {
 public:
  explicit WeightSums(const ConvShape& s)
      : s_(s),
        rows_summed_(std::max<int64_t>(1, kSummedPixels / s.out_width())),
        sums_(round_up(s.channels, kLanes) * s.kernel_h * s.kernel_w),
        totals_(sums_.size(), 0.0) {}

  // `rows`: the input rows under the filter; `gradient`: a row of the output's gradient.
  void add(const float* const* rows, const float* gradient) {
    const int64_t step = s_.stride_w * s_.channels, x_step = s_.dilation_w * s_.channels;
    float* sums = sums_.data();
    for_channel_vectors(s_.channels, [&](int64_t channel) {
      for (int64_t kh = 0; kh < s_.kernel_h; ++kh, sums += s_.kernel_w * kLanes) {
        if (rows[kh] == nullptr) continue;
        const float *x = rows[kh] + channel, *dy = gradient + channel;
        int64_t tap = 0;
        for (; tap + 5 <= s_.kernel_w; tap += 5) taps<5>(x + tap * x_step, dy, step, x_step, sums + tap * kLanes);
        for (; tap + 3 <= s_.kernel_w; tap += 3) taps<3>(x + tap * x_step, dy, step, x_step, sums + tap * kLanes);
        for (; tap < s_.kernel_w; ++tap) taps<1>(x + tap * x_step, dy, step, x_step, sums + tap * kLanes);
      }
    });
    if (++rows_added_ == rows_summed_) flush();
  }

  // Called after the last row, too.
  void flush() {
    rows_added_ = 0;
    for (size_t i = 0; i < sums_.size(); ++i) totals_[i] += sums_[i];
    std::fill(sums_.begin(), sums_.end(), 0.0f);
  }

  // The sum of a tap, from totals() of a thread.
  static double total(const ConvShape& s, const std::vector<double>& totals, int64_t channel, int64_t tap) {
    const int64_t first = std::min(channel / kLanes * kLanes, s.channels - kLanes), block = channel / kLanes;
    return totals[(block * s.kernel_h * s.kernel_w + tap) * kLanes + channel - first];
  }
  const std::vector<double>& totals() const { return totals_; }

 private:
  template <int kTaps>
  void taps(const float* x, const float* gradient, int64_t step, int64_t x_step, float* sums) const {
    Vector partial[kTaps];
#pragma GCC unroll 8
    for (int t = 0; t < kTaps; ++t) partial[t] = load(sums + t * kLanes);
    for (int64_t i = 0; i < s_.out_width(); ++i) {
      const Vector factor = load(gradient + i * s_.channels);
#pragma GCC unroll 8
      for (int t = 0; t < kTaps; ++t) partial[t] += load(x + i * step + t * x_step) * factor;
    }
#pragma GCC unroll 8
    for (int t = 0; t < kTaps; ++t) store(partial[t], sums + t * kLanes);
  }

  static constexpr int64_t kSummedPixels = 512;
  const ConvShape& s_;
  int64_t rows_summed_, rows_added_ = 0;
  std::vector<float> sums_;
  std::vector<double> totals_;
};

}  // namespace ppzoo::depthwise_rows
