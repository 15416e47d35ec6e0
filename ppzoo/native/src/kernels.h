// The kernels: plain functions on float32 tensors in NHWC order (weights in OIHW), without any of PaddlePaddle's types.
// Sizes are counts of elements. All are deterministic for a given number of threads.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace ppzoo {

// ---- memory.cc

// What a buffer that all operators share is for; its content lives until the next request for the same purpose.
enum class Purpose {
  kScratchpad,
  kWeights,
  kInnerWeights,
  kScaledWeights,
  kGradient,
  kPartialWeights,
  kSlice,
  kSeen,
  kPartialSum,
  kTiles,
  kProducts,
  kInner,
  kCount
};

// At least `bytes` of memory, 64-byte aligned; it grows and is kept, so that no step faults fresh pages in.
void* shared_buffer(Purpose purpose, size_t bytes);
inline float* buffer(Purpose purpose, int64_t count) {
  return static_cast<float*>(shared_buffer(purpose, sizeof(float) * count));
}

// The most threads that a parallel region of the calling thread may have; there may be fewer.
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
  int64_t weight_step = 0;  // elements between the weights of two output channels; 0 where they are dense

  // Where the filter is larger than the padded input by less than a stride there is one output, as in PaddlePaddle; the
  // filter then reaches beyond the padding.
  int64_t out_height() const { return (height + top + bottom - dilation_h * (kernel_h - 1) - 1) / stride_h + 1; }
  int64_t out_width() const { return (width + left + right - dilation_w * (kernel_w - 1) - 1) / stride_w + 1; }
  // The rows and columns, paddings included, from the first to the last one that the filter sees.
  int64_t seen_rows() const { return (out_height() - 1) * stride_h + dilation_h * (kernel_h - 1) + 1; }
  int64_t seen_columns() const { return (out_width() - 1) * stride_w + dilation_w * (kernel_w - 1) + 1; }
  int64_t source_pixels() const { return images * height * width; }
  int64_t output_pixels() const {
    return images * std::max<int64_t>(0, out_height()) * std::max<int64_t>(0, out_width());
  }
  int64_t source_size() const { return source_pixels() * channels; }
  int64_t output_size() const { return output_pixels() * out_channels; }
  // Whether there is nothing to multiply.
  bool empty() const {
    return source_size() <= 0 || weight_size() <= 0 || out_height() <= 0 || out_width() <= 0;
  }
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

// ---- linear.cc

// y (rows x out) = x (rows x in) weights (in x out) + bias; `bias` may be null.
void linear(const float* x, const float* weights, const float* bias, int64_t rows, int64_t in, int64_t out, float* y);
// `dx` and `dbias` may be null.
void linear_gradient(const float* x, const float* weights, const float* dy, int64_t rows, int64_t in, int64_t out,
                     float* dx, float* dweights, float* dbias);

// ---- batch_norm.cc

enum class Activation { kNone, kRelu, kRelu6, kHardSwish, kSwish };

// Mean and biased variance of the columns of a channels-last matrix.
struct Statistics {
  std::vector<double> mean, variance;
  // Those of no rows.
  static Statistics none(int64_t channels) {
    return {std::vector<double>(channels, 0.0), std::vector<double>(channels, 0.0)};
  }
};

// The same, gathered over some calls of `add`.
class Moments {
 public:
  // `first_row`: any `channels` values of the columns, subtracted from all to keep the squares small; `rows`: of all
  // calls.
  Moments(int64_t channels, const float* first_row, int64_t rows);
  void add(const float* x, int64_t rows);
  // The same as a part of the work of thread number `thread`.
  void add_rows(int thread, const float* x, int64_t rows);
  Statistics statistics() const;

 private:
  template <class Sum>
  void add_rows_as(const float* x, int64_t rows, double* totals) const;

  int64_t channels_, rows_, width_;
  std::vector<float> shift_;
  std::vector<double> totals_;
};

// activation(x scale + offset + residual) with one scale and offset a channel; `residual` may be null.
class Normalizer {
 public:
  Normalizer(int64_t channels, const float* scale, const float* offset, Activation activation);
  // For all of `count` rows.
  void all(const float* x, const float* residual, int64_t count, float* y) const;
  // For some of them, on one thread.
  void rows(const float* x, const float* residual, int64_t count, float* y) const;

 private:
  int64_t channels_;
  Activation activation_;
  std::vector<float> scale_, offset_;
};

class Panels;

// What a kernel reads: a tensor, or what a norm makes of it, which is then computed where it is read; with `weights`
// the tensor before the norm is the product of `data` with them, and computed there too.
struct Input {
  Input(const float* data, const Normalizer* norm = nullptr, const Panels* weights = nullptr)
      : data(data), norm(norm), weights(weights) {}
  // `count` rows from `first` on as they are before the norm; they are in `room` where they are a product.
  const float* raw(int64_t first, int64_t count, int64_t channels, float* room) const;
  // The same after the norm; they are in `room` unless they are just data.
  const float* rows(int64_t first, int64_t count, int64_t channels, float* room) const;
  const float* data;
  const Normalizer* norm;
  const Panels* weights;
};

// Of a norm in training. The moving statistics move towards the batch's by the biased variance, as PaddlePaddle's do.
struct NormParameters {
  const float *gamma, *beta;
  float *moving_mean, *moving_variance;
  float momentum, epsilon;
};

// The norm of a batch with these statistics, whose mean and inverse deviation are written, and moves the moving ones.
Normalizer settle(const Statistics& batch, const NormParameters& norm, Activation activation, float* mean,
                  float* inverse_std);

// Backward of activation(batch_norm(x) + residual): sums gathered over the whole batch, and then the gradient of x.
class NormGradient {
 public:
  // `rows`: of the whole batch.
  NormGradient(int64_t channels, int64_t rows, const float* gamma, const float* beta, const float* mean,
               const float* inverse_std);

  // First pass. Without a residual `y` is null and the activation's argument is computed again; with one the activation
  // is none, ReLU or ReLU6, whose mask is read off y. The masked gradient, that of the argument, goes to `masked`
  // unless that is null; it may be dy's own place.
  void add(const float* x, const float* y, const float* dy, Activation activation, float* masked);
  // The same for some rows, as a part of the work of thread number `thread`.
  void add_rows(int thread, const float* x, const float* y, const float* dy, Activation activation, int64_t rows,
                float* masked);
  // Between the passes: the parameters' gradients, and what `apply` needs.
  void finish(float* dgamma, float* dbeta);
  // dx = scale masked + slope (x - mean) + constant, a number a channel each; the last two are known after `finish`.
  const float* scale() const { return scale_.data(); }
  const float* slope() const { return slope_.data(); }
  const float* constant() const { return constant_.data(); }
  // Second pass. `dy` is the masked gradient where there is a residual, with kNone for the activation.
  void apply(const float* x, const float* dy, Activation activation, int64_t rows, float* dx) const;
  // The same on one thread.
  void apply_rows(const float* x, const float* dy, Activation activation, int64_t rows, float* dx) const;
  // The norm itself, to make again what it made.
  Normalizer normalizer(Activation activation) const;

 private:
  template <class Sum>
  void add_rows_as(const float* x, const float* y, const float* dy, Activation activation, int64_t rows,
                   float* masked, double* totals) const;

  int64_t channels_, rows_, width_;
  std::vector<float> inverse_std_, scale_, offset_, center_, slope_, constant_;
  std::vector<double> totals_;
};

// ---- pointwise.cc

// Whether a convolution is one of 1x1 pixel without stride, which the functions below compute.
bool pointwise(const ConvShape& shape);
void pointwise_convolve(const ConvShape& shape, const float* x, const float* weights, const float* bias, float* y);
// y, and the statistics of its columns.
Statistics pointwise_convolve_statistics(const ConvShape& shape, const Input& x, const float* weights, float* y);
void pointwise_input_gradient(const ConvShape& shape, const float* weights, const float* dy, float* dx);
void pointwise_weight_gradient(const ConvShape& shape, const float* x, const float* dy, bool add, float* dweights);
// From the gradient of batch norm's output to those of the convolution's input (may be null) and weights.
void pointwise_gradients(const ConvShape& shape, const NormGradient& gradient, Activation activation, const float* x,
                         const float* weights, const float* raw, const float* dy, float* dx, float* dweights);
// The weights' gradient, and the first pass of `before`, the norm (with `activation`) that makes the convolution's input
// of `raw`.
void pointwise_gradients_to(NormGradient& before, Activation activation, const ConvShape& shape, const float* raw,
                            const float* weights, const float* dy, float* dweights);

// ---- winograd.cc

// Whether a convolution is one of 3x3 pixels without stride that the functions below compute with fewer products.
bool winograd(const ConvShape& shape);
void winograd_convolve(const ConvShape& shape, const float* x, const float* weights, const float* bias, float* y);
void winograd_input_gradient(const ConvShape& shape, const float* weights, const float* dy, float* dx);
void winograd_weight_gradient(const ConvShape& shape, const float* x, const float* dy, bool add, float* dweights);

// ---- depthwise.cc

// The same for convolutions of each channel by itself.
bool depthwise(const ConvShape& shape);
void depthwise_convolve(const ConvShape& shape, const float* x, const float* weights, const float* bias, float* y);
Statistics depthwise_convolve_statistics(const ConvShape& shape, const Input& x, const float* weights, float* y);
void depthwise_input_gradient(const ConvShape& shape, const float* weights, const float* dy, float* dx);
void depthwise_weight_gradient(const ConvShape& shape, const float* x, const float* dy, bool add, float* dweights);
void depthwise_gradients(const ConvShape& shape, const NormGradient& gradient, Activation activation, const float* x,
                         const float* weights, const float* raw, const float* dy, float* dx, float* dweights);

// Those whose output's gradient `make_row(thread, image, row, to)` writes row by row. A row of their input's gradient,
// which begins with pixel `first`, is written to `place(thread, first)`; then `take(thread, first, raw)` is told, with
// that row of the input before its norm.
struct GradientRows {
  std::function<void(int, int64_t, int64_t, float*)> make_row;
  std::function<float*(int, int64_t)> place;
  std::function<void(int, int64_t, const float*)> take;
};
void depthwise_gradients(const ConvShape& shape, const Input& x, const float* weights, const GradientRows& rows,
                         float* dweights);

// ---- inverted_residual.cc

// A 1x1 convolution, one of each channel by itself and a 1x1 convolution, each with batch norm and activation; with the
// shortcut, which needs a last activation of kNone, x is added.
struct InvertedResidual {
  std::array<ConvShape, 3> shapes;
  std::array<Activation, 3> activations;
  bool shortcut;
};
struct NormedWeights {
  const float* weights;
  NormParameters norm;
};
// What is kept of a stage for the way back; in the place of `raw` there may be something smaller to make it again from.
struct StageResult {
  float *raw, *mean, *inverse_std;
};
// The elements of `raw`.
int64_t kept_elements(const InvertedResidual& block, int stage);
struct StageGradient {
  float *weights, *gamma, *beta;
};
void inverted_residual(const InvertedResidual& block, const float* x, const std::vector<NormedWeights>& stages,
                       const std::vector<StageResult>& results, float* y);
// `dx` may be null.
void inverted_residual_gradients(const InvertedResidual& block, const float* x,
                                 const std::vector<NormedWeights>& stages, const std::vector<StageResult>& results,
                                 const float* dy, const std::vector<StageGradient>& gradients, float* dx);

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

// ---- parameters.cc

struct MomentumPart {
  float *parameter, *velocity;
  const float* gradient;
  int64_t count;
  float rate, decay;
};

// slope = gradient + decay parameter; velocity = mu velocity + slope; parameter -= rate velocity, or with `nesterov`
// rate (slope + mu velocity).
void momentum_step(const std::vector<MomentumPart>& parts, float mu, bool nesterov);
// average = keep average + take value, for all elements of all tensors.
void blend(const std::vector<float*>& averages, const std::vector<const float*>& values,
           const std::vector<int64_t>& counts, float keep, float take);
// Whether none is infinite or NaN.
bool all_finite(const std::vector<const float*>& values, const std::vector<int64_t>& counts);

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
// The sums of the columns of x (rows x columns), in double; with `add` they are added to what is there.
void sum_rows(const float* x, int64_t rows, int64_t columns, bool add, float* sums);
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
