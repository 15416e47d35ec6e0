// The arguments of the operators that compute squeeze-and-excitation, and their checks. See common.h.
#pragma once

#include <string>

#include "kernels/squeeze_excite.h"
#include "ops/common.h"

namespace ppzoo::ops {

// The weights of linear layers have two axes (inputs x outputs), those of 1x1 convolutions four.
// `x`: the shape of the input; no size is 0.
inline SqueezeExcite squeeze_excite_block(const Shape& x, const Tensor& squeeze, const Tensor& squeeze_bias,
                                          const Tensor& excite, const Tensor& excite_bias, int activation, int gate,
                                          float slope, float offset) {
  require_readable(squeeze_bias, "bias of the first layer");
  const int64_t channels = x[3], hidden = squeeze_bias.numel();
  require_shape(squeeze_bias, "bias of the first layer", {hidden});
  require_shape(excite_bias, "bias of the second layer", {channels});
  require_readable(squeeze, "weight of the first layer");
  const bool inputs_first = squeeze.dims().size() == 2;
  if (inputs_first) {
    require_shape(squeeze, "weight of the first layer", {channels, hidden});
    require_shape(excite, "weight of the second layer", {hidden, channels});
  } else {
    require_shape(squeeze, "weight of the first layer", {hidden, channels, 1, 1});
    require_shape(excite, "weight of the second layer", {channels, hidden, 1, 1});
  }
  const auto last = GateFunction::kClip;
  require(gate >= 0 && gate <= static_cast<int>(last), [&] {
    return "gate: expected a number from 0 to " + std::to_string(static_cast<int>(last)) + ", got " +
           std::to_string(gate);
  });
  return {
      x[0],  x[1] * x[2], channels, hidden, inputs_first, activation_of(activation), static_cast<GateFunction>(gate),
      slope, offset};
}

inline SqueezeExciteLayers<const float> layers_of(const Tensor& squeeze, const Tensor& squeeze_bias,
                                                  const Tensor& excite, const Tensor& excite_bias) {
  return {squeeze.data<float>(), squeeze_bias.data<float>(), excite.data<float>(), excite_bias.data<float>()};
}

// New tensors for the gradients of both layers.
struct LayerGradients {
  Tensor squeeze, squeeze_bias, excite, excite_bias;

  LayerGradients(const Tensor& squeeze, const Tensor& squeeze_bias, const Tensor& excite, const Tensor& excite_bias)
      : squeeze(empty_like(squeeze)),
        squeeze_bias(empty_like(squeeze_bias)),
        excite(empty_like(excite)),
        excite_bias(empty_like(excite_bias)) {}

  SqueezeExciteLayers<float> memory() {
    return {squeeze.data<float>(), squeeze_bias.data<float>(), excite.data<float>(), excite_bias.data<float>()};
  }
};

}  // namespace ppzoo::ops
