// The projection of an inverted residual with squeeze-and-excitation before it: a 1x1 convolution of gate * norm(raw),
// where `raw` is the depthwise convolution's output, and the gates follow from the means of norm(raw).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/batch_norm.h"
#include "kernels/conv_shape.h"
#include "kernels/squeeze_excite.h"

namespace ppzoo {

// Squeeze-and-excitation in the forward pass, which writes `saved`, and in the backward pass.
struct GatesForward {
  SqueezeExcite block;
  SqueezeExciteLayers<const float> layers;
  float* saved;
};
struct GatesBackward {
  SqueezeExcite block;
  SqueezeExciteLayers<const float> layers;
  const float* saved;
  SqueezeExciteLayers<float> gradients;
};

// Returns the gates (images x channels) of norm(raw).
std::vector<float> gates_after_norm(const GatesForward& gates, const float* raw, const Normalizer& norm);

// The backward pass of the projection and the gates.
class GatedProjectionGradient {
 public:
  // Writes the gradients of the projection's weights and of the layers that compute the gates, and adds the sums of the
  // first pass of `norm` (with `activation`). `dy`: the gradient of the projection's output.
  GatedProjectionGradient(const ConvShape& projection, const GatesBackward& gates, NormGradient& norm,
                          Activation activation, const float* raw, const float* weights, const float* dy,
                          float* dweights);
  // Writes the gradient of the norm's output for `rows` pixels of `image` that begin with pixel `first` of the batch.
  void load_rows(int64_t image, int64_t first, int64_t rows, float* to) const;

 private:
  int64_t channels_;
  std::vector<float> gates_, dmeans_;
  float* products_;
};

}  // namespace ppzoo
