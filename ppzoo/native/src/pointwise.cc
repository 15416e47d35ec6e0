// Convolutions of 1x1 pixel: products of a matrix with a row for each pixel. Blocks of rows go through all that is to
// be done with them, batch norm's passes included, while they are in the cache.
#include "pointwise.h"

#include <algorithm>

namespace ppzoo {
const float* Input::raw(int64_t first, int64_t count, int64_t channels, float* room) const {
  if (weights == nullptr) return data + first * channels;
  weights->multiply(data + first * weights->depth(), count, room);
  return room;
}

const float* Input::rows(int64_t first, int64_t count, int64_t channels, float* room) const {
  const float* from = raw(first, count, channels, room);
  if (norm == nullptr) return from;
  norm->rows(from, nullptr, count, room);
  return room;
}

WeightSums::WeightSums(int64_t in, int64_t out) : in_(in), out_(out), begun_(threads(), false) {
  // Vectors run along the side that fills them better.
  along_out_ = round_up(out, kLanes) * in < round_up(in, kLanes) * out;
  step_ = round_up(along_out_ ? out : in, kLanes);
  size_ = step_ * (along_out_ ? in : out);
  sums_ = buffer(Purpose::kPartialWeights, size_ * threads());
}

void WeightSums::add(int thread, const float* x, const float* dy, int64_t rows) {
  float* sum = sums_ + thread * size_;
  if (along_out_) {
    multiply_transposed(x, in_, dy, out_, rows, begun_[thread], sum, step_);
  } else {
    multiply_transposed(dy, out_, x, in_, rows, begun_[thread], sum, step_);
  }
  begun_[thread] = true;
}

void WeightSums::finish(bool add, float* dweights) {
  const auto put = [add](const float* from, int64_t step, int64_t count, float* to) {
    for (int64_t i = 0; i < count; ++i) to[i] = (add ? to[i] : 0.0f) + from[i * step];
  };
  if (std::none_of(begun_.begin(), begun_.end(), [](char begun) { return begun; })) {
    if (!add) std::fill_n(dweights, out_ * in_, 0.0f);
    return;
  }
  const float* sum = total();
  parallel(out_, out_ * in_, [&](int, int64_t begin, int64_t end) {
    if (!along_out_) {
      for (int64_t o = begin; o < end; ++o) put(sum + o * step_, 1, in_, dweights + o * in_);
      return;
    }
    for (int64_t first = 0; first < in_; first += kLanes) {  // a cache line of what is written, at a time
      const int64_t count = std::min(kLanes, in_ - first);
      for (int64_t o = begin; o < end; ++o) put(sum + first * step_ + o, step_, count, dweights + o * in_ + first);
    }
  });
}

// The sums of all threads in the place of the first that has any.
const float* WeightSums::total() {
  const auto first = std::find(begun_.begin(), begun_.end(), true) - begun_.begin();
  float* sum = sums_ + first * size_;
  for (int64_t thread = first + 1; thread < threads(); ++thread) {
    if (begun_[thread]) accumulate(sums_ + thread * size_, size_, sum);
  }
  return sum;
}

bool pointwise(const ConvShape& s) {
  return s.kernel_h * s.kernel_w * s.stride_h * s.stride_w * s.groups == 1 &&
         s.top + s.bottom + s.left + s.right == 0;
}

void pointwise_convolve(const ConvShape& s, const float* x, const float* weights, const float* bias, float* y) {
  const int64_t in = s.channels, out = s.out_channels;
  const Panels panels = Panels::forward(weights, in, out);
  for_blocks(s.source_pixels(), in, out, [&](int, int64_t row, int64_t rows) {
    panels.multiply(x + row * in, rows, y + row * out);
    if (bias == nullptr) return;
    for (int64_t i = row; i < row + rows; ++i) {
      for (int64_t c = 0; c < out; ++c) y[i * out + c] += bias[c];
    }
  });
}

Statistics pointwise_convolve_statistics(const ConvShape& s, const Input& x, const float* weights, float* y) {
  const int64_t in = s.channels, out = s.out_channels, pixels = s.source_pixels(), room = block_rows(in, out) * in;
  if (s.empty()) return Statistics::none(out);
  const Panels panels = Panels::forward(weights, in, out);
  float* rooms = buffer(Purpose::kTiles, room * threads());
  panels.multiply(x.rows(0, 1, in, rooms), 1, y);
  Moments moments(out, y, pixels);
  for_blocks(pixels, in, out, [&](int thread, int64_t row, int64_t rows) {
    panels.multiply(x.rows(row, rows, in, rooms + thread * room), rows, y + row * out);
    moments.add_rows(thread, y + row * out, rows);
  });
  return moments.statistics();
}

void pointwise_input_gradient(const ConvShape& s, const float* weights, const float* dy, float* dx) {
  const int64_t in = s.channels, out = s.out_channels;
  const Panels panels = Panels::backward(weights, in, out);
  for_blocks(s.source_pixels(), in, out, [&](int, int64_t row, int64_t rows) {
    panels.multiply(dy + row * out, rows, dx + row * in);
  });
}

void pointwise_weight_gradient(const ConvShape& s, const float* x, const float* dy, bool add, float* dweights) {
  const int64_t in = s.channels, out = s.out_channels;
  WeightSums sums(in, out);
  for_blocks(s.source_pixels(), in, out, [&](int thread, int64_t row, int64_t rows) {
    sums.add(thread, x + row * in, dy + row * out, rows);
  });
  sums.finish(add, dweights);
}

void pointwise_gradients(const ConvShape& s, const NormGradient& gradient, Activation activation, const float* x,
                         const float* weights, const float* raw, const float* dy, float* dx, float* dweights) {
  const int64_t in = s.channels, out = s.out_channels, block = block_rows(in, out) * out;
  const Panels panels = Panels::backward(weights, in, out);
  float* draws = buffer(Purpose::kGradient, block * threads());
  WeightSums sums(in, out);
  for_blocks(s.source_pixels(), in, out, [&](int thread, int64_t row, int64_t rows) {
    float* draw = draws + thread * block;
    gradient.apply_rows(raw + row * out, dy + row * out, activation, rows, draw);
    if (dx != nullptr) panels.multiply(draw, rows, dx + row * in);
    sums.add(thread, x + row * in, draw, rows);
  });
  sums.finish(false, dweights);
}

void pointwise_gradients_to(NormGradient& before, Activation activation, const ConvShape& s, const float* raw,
                            const float* weights, const float* dy, float* dweights) {
  const int64_t in = s.channels, out = s.out_channels, room = block_rows(in, out) * in;
  const Panels panels = Panels::backward(weights, in, out);
  const Normalizer norm = before.normalizer(activation);
  float *rooms = buffer(Purpose::kTiles, room * threads()), *dx_rooms = buffer(Purpose::kProducts, room * threads());
  WeightSums sums(in, out);
  for_blocks(s.source_pixels(), in, out, [&](int thread, int64_t row, int64_t rows) {
    float *x = rooms + thread * room, *dx = dx_rooms + thread * room;
    panels.multiply(dy + row * out, rows, dx);
    before.add_rows(thread, raw + row * in, nullptr, dx, activation, rows, nullptr);
    norm.rows(raw + row * in, nullptr, rows, x);
    sums.add(thread, x, dy + row * out, rows);
  });
  sums.finish(false, dweights);
}

}  // namespace ppzoo
