// The activations and their slopes as branch-free expressions, which compilers turn into vector instructions.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels.h"

namespace ppzoo {

// Runs `body` with the activation as a constant of the compiler's.
template <class Body>
void with_activation(Activation activation, Body&& body) {
  using A = Activation;
  switch (activation) {
    case A::kNone: return body(std::integral_constant<A, A::kNone>());
    case A::kRelu: return body(std::integral_constant<A, A::kRelu>());
    case A::kRelu6: return body(std::integral_constant<A, A::kRelu6>());
    case A::kHardSwish: return body(std::integral_constant<A, A::kHardSwish>());
    case A::kSwish: return body(std::integral_constant<A, A::kSwish>());
  }
}

// A comparison with NaN is false: each of these hands a NaN on.
inline float at_least(float t, float low) { return t < low ? low : t; }
inline float at_most(float t, float high) { return t > high ? high : t; }

// e^t to about one unit in the last place: t = n ln 2 + r, and a polynomial for e^r (Cody and Waite; Cephes' expf).
inline float exponential(float t) {
  t = at_most(at_least(t, -87.0f), 88.0f);
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest whole number in the low bits
  const float shifted = t * 1.44269504088896341f + kRound;
  const float n = shifted - kRound;
  const float r = (t - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float value = p * r * r + r + 1.0f;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits <<= 23;  // n into the exponent's place; the rest falls off
  int32_t result;
  std::memcpy(&result, &value, sizeof result);
  result += bits;
  float scaled;
  std::memcpy(&scaled, &result, sizeof scaled);
  return scaled;
}

inline float sigmoid(float t) { return 1.0f / (1.0f + exponential(-t)); }

template <Activation kActivation>
inline float activate(float t) {
  if constexpr (kActivation == Activation::kRelu) return at_least(t, 0.0f);
  if constexpr (kActivation == Activation::kRelu6) return at_most(at_least(t, 0.0f), 6.0f);
  if constexpr (kActivation == Activation::kHardSwish) return t * at_most(at_least(t + 3.0f, 0.0f), 6.0f) / 6.0f;
  if constexpr (kActivation == Activation::kSwish) return t * sigmoid(t);
  return t;
}

// dy times the slope at the activation's argument t; for ReLU and ReLU6 the result y serves as well as t.
template <Activation kActivation>
inline float slope_times(float t, float dy) {
  if constexpr (kActivation == Activation::kRelu) return t > 0.0f ? dy : 0.0f;
  if constexpr (kActivation == Activation::kRelu6) return t > 0.0f && t < 6.0f ? dy : 0.0f;
  if constexpr (kActivation == Activation::kHardSwish) {
    const float inner = t * (1.0f / 3.0f) + 0.5f;
    const float slope = t < -3.0f ? 0.0f : inner;
    return dy * (t > 3.0f ? 1.0f : slope);
  }
  if constexpr (kActivation == Activation::kSwish) {
    const float s = sigmoid(t);
    return dy * (s + t * s * (1.0f - s));
  }
  return dy;
}

}  // namespace ppzoo
