// The kernels: plain functions on float32 tensors in NHWC order (weights in OIHW), without any of PaddlePaddle's types.
// Sizes are counts of elements. All are deterministic for a given number of threads.
#pragma once

#include <cstdint>
#include <vector>

namespace ppzoo {

// ---- memory.cc

// What a buffer that all operators share is for; its content lives until the next request for the same purpose.
enum class Purpose { kScratchpad, kWeights, kGradient, kPartialWeights, kCount };

// At least `bytes` of memory, 64-byte aligned; it grows and is kept, so that no step faults fresh pages in.
void* shared_buffer(Purpose purpose, size_t bytes);

// How many threads the kernels use.
int threads();

// The size of the parts, as equal as can be, into which `count` falls when none may be larger than `most`, or than one.
inline int64_t equal_parts(int64_t count, int64_t most) {
  if (most >= count) return count;
  const int64_t parts = most < 1 ? count : (count + most - 1) / most;
  return (count + parts - 1) / parts;
}

// ---- convolution.cc

struct ConvShape {
  int64_t images, height, width, channels;
  int64_t out_channels, kernel_h, kernel_w;
  int64_t stride_h, stride_w, top, bottom, left, right, dilation_h, dilation_w, groups;

  int64_t out_height() const { return (height + top + bottom - dilation_h * (kernel_h - 1) - 1) / stride_h + 1; }
  int64_t out_width() const { return (width + left + right - dilation_w * (kernel_w - 1) - 1) / stride_w + 1; }
  int64_t source_size() const { return images * height * width * channels; }
  int64_t output_size() const { return images * out_height() * out_width() * out_channels; }
  int64_t weight_size() const { return out_channels * (channels / groups) * kernel_h * kernel_w; }
  ConvShape with_images(int64_t count) const {
    ConvShape copy = *this;
    copy.images = count;
    return copy;
  }
};

// y = conv(x, weights) + bias; `bias` may be null.
void convolve(const ConvShape& shape, const float* x, const float* weights, const float* bias, float* y);
// dx from dy.
void convolve_input_gradient(const ConvShape& shape, const float* weights, const float* dy, float* dx);
// dweights, and dbias unless it is null, from dy; with `add` the gradients are added to what is there.
void convolve_weight_gradient(const ConvShape& shape, const float* x, const float* dy, bool add, float* dweights,
                              float* dbias);

// ---- depthwise.cc

// Whether a convolution is one whose weight gradient the next function computes faster than oneDNN.
bool slow_depthwise(const ConvShape& shape);
void depthwise_weight_gradient(const ConvShape& shape, const float* x, const float* dy, float* dweights);

// ---- linear.cc

// y (rows x out) = x (rows x in) weights (in x out) + bias; `bias` may be null.
void linear(const float* x, const float* weights, const float* bias, int64_t rows, int64_t in, int64_t out, float* y);
// `dx` and `dbias` may be null.
void linear_gradient(const float* x, const float* weights, const float* dy, int64_t rows, int64_t in, int64_t out,
                     float* dx, float* dweights, float* dbias);

// ---- batch_norm.cc

enum class Activation { kNone, kRelu, kRelu6, kHardSwish, kSwish };

// Sums of a channels-last matrix's columns, gathered over one or more calls of `add`: mean and biased variance.
class Moments {
 public:
  // `first_row`: `channels` values near the mean, subtracted from all to keep the squares small.
  Moments(int64_t channels, const float* first_row);
  void add(const float* x, int64_t rows);
  void mean_and_variance(double* mean, double* variance) const;

 private:
  int64_t channels_, rows_ = 0;
  std::vector<float> shift_;
  std::vector<double> sums_, squares_;
};

// y = activation(x scale + offset + residual) with one scale and offset a channel; `residual` may be null.
void normalise(const float* x, const float* residual, const float* scale, const float* offset, Activation activation,
               int64_t rows, int64_t channels, float* y);

// Backward of activation(batch_norm(x) + residual), gathered over the whole batch and then applied part by part.
struct NormGradient {
  NormGradient(int64_t channels, const float* gamma, const float* beta, const float* mean, const float* inverse_std);

  // First pass. Without a residual `y` and `dresidual` are null and the activation's argument is computed again; with
  // one the activation is none, ReLU or ReLU6, whose mask is read off y, and the masked gradient goes to `dresidual`.
  void add(const float* x, const float* y, const float* dy, Activation activation, int64_t rows, float* dresidual);
  // Between the passes: the parameters' gradients, and what `apply` needs.
  void finish(float* dgamma, float* dbeta);
  // Second pass. `dy` is the masked gradient where there is a residual, with kNone for the activation.
  void apply(const float* x, const float* dy, Activation activation, int64_t rows, float* dx) const;

  int64_t channels, rows_seen = 0;
  std::vector<float> scale, offset, centre, inverse_std, slope, constant;
  std::vector<double> sums, products;
};

// ---- pooling.cc

// The windows of a pooling along one axis: output i sees inputs [begin[i], end[i]), and `span[i]` places with paddings.
struct Windows {
  std::vector<int64_t> begin, end, span;
};

// Windows of a kernel moved by `stride` over `size` inputs with `before` and `after` paddings, clipped to the input.
Windows sliding_windows(int64_t size, int64_t kernel, int64_t stride, int64_t before, int64_t after, bool ceil_mode);
// `count` windows that cover `size` inputs as evenly as whole numbers allow.
Windows adaptive_windows(int64_t size, int64_t count);

struct PoolShape {
  int64_t images, height, width, channels;
  Windows vertical, horizontal;
};

// `arg` receives the place of each maximum in its window, row by row; windows have at most 256 places.
void max_pool(const PoolShape& shape, const float* x, float* y, uint8_t* arg);
void max_pool_gradient(const PoolShape& shape, const float* dy, const uint8_t* arg, float* dx);
// `padded`: whether a window's paddings count in its divisor.
void average_pool(const PoolShape& shape, bool padded, const float* x, float* y);
void average_pool_gradient(const PoolShape& shape, bool padded, const float* dy, float* dx);

// ---- channels.cc

// y = x with the last two of its axes (images x rows x columns) swapped.
void transpose(const float* x, int64_t images, int64_t rows, int64_t columns, float* y);
// y = activation(x + z); `z` may be null.
void add_activate(const float* x, const float* z, Activation activation, int64_t count, float* y);
// dx = dy activation'(x + z), the gradient of both terms.
void add_activate_gradient(const float* x, const float* z, const float* dy, Activation activation, int64_t count,
                           float* dx);
// total += part.
void accumulate(const float* part, int64_t count, float* total);
// y = x gate, with one gate an image and channel (images x channels).
void scale_channels(const float* x, const float* gate, int64_t images, int64_t pixels, int64_t channels, float* y);
void scale_channels_gradient(const float* x, const float* gate, const float* dy, int64_t images, int64_t pixels,
                             int64_t channels, float* dx, float* dgate);
// Copies between one tensor of `pixels` rows and several that hold its channels in turn. With `shuffled`, which needs
// parts of equal width, channel j of part i is channel j parts + i of the whole, else the parts stand side by side.
void join_channels(const std::vector<const float*>& parts, const std::vector<int64_t>& widths, int64_t pixels,
                   bool shuffled, float* whole);
void part_channels(const float* whole, const std::vector<int64_t>& widths, int64_t pixels, bool shuffled,
                   const std::vector<float*>& parts);

}  // namespace ppzoo
