// Checks the arguments of convolutions, linear layers and norms, and converts them to the kernels' arguments. See
// common.h.
#pragma once

#include "kernels/batch_norm.h"
#include "kernels/conv_shape.h"
#include "kernels/image_blocks.h"
#include "ops/common.h"

namespace ppzoo::ops {

using ppzoo::images_at_a_time;

// `geometry`: strides, paddings (top, bottom, left, right), dilations, groups.
inline void require_geometry(const std::vector<int>& geometry) {
  bool sound = geometry.size() == 9;
  for (size_t i = 0; sound && i < geometry.size(); ++i) sound = geometry[i] >= (i >= 2 && i < 6 ? 0 : 1);
  require(sound, [&] {
    return "geometry: expected nine numbers: two strides, four paddings, two dilations and the groups, each at least 1 "
           "(paddings at least 0), got " +
           format(geometry);
  });
}

// Returns the geometry of a convolution of an input of shape `x`, after checking channels, groups and sizes.
inline ConvShape conv_shape(const Shape& x, const Tensor& weights, const std::vector<int>& geometry) {
  require_geometry(geometry);
  require_axes(weights, "weights", 4);
  const auto& filter = weights.dims();
  ConvShape s;
  s.images = x[0], s.height = x[1], s.width = x[2], s.channels = x[3];
  s.out_channels = filter[0], s.kernel_h = filter[2], s.kernel_w = filter[3];
  s.stride_h = geometry[0], s.stride_w = geometry[1];
  s.top = geometry[2], s.bottom = geometry[3], s.left = geometry[4], s.right = geometry[5];
  s.dilation_h = geometry[6], s.dilation_w = geometry[7], s.groups = geometry[8];
  require(filter[1] * s.groups == s.channels && s.out_channels % s.groups == 0, [&] {
    return "convolution: expected an input with " + std::to_string(filter[1] * s.groups) +
           " channels, and output channels divisible by the groups, for weights of shape " + format(weights.shape()) +
           " and " + std::to_string(s.groups) + " groups, got " + std::to_string(s.channels) + " channels";
  });
  require(s.out_height() > 0 && s.out_width() > 0, [&] {
    return "convolution: expected an input at least as large as the filter, got " + format(x) +
           " and weights of shape " + format(weights.shape());
  });
  return s;
}

inline ConvShape conv_shape(const Tensor& x, const Tensor& weights, const std::vector<int>& geometry,
                            phi::DataType type = kFloat32) {
  require_axes(x, "input", 4, type);
  return conv_shape(x.shape(), weights, geometry);
}

inline Shape output_shape(const ConvShape& s) { return {s.images, s.out_height(), s.out_width(), s.out_channels}; }

inline void require_output_shape(const Tensor& tensor, const char* name, const ConvShape& s,
                                 phi::DataType type = kFloat32) {
  require_shape(tensor, name, {s.images, s.out_height(), s.out_width(), s.out_channels}, type);
}

inline void require_linear(const Tensor& x, const Tensor& weights, const Tensor& bias, phi::DataType type = kFloat32) {
  require_axes(x, "input", 2, type);
  require_axes(weights, "weights", 2);
  require(x.dims()[1] == weights.dims()[0], [&] {
    return "linear: expected an input with " + std::to_string(weights.dims()[0]) + " features for weights of shape " +
           format(weights.shape()) + ", got " + std::to_string(x.dims()[1]) + " features";
  });
  require_shape(bias, "bias", {weights.dims()[1]});
}

// The running statistics are updated by the kernels (see "Writing to inputs" in common.h).
inline NormParameters norm_parameters(int64_t channels, const Tensor& gamma, const Tensor& beta, Tensor& running_mean,
                                      Tensor& running_variance, float momentum, float epsilon) {
  require_shape(gamma, "scale of the norm", {channels});
  require_shape(beta, "offset of the norm", {channels});
  require_shape(running_mean, "running mean", {channels});
  require_shape(running_variance, "running variance", {channels});
  return {gamma.data<float>(),
          beta.data<float>(),
          running_mean.data<float>(),
          running_variance.data<float>(),
          momentum,
          epsilon};
}

// Returns the gradient of a norm with the input `raw`, after checking the shapes of its parameters and statistics.
// `multiplier`: that of an affine block after the activation; null without one.
inline NormGradient norm_gradient_of(const Tensor& raw, const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                                     const Tensor& inverse_std, const float* multiplier = nullptr) {
  const int64_t channels = channels_of(raw);
  require_shape(gamma, "scale of the norm", {channels});
  require_shape(beta, "offset of the norm", {channels});
  require_shape(mean, "mean of the batch", {channels});
  require_shape(inverse_std, "inverse standard deviation of the batch", {channels});
  return {channels,           pixels_of(raw),     gamma.data<float>(),
          beta.data<float>(), mean.data<float>(), inverse_std.data<float>(),
          multiplier};
}

}  // namespace ppzoo::ops
