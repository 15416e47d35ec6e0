// Depthwise convolutions of bfloat16 images, one row at a time, as depthwise.cc computes them in float32.
//
// Layout: images are NHWC in bfloat16. Weights are float32 and are transposed from C x 1 x KH x KW to KH x KW x C. Rows
// of pixels are converted to float32, and normalized if there is a norm, when they are loaded into a ring buffer
// (depthwise_rows.h). That happens once for each row, although a filter reads the row several times. Products and sums
// are float32, and outputs are rounded to bfloat16 when they are stored. The loop nest within a row is vectors of
// channels -> pixels, so that constants and sums of a channel stay in registers.
//
// Forward: for each row of outputs, load the input rows under the filter, and compute the row. Parallel over rows of
// outputs.
//
// Backward: for each row of the output's gradient, load the row or compute it from the batch norm after the
// convolution, add its products to the weight gradient, and write those rows of the input's gradient to which no
// further row contributes. If the input has a norm, writing a row also adds the row to the first pass of that norm.
// Parallel over images, with one weight gradient per thread.
#include "kernels/bfloat16_depthwise.h"

#include <algorithm>
#include <vector>

#include "kernels/activation_simd.h"
#include "kernels/depthwise_rows.h"

namespace ppzoo {
namespace {

using namespace depthwise_rows;

// Writes a row of pixels in float32. from(channel) returns a function that computes the vector at an index of the row.
template <class From>
void write_row(int64_t pixels, int64_t channels, const From& from, float* to) {
  for_channel_vectors(channels, [&](int64_t channel) {
    const auto value = from(channel);
    for (int64_t i = channel; i < pixels * channels; i += channels) store(value(i), to + i);
  });
}

void widen_row(const Bfloat16* x, int64_t pixels, int64_t channels, float* to) {
  write_row(pixels, channels, [x](int64_t) { return [x](int64_t i) { return load(x + i); }; }, to);
}

void normalize_row(const Normalizer& norm, const Bfloat16* x, int64_t pixels, int64_t channels, float* to) {
  dispatch_activation(norm.activation(), [&](auto tag) {
    const auto from = [&](int64_t channel) {
      const Vector k = load(norm.scale() + channel), o = load(norm.offset() + channel);
      return [=](int64_t i) { return activate<decltype(tag)::value>(load(x + i) * k + o); };
    };
    write_row(pixels, channels, from, to);
  });
}

// Writes a row of the gradient of a norm's input: the second pass of the norm (NormGradient::apply).
void differentiate_row(const NormGradient& norm, Activation activation, const Bfloat16* raw, const Bfloat16* dy,
                       int64_t pixels, int64_t channels, float* to) {
  const float multiplier = norm.multiplier();
  dispatch_activation(activation, [&](auto tag) {
    const auto from = [&](int64_t channel) {
      const Vector k = load(norm.scale() + channel), o = load(norm.offset() + channel);
      const Vector p = load(norm.slope() + channel), q = load(norm.constant() + channel);
      const Vector mean = load(norm.mean() + channel);
      return [=](int64_t i) {
        const Vector x = load(raw + i);
        const Vector f = activation_gradient<decltype(tag)::value>(x * k + o, multiplier * load(dy + i));
        return k * f + (p * (x - mean) + q);
      };
    };
    write_row(pixels, channels, from, to);
  });
}

// The input rows under the filter in float32, with zeros for the left and right padding. They are loaded into a ring
// buffer when they are first needed.
class PaddedRows {
 public:
  PaddedRows(const ConvShape& s, const Bfloat16Input& x)
      : s_(s),
        x_(x),
        ring_((s.kernel_h - 1) * s.dilation_h + s.stride_h, std::max(s.width + s.left + s.right, s.receptive_columns()),
              s.channels) {}
  void start(int64_t image) { first_ = image * s_.height, next_ = 0; }
  // Sets `rows` to the rows under the filter for output row `row`; null for rows in the padding.
  void rows_for_output(int64_t row, std::vector<const float*>& rows) {
    const auto loaded = [&](int64_t number) {
      load_rows(number, row * s_.stride_h - s_.top);
      return ring_.row(number);
    };
    set_rows_for_output(s_, row, loaded, rows);
  }

 private:
  void load_rows(int64_t number, int64_t oldest) {
    const int64_t size = s_.width * s_.channels;
    for (next_ = std::max({next_, oldest, int64_t{0}}); next_ <= number; ++next_) {
      const Bfloat16* from = x_.data + (first_ + next_) * size;
      float* to = ring_.row(next_) + s_.left * s_.channels;
      if (x_.norm != nullptr) {
        normalize_row(*x_.norm, from, s_.width, s_.channels, to);
      } else {
        widen_row(from, s_.width, s_.channels, to);
      }
    }
  }
  const ConvShape& s_;
  const Bfloat16Input x_;
  RowRing ring_;
  int64_t first_ = 0, next_ = 0;
};

// Convolves the rows [begin, end) of the outputs of one image.
void convolve_rows(const ConvShape& s, const float* weights, PaddedRows& padded, int64_t image, int64_t begin,
                   int64_t end, Moments* moments, int thread, Bfloat16* y) {
  const RowFilter filter = forward_filter(s, weights);
  std::vector<const float*> rows(s.kernel_h);
  padded.start(image);
  for (int64_t row = begin; row < end; ++row) {
    padded.rows_for_output(row, rows);
    Bfloat16* to = y + (image * s.out_height() + row) * s.out_width() * s.channels;
    for_channel_vectors(s.channels, [&](int64_t channel) {
      filter(rows.data(), channel, [&](int64_t i, Vector sum) { store(sum, to + i * s.channels + channel); });
    });
    if (moments != nullptr) moments->add_rows(thread, to, s.out_width());
  }
}

void convolve_all(const ConvShape& s, const Bfloat16Input& x, const float* weights, Moments* moments, Bfloat16* y) {
  for_rows(s.images, s.out_height(), work_of(s), [&](int thread, int64_t image, int64_t begin, int64_t end) {
    PaddedRows padded(s, x);
    convolve_rows(s, weights, padded, image, begin, end, moments, thread, y);
  });
}

// The backward pass of one thread.
class BackwardPass {
 public:
  // `weights`: kernel_h x kernel_w x channels.
  BackwardPass(const ConvShape& s, const Bfloat16Input& x, const float* weights, const Bfloat16OutputGradient& gradient,
               const Bfloat16DepthwiseGradients& to, int thread)
      : s_(s),
        x_(x),
        gradient_(gradient),
        to_(to),
        thread_(thread),
        padded_(s, x),
        gradients_(s, weights),
        rows_(s.kernel_h),
        sums_(s),
        norm_sums_(to.norm != nullptr ? 2 * round_up(s.channels, kLanes) : 0, 0.0) {}

  void image(int64_t number) {
    padded_.start(number);
    int64_t done = 0;
    for (int64_t row = 0; row < s_.out_height(); ++row) {
      float* gradient = gradients_.row(row);
      load_gradient(number * s_.out_height() + row, gradient);
      if (to_.dweights != nullptr) {
        padded_.rows_for_output(row, rows_);
        sums_.add(rows_.data(), gradient);
      }
      for (; to_.dx != nullptr && done < gradients_.complete_inputs(row); ++done) write_input_row(number, done);
    }
  }

  // Ends the pass: returns the weight gradient (see WeightSums), and adds the sums for the input's norm to that norm.
  const std::vector<double>& finish() {
    for (int64_t c = 0; to_.norm != nullptr && c < s_.channels; ++c) {
      const int64_t index = c / kLanes * 2 * kLanes + c - std::min(c / kLanes * kLanes, s_.channels - kLanes);
      to_.norm->add_sums(thread_, c, norm_sums_[index], norm_sums_[index + kLanes]);
    }
    sums_.flush();
    return sums_.totals();
  }

 private:
  void load_gradient(int64_t row, float* to) {
    const int64_t start = row * s_.out_width() * s_.channels;
    if (gradient_.norm == nullptr) return widen_row(gradient_.dy + start, s_.out_width(), s_.channels, to);
    differentiate_row(*gradient_.norm, gradient_.activation, gradient_.raw + start, gradient_.dy + start,
                      s_.out_width(), s_.channels, to);
  }

  void write_input_row(int64_t image, int64_t number) {
    gradients_.select_input(number);
    const int64_t start = (image * s_.height + number) * s_.width * s_.channels;
    if (to_.norm != nullptr) {
      return dispatch_activation(to_.activation, [&](auto tag) { write_masked_row<decltype(tag)::value>(start); });
    }
    for_channel_vectors(s_.channels, [&](int64_t channel) {
      gradients_.filter(channel, [&](int64_t offset, Vector sum) { store(sum, to_.dx + start + offset); });
    });
  }

  template <Activation kActivation>
  void write_masked_row(int64_t start) {
    const NormGradient& norm = *to_.norm;
    const Bfloat16* raw = x_.data + start;
    Bfloat16* to = to_.dx + start;
    double* totals = norm_sums_.data();
    for_channel_vectors(s_.channels, [&](int64_t channel) {
      const Vector k = load(norm.scale() + channel), o = load(norm.offset() + channel);
      const Vector mean = load(norm.mean() + channel);
      Vector sum{}, product{};
      gradients_.filter(channel, [&](int64_t offset, Vector gradient) {
        const Vector x = load(raw + offset), f = activation_gradient<kActivation>(x * k + o, gradient);
        store(f, to + offset);
        sum += f;
        product += f * (x - mean);
      });
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        totals[lane] += sum[lane];
        totals[kLanes + lane] += product[lane];
      }
      totals += 2 * kLanes;
    });
  }

  const ConvShape& s_;
  const Bfloat16Input& x_;
  const Bfloat16OutputGradient& gradient_;
  const Bfloat16DepthwiseGradients& to_;
  int thread_;
  PaddedRows padded_;
  GradientRows gradients_;
  std::vector<const float*> rows_;
  WeightSums sums_;
  std::vector<double> norm_sums_;  // for each vector of channels: the two sums of NormGradient::add_sums
};

}  // namespace

void bfloat16_depthwise_convolve(const ConvShape& s, const Bfloat16Input& x, const float* weights, Bfloat16* y,
                                 Moments* moments) {
  if (s.empty()) {
    std::fill_n(y, s.output_size(), Bfloat16{});
    return;
  }
  convolve_all(s, x, channels_last_weights(s, weights).data(), moments, y);
}

Statistics bfloat16_depthwise_statistics(const ConvShape& s, const Bfloat16Input& x, const float* weights,
                                         Bfloat16* y) {
  if (s.empty()) {
    std::fill_n(y, s.output_size(), Bfloat16{});
    return Statistics::zeros(s.channels);
  }
  const std::vector<float> transposed = channels_last_weights(s, weights);
  PaddedRows first(s, x);
  convolve_rows(s, transposed.data(), first, 0, 0, 1, nullptr, 0, y);
  Moments moments(s.channels, static_cast<const Bfloat16*>(y), s.output_pixels());
  convolve_all(s, x, transposed.data(), &moments, y);
  return moments.statistics();
}

void bfloat16_depthwise_gradients(const ConvShape& s, const Bfloat16Input& x, const float* weights,
                                  const Bfloat16OutputGradient& gradient, const Bfloat16DepthwiseGradients& to) {
  if (s.empty()) {
    if (to.dweights != nullptr && !to.add) std::fill_n(to.dweights, s.weight_size(), 0.0f);
    if (to.dx != nullptr) std::fill_n(to.dx, s.input_size(), Bfloat16{});
    return;
  }
  const std::vector<float> transposed = to.dx != nullptr ? channels_last_weights(s, weights) : std::vector<float>();
  std::vector<std::vector<double>> totals(max_threads());
  parallel_for(s.images, work_of(s), [&](int thread, int64_t begin, int64_t end) {
    BackwardPass pass(s, x, transposed.data(), gradient, to, thread);
    for (int64_t image = begin; image < end; ++image) pass.image(image);
    totals[thread] = pass.finish();
  });
  if (to.dweights != nullptr) write_weight_gradient(s, totals, to.add, to.dweights);
}

}  // namespace ppzoo
