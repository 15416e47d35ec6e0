// Squeeze-and-excitation (Hu et al., arXiv:1709.01507) of channels-last images: y = x gate. Two dense layers compute
// the gates of an image from the means of its channels. The images are float or Bfloat16 (T); everything else is float.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/activation.h"

namespace ppzoo {

// The function after the second layer: 1 / (1 + e^-t), or slope t + offset, limited to [0, 1]. Where slope t + offset
// is exactly 0 or 1, the derivative of kClip is slope, as in PaddlePaddle's `clip`, and that of kHardSigmoid is 0.
enum class GateFunction { kSigmoid, kHardSigmoid, kClip };

struct SqueezeExcite {
  int64_t images, pixels, channels, hidden;
  // Whether the weights are stored as inputs x outputs (linear layers), not outputs x inputs (1x1 convolutions).
  bool inputs_first;
  Activation activation;  // after the first layer
  GateFunction gate;
  float slope, offset;

  // The elements that the forward pass saves for the backward pass: means, and both layers' outputs before their
  // functions.
  int64_t saved_size() const { return images * (2 * channels + hidden); }
};

// Weights and biases of the two layers, or their gradients.
template <class Value>
struct SqueezeExciteLayers {
  Value *squeeze, *squeeze_bias, *excite, *excite_bias;
};

template <class T>
void squeeze_excite(const SqueezeExcite& block, const T* x, const SqueezeExciteLayers<const float>& layers,
                    float* saved, T* y);
// `dx` can be null.
template <class T>
void squeeze_excite_gradients(const SqueezeExcite& block, const T* x, const SqueezeExciteLayers<const float>& layers,
                              const float* saved, const T* dy, const SqueezeExciteLayers<float>& gradients, T* dx);

// The layers alone, for kernels that compute means and product themselves. Returns the gates (images x channels).
// `saved` begins with the means (images x channels), and the rest of it is written.
std::vector<float> compute_gates(const SqueezeExcite& block, const SqueezeExciteLayers<const float>& layers,
                                 float* saved);
// Returns the gates again, in the backward pass.
std::vector<float> saved_gates(const SqueezeExcite& block, const float* saved);
// Writes the layers' gradients and returns the gradient of each pixel through its channel's mean (images x channels).
// `dgates`: the gradients of the gates.
std::vector<float> gate_gradients(const SqueezeExcite& block, const SqueezeExciteLayers<const float>& layers,
                                  const float* saved, std::vector<float> dgates,
                                  const SqueezeExciteLayers<float>& gradients);

}  // namespace ppzoo
