// Depthwise convolutions of bfloat16 images, one row at a time, as depthwise.cc computes them in float32.
//
// Rows are converted to float32, and normalized if there is a norm, when they are loaded into a ring buffer
// (depthwise_rows.h): once, although a filter reads them several times. Products and sums are float32, and outputs are
// rounded to bfloat16 when they are stored. All loops over a row are vectors of channels -> pixels, so that constants
// and sums of a channel stay in registers.
//
// Forward: for each row of outputs, load the input rows under the filter. Parallel over rows of outputs.
//
// Backward: for each row of the output's gradient: load it or compute it from the batch norm, add its products to the
// weight gradient, and write those rows of the input's gradient that are complete; the first pass over the norm of the
// input is part of that. Parallel over images, with one weight gradient per thread.
#include "kernels/bfloat16_depthwise.h"

#include <algorithm>

#include "kernels/activation_simd.h"
#include "kernels/depthwise_rows.h"
#include "kernels/parallel.h"

namespace ppzoo {
namespace {

using namespace depthwise_rows;

// Writes a row of pixels in float32: from(channel) returns a function of an index in the row that computes a vector.
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

// The second pass of a norm (NormGradient::apply) for a row.
void differentiate_row(const NormGradient& norm, Activation activation, const Bfloat16* raw, const Bfloat16* dy,
                       int64_t pixels, int64_t channels, float* to) {
  dispatch_activation(activation, [&](auto tag) {
    const auto from = [&](int64_t channel) {
      const Vector k = load(norm.scale() + channel), o = load(norm.offset() + channel);
      const Vector p = load(norm.slope() + channel), q = load(norm.constant() + channel);
      const Vector mean = load(norm.mean() + channel);
      return [=](int64_t i) {
        const Vector x = load(raw + i);
        const Vector f = activation_gradient<decltype(tag)::value>(x * k + o, load(dy + i));
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
    for (int64_t kh = 0; kh < s_.kernel_h; ++kh) {
      const int64_t number = row * s_.stride_h + kh * s_.dilation_h - s_.top;
      const bool inside = number >= 0 && number < s_.height;
      if (inside) load_rows(number, row * s_.stride_h - s_.top);
      rows[kh] = inside ? ring_.row(number) : nullptr;
    }
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

int64_t work_of(const ConvShape& s) { return s.output_size() * s.kernel_h * s.kernel_w; }

// Convolves the rows [begin, end) of the outputs of one image.
void convolve_rows(const ConvShape& s, const float* weights, PaddedRows& padded, int64_t image, int64_t begin,
                   int64_t end, Moments* moments, int thread, Bfloat16* y) {
  std::vector<Tap> taps;
  for (int64_t kw = 0; kw < s.kernel_w; ++kw) taps.push_back({kw, kw * s.dilation_w});
  const RowFilter filter{s.channels, s.kernel_h, s.kernel_w, s.stride_w, s.out_width(), taps, weights};
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
  const int64_t height = s.out_height();
  parallel_for(s.images * height, work_of(s), [&](int thread, int64_t begin, int64_t end) {
    PaddedRows padded(s, x);
    while (begin < end) {
      const int64_t image = begin / height, row = begin % height, last = std::min(height, row + end - begin);
      convolve_rows(s, weights, padded, image, row, last, moments, thread, y);
      begin += last - row;
    }
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
        margin_(std::max<int64_t>(0, ((s.kernel_w - 1) * s.dilation_w - s.left + s.stride_w - 1) / s.stride_w)),
        ring_((s.kernel_h - 1) * s.dilation_h / s.stride_h + 2,
              margin_ + std::max(s.out_width(), (s.width + s.left - 1) / s.stride_w + 1), s.channels),
        rows_(s.kernel_h),
        sums_(s),
        norm_sums_(to.norm != nullptr ? 2 * round_up(s.channels, kLanes) : 0, 0.0) {
    for (int64_t column = 0; column < std::min(s.stride_w, s.width); ++column) add_filter(column, weights);
  }

  void image(int64_t number) {
    padded_.start(number);
    int64_t done = 0;
    for (int64_t row = 0; row < s_.out_height(); ++row) {
      float* gradient = ring_.row(row) + margin_ * s_.channels;
      load_gradient(number * s_.out_height() + row, gradient);
      if (to_.dweights != nullptr) {
        padded_.rows_for_output(row, rows_);
        sums_.add(rows_.data(), gradient);
      }
      // Rows of the input's gradient to which no later row of the output's gradient contributes.
      const bool last = row + 1 == s_.out_height();
      const int64_t ready = last ? s_.height : std::min((row + 1) * s_.stride_h - s_.top, s_.height);
      for (; to_.dx != nullptr && done < ready; ++done) write_input_row(number, done);
    }
  }

  // Ends the pass: returns the weight gradient (see WeightSums), and adds the sums of the input's norm to that.
  const std::vector<double>& finish() {
    for (int64_t c = 0; to_.norm != nullptr && c < s_.channels; ++c) {
      const int64_t place = c / kLanes * 2 * kLanes + c - std::min(c / kLanes * kLanes, s_.channels - kLanes);
      to_.norm->add_sums(thread_, c, norm_sums_[place], norm_sums_[place + kLanes]);
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

  // Adds the filter for the input's columns `column`, `column` + stride, ..., which have the same taps.
  void add_filter(int64_t column, const float* weights) {
    std::vector<Tap> taps;
    for (int64_t kw = 0; kw < s_.kernel_w; ++kw) {
      const int64_t position = column + s_.left - kw * s_.dilation_w + margin_ * s_.stride_w;
      if (position % s_.stride_w == 0) taps.push_back({kw, position / s_.stride_w});
    }
    const int64_t outputs = (s_.width - column + s_.stride_w - 1) / s_.stride_w;
    input_filters_.push_back({s_.channels, s_.kernel_h, s_.kernel_w, 1, outputs, taps, weights});
  }

  void write_input_row(int64_t image, int64_t number) {
    for (int64_t kh = 0; kh < s_.kernel_h; ++kh) {
      const int64_t position = number + s_.top - kh * s_.dilation_h, row = position / s_.stride_h;
      const bool inside = position >= 0 && position % s_.stride_h == 0 && row < s_.out_height();
      rows_[kh] = inside ? ring_.row(row) : nullptr;
    }
    const int64_t start = (image * s_.height + number) * s_.width * s_.channels;
    if (to_.norm != nullptr) {
      return dispatch_activation(to_.activation, [&](auto tag) { write_masked_row<decltype(tag)::value>(start); });
    }
    for_channel_vectors(s_.channels, [&](int64_t channel) {
      filter_channels(channel, [&](int64_t place, Vector sum) { store(sum, to_.dx + start + place); });
    });
  }

  // Calls write(index in the row, sum) for a vector of channels of an input row's gradient.
  template <class Write>
  void filter_channels(int64_t channel, const Write& write) const {
    for (size_t column = 0; column < input_filters_.size(); ++column) {
      const int64_t first = static_cast<int64_t>(column) * s_.channels + channel, step = s_.stride_w * s_.channels;
      input_filters_[column](rows_.data(), channel, [&](int64_t i, Vector sum) { write(first + i * step, sum); });
    }
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
      filter_channels(channel, [&](int64_t place, Vector gradient) {
        const Vector x = load(raw + place), f = activation_gradient<kActivation>(x * k + o, gradient);
        store(f, to + place);
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
  int64_t margin_;  // zero pixels before a row of the output's gradient
  RowRing ring_;
  std::vector<RowFilter> input_filters_;
  std::vector<const float*> rows_;
  WeightSums sums_;
  std::vector<double> norm_sums_;  // for each vector of channels: those of NormGradient::add_sums
};

void write_weight_gradient(const ConvShape& s, const std::vector<std::vector<double>>& totals, bool add,
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
