// Batch normalization of channels-last tensors in training, fused with an activation and a residual addition.
//
// Forward: Moments computes the statistics of the batch, finalize_statistics builds a Normalizer from them, and
// Normalizer::apply normalizes the tensor.
// Backward: NormGradient::add computes sums over the batch, NormGradient::finish computes the gradients of the
// parameters, and NormGradient::apply computes the gradient of the input.
// The functions ..._rows process some rows on the calling thread, for kernels that fuse batch norm into their own loop.
// T is the type of the tensors, float or Bfloat16. Sums, statistics and parameters are float32 or double for both
// types.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/activation.h"
#include "kernels/bfloat16.h"
#include "kernels/moments.h"

namespace ppzoo {

// multiplier * activation + addend, with one number each for all channels: PP-HGNetV2's learnable affine block.
struct Affine {
  float multiplier = 1.0f, addend = 0.0f;
};

// y = affine(activation(x scale + offset + residual)), with one scale and offset per channel. `residual` can be null.
class Normalizer {
 public:
  Normalizer(int64_t channels, const float* scale, const float* offset, Activation activation, Affine affine = {});
  template <class T>
  void apply(const T* x, const Exactly<T>* residual, int64_t count, T* y) const;
  // The same on one thread.
  template <class T>
  void apply_rows(const T* x, const Exactly<T>* residual, int64_t count, T* y) const;
  // One number per channel each, for kernels that normalize values in registers.
  const float* scale() const { return scale_.data(); }
  const float* offset() const { return offset_.data(); }
  Activation activation() const { return activation_; }

 private:
  friend class NormSum;
  template <bool kAffine, class T>
  void apply_rows_as(const T* x, const T* residual, int64_t rows, T* y) const;

  int64_t channels_;
  Activation activation_;
  Affine affine_;
  std::vector<float> scale_, offset_;
};

// The parameters of a batch norm layer in training. The running variance is updated with the biased batch variance, as
// in PaddlePaddle.
struct NormParameters {
  const float *gamma, *beta;
  float *running_mean, *running_variance;
  float momentum, epsilon;
};

// Updates the running statistics, writes mean and inverse standard deviation of the batch (which the backward pass
// needs), and returns the normalization with them.
Normalizer finalize_statistics(const Statistics& batch, const NormParameters& norm, Activation activation, float* mean,
                               float* inverse_std, Affine affine = {});

// The backward pass of affine(activation(batch_norm(x) + residual)).
class NormGradient {
 public:
  // `rows`: the number of rows of the batch. `multiplier`: that of the affine block; null without one. With an affine
  // block, there must be no residual, and the activation must be kNone or kRelu.
  NormGradient(int64_t channels, int64_t rows, const float* gamma, const float* beta, const float* mean,
               const float* inverse_std, const float* multiplier = nullptr);

  // First pass over the batch. Without a residual, `y` is null and the activation's argument is recomputed from x. With
  // a residual, the activation is none, ReLU or ReLU6, whose mask is read from y. The gradient of the activation's
  // argument is written to `masked` unless that is null; it can be dy itself.
  template <class T>
  void add(const T* x, const Exactly<T>* y, const T* dy, Activation activation, Exactly<T>* masked);
  // The same for some rows on one thread, as part of the work of thread number `thread`.
  template <class T>
  void add_rows(int thread, const T* x, const Exactly<T>* y, const T* dy, Activation activation, int64_t rows,
                Exactly<T>* masked);
  // Between the passes: writes the parameters' gradients and computes slope() and constant().
  void finish(float* dgamma, float* dbeta);
  // Also between the passes: writes the gradients of the affine block's two numbers.
  void finish_affine(const float* gamma, const float* beta, float* dmultiplier, float* daddend) const;
  // The factors of dx = scale multiplier masked + slope (x - mean) + constant, one per channel each.
  const float* scale() const { return scale_.data(); }
  const float* slope() const { return slope_.data(); }
  const float* constant() const { return constant_.data(); }
  // That of the affine block; 1 without one.
  float multiplier() const { return multiplier_ != nullptr ? *multiplier_ : 1.0f; }
  // The activation's argument is scale x + offset; `mean` is that of the batch.
  const float* offset() const { return offset_.data(); }
  const float* mean() const { return center_.data(); }
  // Part of the first pass: adds sums of `masked` and of masked (x - mean) of a channel to the sums of a thread.
  void add_sums(int thread, int64_t channel, double sum, double product) {
    totals_[2 * width_ * thread + channel] += sum;
    totals_[2 * width_ * thread + width_ + channel] += product;
  }
  // Second pass: writes dx. With a residual, `dy` is `masked` and the activation is kNone.
  template <class T>
  void apply(const T* x, const T* dy, Activation activation, int64_t rows, T* dx) const;
  // The same on one thread.
  template <class T>
  void apply_rows(const T* x, const T* dy, Activation activation, int64_t rows, T* dx) const;
  // The forward normalization, to recompute the layer's output.
  Normalizer normalizer(Activation activation) const;

 private:
  friend class NormSumGradient;
  template <bool kAffine, class T>
  void apply_rows_as(const T* x, const T* dy, Activation activation, int64_t rows, T* dx) const;
  template <class Sum, bool kAffine, class T>
  void add_rows_as(const T* x, const T* y, const T* dy, Activation activation, int64_t rows, T* masked, double* totals,
                   double* dy_totals) const;

  int64_t channels_, rows_, width_;
  const float* multiplier_;
  std::vector<float> inverse_std_, scale_, offset_, center_, slope_, constant_;
  std::vector<double> totals_, dy_totals_;
};

}  // namespace ppzoo
