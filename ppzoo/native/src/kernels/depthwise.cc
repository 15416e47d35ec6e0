// Depthwise convolutions, one row at a time.
//
// Layout: NHWC; weights are transposed from C x 1 x KH x KW to KH x KW x C. A tap is one of the KH x KW positions of
// the filter. depthwise_rows.h has the inner loops.
//
// Forward loop nest: rows of outputs -> vectors of channels -> groups of output pixels -> taps. The input rows under
// the filter are in a ring buffer (RowRing) with zeros for the padding, so that the loops over pixels need no bounds
// checks. The ring buffer is filled by copying rows, by normalizing them, or by recomputing an expansion (KernelInput).
// Parallel over rows of outputs.
//
// Backward: for each row of the output's gradient (also in a ring buffer), load the row or compute it from the batch
// norm after the convolution, add its products to the weight gradient, and write those rows of the input's gradient to
// which no further row contributes. Parallel over images, with one weight gradient per thread (WeightSums).
#include "kernels/depthwise.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "kernels/depthwise_rows.h"
#include "kernels/simd.h"

namespace ppzoo {
namespace {

using namespace depthwise_rows;

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
    const auto fetched = [&](int64_t number) {
      fetch(number, row * s_.stride_h - s_.top);
      return ring_.row(number);
    };
    set_rows_for_output(s_, row, fetched, rows);
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

void convolve_rows(const ConvShape& s, const float* weights, PaddedRows& padded, int64_t image, int64_t begin,
                   int64_t end, Moments* moments, int thread, float* y) {
  const RowFilter filter = forward_filter(s, weights);
  std::vector<const float*> rows(s.kernel_h);
  padded.start(image);
  const int64_t width = s.out_width() * s.channels;
  for (int64_t row = begin; row < end; ++row) {
    padded.rows_for_output(row, rows);
    float* to = y + (image * s.out_height() + row) * width;
    for_channel_vectors(s.channels, [&](int64_t channel) {
      float* first = to + channel;
      filter(rows.data(), channel, [=, &s](int64_t i, Vector sum) { store(sum, first + i * s.channels); });
    });
    if (moments != nullptr) moments->add_rows(thread, to, s.out_width());
  }
}

// The backward pass of one thread, which processes the rows of the output's gradient in order.
class BackwardPass {
 public:
  // `weights`: kernel_h x kernel_w x channels.
  BackwardPass(const ConvShape& s, const KernelInput& x, const float* weights)
      : s_(s), padded_(s, x), gradients_(s, weights), rows_(s.kernel_h), sums_(s) {}

  // load_row(row, to) writes a row of the output's gradient. With `dx`, each row of the input's gradient is written to
  // row_buffer(row), and row_done(row) is called after that. With `weights`, the weight gradient is computed.
  template <class Load, class Buffer, class Done>
  void image(int64_t number, Load&& load_row, Buffer&& row_buffer, Done&& row_done, bool dx, bool weights) {
    padded_.start(number);
    int64_t done = 0;
    for (int64_t row = 0; row < s_.out_height(); ++row) {
      float* gradient = gradients_.row(row);
      load_row(row, gradient);
      if (weights) {
        padded_.rows_for_output(row, rows_);
        sums_.add(rows_.data(), gradient);
      }
      for (; dx && done < gradients_.complete_inputs(row); ++done) {
        write_input_row(done, row_buffer(done));
        row_done(done);
      }
    }
    sums_.flush();
  }

  // See WeightSums.
  const std::vector<double>& totals() const { return sums_.totals(); }
  // An input row of the current image before its norm.
  const float* raw(int64_t row) { return padded_.raw(row); }

 private:
  const ConvShape& s_;
  PaddedRows padded_;
  GradientRows gradients_;
  std::vector<const float*> rows_;
  WeightSums sums_;

  void write_input_row(int64_t number, float* to) {
    gradients_.select_input(number);
    for_channel_vectors(s_.channels, [&](int64_t channel) {
      gradients_.filter(channel, [=](int64_t offset, Vector sum) { store(sum, to + offset); });
    });
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
  const std::vector<float> transposed = weights != nullptr ? channels_last_weights(s, weights) : std::vector<float>();
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
  if (dweights != nullptr) write_weight_gradient(s, totals, add, dweights);
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
  const std::vector<float> transposed = channels_last_weights(s, weights);
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
  const std::vector<float> transposed = channels_last_weights(s, weights);
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
