// Depthwise convolutions, one row at a time.
//
// Layout: NHWC; weights are transposed from C x 1 x KH x KW to KH x KW x C, so that a vector holds kLanes channels of
// one pixel or tap. The last vector overlaps the one before if the channels are not a multiple of kLanes.
//
// Forward loop nest: rows of outputs -> vectors of channels -> groups of 8 (then 4, 1) output pixels, whose sums stay
// in registers -> taps. The input rows under the filter are in a ring buffer (RowRing) with zeros for the padding, so
// that the loops over pixels need no bounds checks. The ring is filled by copying, by normalizing, or by recomputing an
// expansion (KernelInput). Parallel over rows of outputs.
//
// Backward: for each row of the output's gradient (also in a ring): load it or compute it from the batch norm, add its
// products to the weight gradient, and write those rows of the input's gradient that are complete. Parallel over
// images, with one weight gradient per thread: summed in float over kSummedPixels pixels, beyond that in double.
#include "kernels/depthwise.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "kernels/integer_math.h"
#include "kernels/parallel.h"
#include "kernels/simd.h"

namespace ppzoo {
namespace {

// A ring buffer of the last `rows` rows of an image. Rows are aligned to vectors: loads that cross cache lines take
// twice as long.
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
std::vector<float> to_channels_last(const ConvShape& s, const float* weights) {
  const int64_t taps = s.kernel_h * s.kernel_w;
  std::vector<float> transposed(taps * s.channels);
  for (int64_t c = 0; c < s.channels; ++c) {
    for (int64_t tap = 0; tap < taps; ++tap) transposed[tap * s.channels + c] = weights[c * taps + tap];
  }
  return transposed;
}

// Calls body(channel) for vectors of kLanes channels from `channel` on. The last one overlaps the one before if the
// channels are not a multiple of kLanes.
template <class Body>
void for_channel_vectors(int64_t channels, Body&& body) {
  for (int64_t channel = 0; channel < channels; channel += kLanes) body(std::min(channel, channels - kLanes));
}

// A column of the filter, and the input pixel that it multiplies for the first output.
struct Tap {
  int64_t kw, pixel;
};

// Computes a row of outputs: y[i y_step] = sum over kh and taps of rows[kh][tap.pixel + i x_step] weights[kh][tap.kw].
// Rows that are null are zeros.
struct RowFilter {
  int64_t channels, kernel_h, kernel_w, x_step, y_step, outputs;
  std::vector<Tap> taps;
  const float* weights;

  template <int kPixels>
  void pixels(const float* const* rows, int64_t first, int64_t channel, float* y) const {
    Vector sums[kPixels] = {};
    for (int64_t kh = 0; kh < kernel_h; ++kh) {
      if (rows[kh] == nullptr) continue;
      for (const Tap& tap : taps) {
        const float* from = rows[kh] + (tap.pixel + first * x_step) * channels + channel;
        const Vector factor = load(weights + (kh * kernel_w + tap.kw) * channels + channel);
#pragma GCC unroll 8
        for (int i = 0; i < kPixels; ++i) sums[i] += load(from + i * x_step * channels) * factor;
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i) store(sums[i], y + (first + i) * y_step * channels + channel);
  }

  void operator()(const float* const* rows, float* y) const {
    for_channel_vectors(channels, [&](int64_t channel) {
      int64_t i = 0;
      for (; i + 8 <= outputs; i += 8) pixels<8>(rows, i, channel, y);
      for (; i + 4 <= outputs; i += 4) pixels<4>(rows, i, channel, y);
      for (; i < outputs; ++i) pixels<1>(rows, i, channel, y);
    });
  }
};

// The input rows under the filter, with zeros for the left and right padding. Rows are fetched (copied, normalized or
// recomputed) into a ring buffer when they are first needed.
class PaddedRows {
 public:
  PaddedRows(const ConvShape& s, const KernelInput& x)
      : s_(s),
        x_(x),
        ring_(depth(s), std::max(s.width + s.left + s.right, s.receptive_columns()), s.channels),
        products_(x.weights != nullptr ? depth(s) : 0, s.width, s.channels),
        cached_(depth(s), -1) {}
  void start(int64_t image) {
    first_ = image * s_.height, next_ = 0;
    std::fill(cached_.begin(), cached_.end(), -1);
  }
  // Sets `rows` to the rows under the filter for output row `row`; null for rows in the padding.
  void rows_for_output(int64_t row, std::vector<const float*>& rows) {
    for (int64_t kh = 0; kh < s_.kernel_h; ++kh) {
      const int64_t number = row * s_.stride_h + kh * s_.dilation_h - s_.top;
      const bool inside = number >= 0 && number < s_.height;
      if (inside) fetch(number, row * s_.stride_h - s_.top);
      rows[kh] = inside ? ring_.row(number) : nullptr;
    }
  }
  // Returns an input row before its norm. A row that has to be recomputed is cached in `products_`.
  const float* raw(int64_t number) {
    if (x_.weights == nullptr) return x_.raw_rows((first_ + number) * s_.width, s_.width, s_.channels, nullptr);
    int64_t& cached = cached_[number % cached_.size()];
    float* row = products_.row(number);
    if (cached != number) x_.raw_rows((first_ + number) * s_.width, s_.width, s_.channels, row);
    cached = number;
    return row;
  }

 private:
  static int64_t depth(const ConvShape& s) { return (s.kernel_h - 1) * s.dilation_h + s.stride_h; }
  void fetch(int64_t number, int64_t oldest) {
    for (next_ = std::max({next_, oldest, int64_t{0}}); next_ <= number; ++next_) {
      float* to = ring_.row(next_) + s_.left * s_.channels;
      if (x_.norm != nullptr) {
        x_.norm->apply_rows(raw(next_), nullptr, s_.width, to);
      } else {
        std::memcpy(to, raw(next_), sizeof(float) * s_.width * s_.channels);
      }
    }
  }
  const ConvShape& s_;
  const KernelInput x_;
  RowRing ring_, products_;
  std::vector<int64_t> cached_;  // the row number in each slot of `products_`, or -1
  int64_t first_ = 0, next_ = 0;
};

// Calls body(thread, image, first row, end row) in parallel for equal parts of the rows of all images.
template <class Body>
void for_rows(int64_t images, int64_t rows, int64_t work, Body&& body) {
  parallel_for(images * rows, work, [&](int thread, int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t image = begin / rows, row = begin % rows, last = std::min(rows, row + end - begin);
      body(thread, image, row, last);
      begin += last - row;
    }
  });
}

int64_t work_of(const ConvShape& s) { return s.output_size() * s.kernel_h * s.kernel_w; }

void convolve_rows(const ConvShape& s, const float* weights, PaddedRows& padded, int64_t image, int64_t begin,
                   int64_t end, Moments* moments, int thread, float* y) {
  std::vector<Tap> taps;
  for (int64_t kw = 0; kw < s.kernel_w; ++kw) taps.push_back({kw, kw * s.dilation_w});
  const RowFilter filter{s.channels, s.kernel_h, s.kernel_w, s.stride_w, 1, s.out_width(), taps, weights};
  std::vector<const float*> rows(s.kernel_h);
  padded.start(image);
  const int64_t width = s.out_width() * s.channels;
  for (int64_t row = begin; row < end; ++row) {
    padded.rows_for_output(row, rows);
    float* to = y + (image * s.out_height() + row) * width;
    filter(rows.data(), to);
    if (moments != nullptr) moments->add_rows(thread, to, s.out_width());
  }
}

// The backward pass of one thread, which processes the rows of the output's gradient in order.
class BackwardPass {
 public:
  // `weights`: kernel_h x kernel_w x channels.
  BackwardPass(const ConvShape& s, const KernelInput& x, const float* weights)
      : s_(s),
        padded_(s, x),
        margin_(std::max<int64_t>(0, ((s.kernel_w - 1) * s.dilation_w - s.left + s.stride_w - 1) / s.stride_w)),
        ring_((s.kernel_h - 1) * s.dilation_h / s.stride_h + 2,
              margin_ + std::max(s.out_width(), (s.width + s.left - 1) / s.stride_w + 1), s.channels),
        rows_(s.kernel_h),
        blocks_((s.channels + kLanes - 1) / kLanes),
        rows_summed_(std::max<int64_t>(1, kSummedPixels / s.out_width())),
        sums_(blocks_ * s.kernel_h * s.kernel_w * kLanes),
        totals_(sums_.size(), 0.0) {
    for (int64_t column = 0; column < std::min(s.stride_w, s.width); ++column) add_filter(column, weights);
  }

  // load_row(row, to) writes a row of the output's gradient. With `dx`, each row of the input's gradient is written to
  // row_buffer(row), and row_done(row) is called after that. With `weights`, the weight gradient is computed.
  template <class Load, class Buffer, class Done>
  void image(int64_t number, Load&& load_row, Buffer&& row_buffer, Done&& row_done, bool dx, bool weights) {
    padded_.start(number);
    int64_t done = 0;
    for (int64_t row = 0; row < s_.out_height(); ++row) {
      float* gradient = ring_.row(row) + margin_ * s_.channels;
      load_row(row, gradient);
      if (weights) add_to_weights(row, gradient);
      if ((row + 1) % rows_summed_ == 0) add_sums();
      // Rows of the input's gradient to which no later row of the output's gradient contributes.
      const bool last = row + 1 == s_.out_height();
      const int64_t ready = last ? s_.height : std::min((row + 1) * s_.stride_h - s_.top, s_.height);
      for (; dx && done < ready; ++done) {
        input_row(done, row_buffer(done));
        row_done(done);
      }
    }
    add_sums();
  }

  const std::vector<double>& totals() const { return totals_; }
  // An input row of the current image before its norm.
  const float* raw(int64_t row) { return padded_.raw(row); }

 private:
  const ConvShape& s_;
  PaddedRows padded_;
  int64_t margin_;  // zero pixels before a row of the output's gradient
  RowRing ring_;
  std::vector<RowFilter> input_filters_;
  std::vector<const float*> rows_;
  static constexpr int64_t kSummedPixels = 512;  // pixels that are summed in float
  int64_t blocks_, rows_summed_;
  std::vector<float> sums_;
  std::vector<double> totals_;

  // Adds the filter for the input's columns `column`, `column` + stride, ..., which have the same taps.
  void add_filter(int64_t column, const float* weights) {
    std::vector<Tap> taps;
    for (int64_t kw = 0; kw < s_.kernel_w; ++kw) {
      const int64_t position = column + s_.left - kw * s_.dilation_w + margin_ * s_.stride_w;
      if (position % s_.stride_w == 0) taps.push_back({kw, position / s_.stride_w});
    }
    const int64_t outputs = (s_.width - column + s_.stride_w - 1) / s_.stride_w;
    input_filters_.push_back({s_.channels, s_.kernel_h, s_.kernel_w, 1, s_.stride_w, outputs, taps, weights});
  }

  void add_sums() {
    for (size_t i = 0; i < sums_.size(); ++i) totals_[i] += sums_[i];
    std::fill(sums_.begin(), sums_.end(), 0.0f);
  }

  void input_row(int64_t number, float* to) {
    for (int64_t kh = 0; kh < s_.kernel_h; ++kh) {
      const int64_t position = number + s_.top - kh * s_.dilation_h, row = position / s_.stride_h;
      const bool inside = position >= 0 && position % s_.stride_h == 0 && row < s_.out_height();
      rows_[kh] = inside ? ring_.row(row) : nullptr;
    }
    for (size_t column = 0; column < input_filters_.size(); ++column) {
      input_filters_[column](rows_.data(), to + column * s_.channels);
    }
  }

  void add_to_weights(int64_t row, const float* gradient) {
    padded_.rows_for_output(row, rows_);
    const int64_t step = s_.stride_w * s_.channels, x_step = s_.dilation_w * s_.channels;
    float* sums = sums_.data();
    for_channel_vectors(s_.channels, [&](int64_t channel) {
      for (int64_t kh = 0; kh < s_.kernel_h; ++kh, sums += s_.kernel_w * kLanes) {
        if (rows_[kh] == nullptr) continue;
        const float* x = rows_[kh] + channel;
        const float* gradient_row = gradient + channel;
        int64_t tap = 0;
        for (; tap + 5 <= s_.kernel_w; tap += 5) {
          taps<5>(x + tap * x_step, gradient_row, step, x_step, sums + tap * kLanes);
        }
        for (; tap + 3 <= s_.kernel_w; tap += 3) {
          taps<3>(x + tap * x_step, gradient_row, step, x_step, sums + tap * kLanes);
        }
        for (; tap < s_.kernel_w; ++tap) taps<1>(x + tap * x_step, gradient_row, step, x_step, sums + tap * kLanes);
      }
    });
  }

  template <int kTaps>
  void taps(const float* x, const float* gradient_row, int64_t step, int64_t x_step, float* sums) const {
    Vector partial[kTaps];
#pragma GCC unroll 8
    for (int t = 0; t < kTaps; ++t) partial[t] = load(sums + t * kLanes);
    for (int64_t i = 0; i < s_.out_width(); ++i) {
      const Vector gradient = load(gradient_row + i * s_.channels);
#pragma GCC unroll 8
      for (int t = 0; t < kTaps; ++t) partial[t] += load(x + i * step + t * x_step) * gradient;
    }
#pragma GCC unroll 8
    for (int t = 0; t < kTaps; ++t) store(partial[t], sums + t * kLanes);
  }
};

// Runs the backward pass over all images. Without `weights` the input's gradient is not computed.
template <class Rows>
void run_backward(const ConvShape& s, const KernelInput& x, const float* weights, const Rows& rows, bool add,
                  float* dweights) {
  if (s.empty()) {
    if (dweights != nullptr && !add) std::fill_n(dweights, s.weight_size(), 0.0f);
    return;
  }
  const std::vector<float> transposed = weights != nullptr ? to_channels_last(s, weights) : std::vector<float>();
  const int64_t taps = s.kernel_h * s.kernel_w;
  std::vector<std::vector<double>> totals(max_threads());
  parallel_for(s.images, work_of(s), [&](int thread, int64_t begin, int64_t end) {
    BackwardPass pass(s, x, transposed.data());
    for (int64_t image = begin; image < end; ++image) {
      const auto first = [&](int64_t row) { return (image * s.height + row) * s.width; };
      pass.image(
          image, [&](int64_t row, float* to) { rows.load_row(thread, image, row, to); },
          [&](int64_t row) { return rows.row_buffer(thread, first(row)); },
          [&](int64_t row) {
            if constexpr (std::is_same_v<Rows, RowCallbacks>) rows.row_done(thread, first(row), pass.raw(row));
          },
          weights != nullptr, dweights != nullptr);
    }
    totals[thread] = pass.totals();
  });
  if (dweights == nullptr) return;
  for (int64_t c = 0; c < s.channels; ++c) {
    const int64_t first = std::min(c / kLanes * kLanes, s.channels - kLanes), block = c / kLanes;
    for (int64_t tap = 0; tap < taps; ++tap) {
      double total = add ? dweights[c * taps + tap] : 0.0;
      for (const auto& part : totals) {
        if (!part.empty()) total += part[(block * taps + tap) * kLanes + c - first];
      }
      dweights[c * taps + tap] = static_cast<float>(total);
    }
  }
}

// Gradients of output and input that are complete tensors. With `norm`, dy is the gradient of the norm's output.
struct DenseGradients {
  const ConvShape& shape;
  const float* dy;
  float* dx;
  const NormGradient* norm = nullptr;
  Activation activation = Activation::kNone;
  const float* raw = nullptr;

  void load_row(int, int64_t image, int64_t row, float* to) const {
    const int64_t width = shape.out_width(), start = (image * shape.out_height() + row) * width * shape.channels;
    if (norm != nullptr) {
      norm->apply_rows(raw + start, dy + start, activation, width, to);
    } else {
      std::memcpy(to, dy + start, sizeof(float) * width * shape.channels);
    }
  }
  float* row_buffer(int, int64_t first) const { return dx + first * shape.channels; }
};

}  // namespace

bool depthwise(const ConvShape& s) {
  return s.groups == s.channels && s.out_channels == s.channels && s.channels >= kLanes;
}

void depthwise_convolve(const ConvShape& s, const float* x, const float* weights, const float* bias, float* y) {
  if (s.empty()) return;
  const std::vector<float> transposed = to_channels_last(s, weights);
  const int64_t width = s.out_width() * s.channels;
  for_rows(s.images, s.out_height(), work_of(s), [&](int, int64_t image, int64_t begin, int64_t end) {
    PaddedRows padded(s, x);
    convolve_rows(s, transposed.data(), padded, image, begin, end, nullptr, 0, y);
    if (bias == nullptr) return;
    for (int64_t i = (image * s.out_height() + begin) * width; i < (image * s.out_height() + end) * width; ++i) {
      y[i] += bias[i % s.channels];
    }
  });
}

Statistics depthwise_convolve_statistics(const ConvShape& s, const KernelInput& x, const float* weights, float* y) {
  if (s.empty()) {
    std::fill_n(y, s.output_size(), 0.0f);
    return Statistics::zeros(s.channels);
  }
  const std::vector<float> transposed = to_channels_last(s, weights);
  PaddedRows first(s, x);
  convolve_rows(s, transposed.data(), first, 0, 0, 1, nullptr, 0, y);
  Moments moments(s.channels, y, s.output_pixels());
  for_rows(s.images, s.out_height(), work_of(s), [&](int thread, int64_t image, int64_t begin, int64_t end) {
    PaddedRows padded(s, x);
    convolve_rows(s, transposed.data(), padded, image, begin, end, &moments, thread, y);
  });
  return moments.statistics();
}

void depthwise_input_gradient(const ConvShape& s, const float* weights, const float* dy, float* dx) {
  run_backward(s, nullptr, weights, DenseGradients{s, dy, dx}, false, nullptr);
}

void depthwise_weight_gradient(const ConvShape& s, const float* x, const float* dy, bool add, float* dweights) {
  run_backward(s, x, nullptr, DenseGradients{s, dy, nullptr}, add, dweights);
}

void depthwise_gradients(const ConvShape& s, const NormGradient& gradient, Activation activation, const float* x,
                         const float* weights, const float* raw, const float* dy, float* dx, float* dweights) {
  const DenseGradients rows{s, dy, dx, &gradient, activation, raw};
  run_backward(s, x, dx != nullptr ? weights : nullptr, rows, false, dweights);
}

void depthwise_gradients(const ConvShape& s, const KernelInput& x, const float* weights, const RowCallbacks& rows,
                         float* dweights) {
  run_backward(s, x, weights, rows, false, dweights);
}

}  // namespace ppzoo
