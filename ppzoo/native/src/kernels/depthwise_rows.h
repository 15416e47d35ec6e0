// Code that depthwise convolutions of float32 and of bfloat16 images share: the inner loops, which compute in float32
// on rows of pixels in the cache, and which input rows each output row reads.
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
#include "kernels/parallel.h"
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
    // Addresses are sums of one of two bases and one of three distances, so that none depends on the one before.
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

inline int64_t work_of(const ConvShape& s) { return s.output_size() * s.kernel_h * s.kernel_w; }

// Calls body(thread, image, first row, end row) in parallel for equal parts of the rows of all images.
template <class Body>
void for_rows(int64_t images, int64_t rows, int64_t work, const Body& body) {
  parallel_for(images * rows, work, [&](int thread, int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t image = begin / rows, row = begin % rows, last = std::min(rows, row + end - begin);
      body(thread, image, row, last);
      begin += last - row;
    }
  });
}

// Returns the filter of the forward pass; its rows are the input rows under it, with the padding.
inline RowFilter forward_filter(const ConvShape& s, const float* weights) {
  std::vector<Tap> taps;
  for (int64_t kw = 0; kw < s.kernel_w; ++kw) taps.push_back({kw, kw * s.dilation_w});
  return {s.channels, s.kernel_h, s.kernel_w, s.stride_w, s.out_width(), taps, weights};
}

// Sets `rows` to row_of(input row) for each input row under the filter at output row `row`, and to null for rows in the
// padding. row_of is called in ascending order of the input rows.
template <class RowOf>
void set_rows_for_output(const ConvShape& s, int64_t row, const RowOf& row_of, std::vector<const float*>& rows) {
  for (int64_t kh = 0; kh < s.kernel_h; ++kh) {
    const int64_t number = row * s.stride_h + kh * s.dilation_h - s.top;
    rows[kh] = number >= 0 && number < s.height ? row_of(number) : nullptr;
  }
}

// The last rows of the output's gradient, and the filters that compute rows of the input's gradient from them.
class GradientRows {
 public:
  // `weights`: kernel_h x kernel_w x channels.
  GradientRows(const ConvShape& s, const float* weights)
      : s_(s),
        margin_(std::max<int64_t>(0, ((s.kernel_w - 1) * s.dilation_w - s.left + s.stride_w - 1) / s.stride_w)),
        ring_((s.kernel_h - 1) * s.dilation_h / s.stride_h + 2,
              margin_ + std::max(s.out_width(), (s.width + s.left - 1) / s.stride_w + 1), s.channels),
        rows_(s.kernel_h) {
    for (int64_t column = 0; column < std::min(s.stride_w, s.width); ++column) add_filter(column, weights);
  }

  // Where a row of the output's gradient is to be written.
  float* row(int64_t number) { return ring_.row(number) + margin_ * s_.channels; }

  // The number of rows of the input's gradient to which no row of the output's gradient after `row` contributes.
  int64_t complete_inputs(int64_t row) const {
    return row + 1 == s_.out_height() ? s_.height : std::min((row + 1) * s_.stride_h - s_.top, s_.height);
  }

  // Selects a row of the input's gradient for `filter`.
  void select_input(int64_t number) {
    for (int64_t kh = 0; kh < s_.kernel_h; ++kh) {
      const int64_t position = number + s_.top - kh * s_.dilation_h, row = position / s_.stride_h;
      const bool inside = position >= 0 && position % s_.stride_h == 0 && row < s_.out_height();
      rows_[kh] = inside ? ring_.row(row) : nullptr;
    }
  }

  // Calls write(index in the row, sum) for a vector of channels of each pixel of the selected row.
  template <class Write>
  void filter(int64_t channel, const Write& write) const {
    for (size_t column = 0; column < filters_.size(); ++column) {
      const int64_t first = static_cast<int64_t>(column) * s_.channels + channel, step = s_.stride_w * s_.channels;
      filters_[column](rows_.data(), channel, [&](int64_t i, Vector sum) { write(first + i * step, sum); });
    }
  }

 private:
  // Adds the filter for the input's columns `column`, `column` + stride, ..., which have the same taps.
  void add_filter(int64_t column, const float* weights) {
    std::vector<Tap> taps;
    for (int64_t kw = 0; kw < s_.kernel_w; ++kw) {
      const int64_t position = column + s_.left - kw * s_.dilation_w + margin_ * s_.stride_w;
      if (position % s_.stride_w == 0) taps.push_back({kw, position / s_.stride_w});
    }
    const int64_t outputs = (s_.width - column + s_.stride_w - 1) / s_.stride_w;
    filters_.push_back({s_.channels, s_.kernel_h, s_.kernel_w, 1, outputs, taps, weights});
  }

  const ConvShape& s_;
  int64_t margin_;  // zero pixels before a row
  RowRing ring_;
  std::vector<RowFilter> filters_;
  std::vector<const float*> rows_;
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

// Writes the weight gradient, or adds to it, from the totals() of each thread. Those of unused threads are empty.
inline void write_weight_gradient(const ConvShape& s, const std::vector<std::vector<double>>& totals, bool add,
                                  float* dweights) {
  const int64_t taps = s.kernel_h * s.kernel_w;
  for (int64_t c = 0; c < s.channels; ++c) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      double total = add ? dweights[c * taps + tap] : 0.0;
      for (const auto& part : totals) {
        if (!part.empty()) total += WeightSums::total(s, part, c, tap);
      }
      dweights[c * taps + tap] = static_cast<float>(total);
    }
  }
}

}  // namespace ppzoo::depthwise_rows
