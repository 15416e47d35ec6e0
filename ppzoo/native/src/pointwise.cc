// Convolutions of 1x1 pixel: products of a matrix with a row for each pixel. Blocks of rows go through all that is to
// be done with them, batch norm's passes included, while they are in the cache.
#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "parallel.h"
#include "product.h"

namespace ppzoo {
namespace {

// Pixels that are worked on at a time: what belongs to them should stay in the first-level cache.
int64_t block_rows(int64_t in, int64_t out) {
  constexpr int64_t kElements = 6144;
  return std::clamp<int64_t>(kElements / (in + out) / 48 * 48, 48, 240);
}

// Calls body(thread, first row, rows) for blocks of `rows`, as many for each thread.
template <class Body>
void for_blocks(int64_t rows, int64_t in, int64_t out, Body&& body) {
  const int64_t most = block_rows(in, out), wanted = round_up((rows + most - 1) / most, threads());
  const int64_t block = (rows + wanted - 1) / wanted, blocks = (rows + block - 1) / block;
  parallel(blocks, rows * std::max(in, out), [&](int thread, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(thread, i * block, std::min(block, rows - i * block));
  });
}

// The weights (out x in) as the right factor of the forward product, and of that with the output's gradient.
const float* forward_panels(const float* weights, int64_t in, int64_t out) {
  float* panels = buffer(Purpose::kWeights, packed_size(in, out));
  pack(weights, 1, in, in, out, panels);
  return panels;
}

const float* backward_panels(const float* weights, int64_t in, int64_t out) {
  float* panels = buffer(Purpose::kWeights, packed_size(out, in));
  pack(weights, in, 1, out, in, panels);
  return panels;
}

// Sums of dy^T x over blocks of rows, one a thread.
class WeightSums {
 public:
  WeightSums(int64_t in, int64_t out) : in_(in), out_(out), begun_(threads(), false) {
    // Vectors run along the side that fills them better.
    along_out_ = round_up(out, kLanes) * in < round_up(in, kLanes) * out;
    step_ = round_up(along_out_ ? out : in, kLanes);
    size_ = step_ * (along_out_ ? in : out);
    sums_ = buffer(Purpose::kPartialWeights, size_ * threads());
  }
  void add(int thread, const float* x, const float* dy, int64_t rows) {
    float* sum = sums_ + thread * size_;
    if (along_out_) {
      multiply_transposed(x, in_, dy, out_, rows, begun_[thread], sum, step_);
    } else {
      multiply_transposed(dy, out_, x, in_, rows, begun_[thread], sum, step_);
    }
    begun_[thread] = true;
  }
  // The total of all threads, out x in.
  void finish(bool add, float* dweights) {
    const float* sum = total();
    parallel(out_, out_ * in_, [&](int, int64_t begin, int64_t end) {
      if (!along_out_) {
        for (int64_t o = begin; o < end; ++o) put(add, sum + o * step_, 1, in_, dweights + o * in_);
        return;
      }
      for (int64_t first = 0; first < in_; first += kLanes) {  // a cache line of what is written, at a time
        const int64_t count = std::min(kLanes, in_ - first);
        for (int64_t o = begin; o < end; ++o) {
          put(add, sum + first * step_ + o, step_, count, dweights + o * in_ + first);
        }
      }
    });
  }

 private:
  int64_t in_, out_, step_, size_;
  bool along_out_;
  float* sums_;
  std::vector<char> begun_;

  // The sums of all threads in the place of the first that has any.
  const float* total() {
    const auto first = std::find(begun_.begin(), begun_.end(), true) - begun_.begin();
    float* sum = sums_ + first * size_;
    for (int64_t thread = first + 1; thread < threads(); ++thread) {
      if (begun_[thread]) accumulate(sums_ + thread * size_, size_, sum);
    }
    return sum;
  }

  static void put(bool add, const float* from, int64_t step, int64_t count, float* to) {
    for (int64_t i = 0; i < count; ++i) to[i] = (add ? to[i] : 0.0f) + from[i * step];
  }
};

}  // namespace

bool pointwise(const ConvShape& s) {
  return s.kernel_h * s.kernel_w * s.stride_h * s.stride_w * s.groups == 1 &&
         s.top + s.bottom + s.left + s.right == 0;
}

void pointwise_convolve(const ConvShape& s, const float* x, const float* weights, const float* bias, float* y) {
  const int64_t in = s.channels, out = s.out_channels;
  const float* panels = forward_panels(weights, in, out);
  for_blocks(s.source_size() / in, in, out, [&](int, int64_t row, int64_t rows) {
    multiply(x + row * in, in, panels, rows, in, out, y + row * out, out);
    if (bias == nullptr) return;
    for (int64_t i = row; i < row + rows; ++i) {
      for (int64_t c = 0; c < out; ++c) y[i * out + c] += bias[c];
    }
  });
}

Moments pointwise_convolve_moments(const ConvShape& s, const Input& x, const float* weights, float* y) {
  const int64_t in = s.channels, out = s.out_channels, pixels = s.source_size() / in, room = block_rows(in, out) * in;
  const float* panels = forward_panels(weights, in, out);
  float* rooms = buffer(Purpose::kTiles, room * threads());
  multiply(x.rows(0, 1, in, rooms), in, panels, 1, in, out, y, out);
  Moments moments(out, y, pixels);
  for_blocks(pixels, in, out, [&](int thread, int64_t row, int64_t rows) {
    multiply(x.rows(row, rows, in, rooms + thread * room), in, panels, rows, in, out, y + row * out, out);
    moments.add_rows(thread, y + row * out, rows);
  });
  return moments;
}

void pointwise_input_gradient(const ConvShape& s, const float* weights, const float* dy, float* dx) {
  const int64_t in = s.channels, out = s.out_channels;
  const PointwiseInputGradient gradient(s, weights);
  for_blocks(s.source_size() / in, in, out, [&](int, int64_t row, int64_t rows) {
    gradient.rows(dy + row * out, rows, dx + row * in);
  });
}

void pointwise_weight_gradient(const ConvShape& s, const float* x, const float* dy, bool add, float* dweights) {
  const int64_t in = s.channels, out = s.out_channels;
  WeightSums sums(in, out);
  for_blocks(s.source_size() / in, in, out, [&](int thread, int64_t row, int64_t rows) {
    sums.add(thread, x + row * in, dy + row * out, rows);
  });
  sums.finish(add, dweights);
}

void pointwise_gradients(const ConvShape& s, const NormGradient& gradient, Activation activation, const float* x,
                         const float* weights, const float* raw, const float* dy, float* dx, float* dweights) {
  const int64_t in = s.channels, out = s.out_channels, block = block_rows(in, out) * out;
  const float* panels = dx != nullptr ? backward_panels(weights, in, out) : nullptr;
  float* draws = buffer(Purpose::kGradient, block * threads());
  WeightSums sums(in, out);
  for_blocks(s.source_size() / in, in, out, [&](int thread, int64_t row, int64_t rows) {
    float* draw = draws + thread * block;
    gradient.apply_rows(raw + row * out, dy + row * out, activation, rows, draw);
    if (dx != nullptr) multiply(draw, out, panels, rows, out, in, dx + row * in, in);
    sums.add(thread, x + row * in, draw, rows);
  });
  sums.finish(false, dweights);
}

void pointwise_gradients_to(NormGradient& before, Activation activation, const ConvShape& s, const Input& x,
                            const float* weights, const float* dy, float* dweights) {
  const int64_t in = s.channels, out = s.out_channels, room = block_rows(in, out) * in;
  const PointwiseInputGradient gradient(s, weights);
  float *rooms = buffer(Purpose::kTiles, room * threads()), *dx_rooms = buffer(Purpose::kProducts, room * threads());
  WeightSums sums(in, out);
  for_blocks(s.source_size() / in, in, out, [&](int thread, int64_t row, int64_t rows) {
    float* dx = dx_rooms + thread * room;
    gradient.rows(dy + row * out, rows, dx);
    before.add_rows(thread, x.data + row * in, nullptr, dx, activation, rows, nullptr);
    sums.add(thread, x.rows(row, rows, in, rooms + thread * room), dy + row * out, rows);
  });
  sums.finish(false, dweights);
}

PointwiseInputGradient::PointwiseInputGradient(const ConvShape& s, const float* weights)
    : in_(s.channels), out_(s.out_channels), panels_(backward_panels(weights, in_, out_)) {}

void PointwiseInputGradient::rows(const float* dy, int64_t count, float* dx) const {
  multiply(dy, out_, panels_, count, out_, in_, dx, in_);
}

}  // namespace ppzoo
