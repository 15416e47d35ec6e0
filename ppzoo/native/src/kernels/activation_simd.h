// The activations and their derivatives as branch-free expressions. T is float or Vector.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/activation.h"
#include "kernels/simd.h"

namespace ppzoo {

// Calls body(tag) with the activation as a compile-time constant: decltype(tag)::value.
template <class Body>
void dispatch_activation(Activation activation, Body&& body) {
  using A = Activation;
  switch (activation) {
    case A::kNone: return body(std::integral_constant<A, A::kNone>());
    case A::kRelu: return body(std::integral_constant<A, A::kRelu>());
    case A::kRelu6: return body(std::integral_constant<A, A::kRelu6>());
    case A::kHardSwish: return body(std::integral_constant<A, A::kHardSwish>());
    case A::kSwish: return body(std::integral_constant<A, A::kSwish>());
  }
}

// NaN is propagated: a comparison with it is false.
inline float clamp_min(float t, float low) { return t < low ? low : t; }
inline float clamp_max(float t, float high) { return t > high ? high : t; }

// The same as one instruction, which compilers do not generate. If one of its operands is NaN, the instruction returns
// the second one, so NaN in `t` is propagated.
inline Vector clamp_min(Vector t, float low) {
#if defined(__AVX512VL__)
  return _mm512_max_ps(_mm512_set1_ps(low), t);
#elif defined(__AVX__)
  return _mm256_max_ps(_mm256_set1_ps(low), t);
#else
  return t < low ? low + Vector{} : t;
#endif
}
inline Vector clamp_max(Vector t, float high) {
#if defined(__AVX512VL__)
  return _mm512_min_ps(_mm512_set1_ps(high), t);
#elif defined(__AVX__)
  return _mm256_min_ps(_mm256_set1_ps(high), t);
#else
  return t > high ? high + Vector{} : t;
#endif
}

typedef uint32_t IntVector __attribute__((vector_size(kLanes * sizeof(uint32_t))));

// e^t to about one unit in the last place: t = n ln 2 + r, and a polynomial for e^r (Cody and Waite; Cephes' expf).
template <class T>
inline T exponential(T t) {
  using Bits = std::conditional_t<std::is_same_v<T, float>, uint32_t, IntVector>;
  t = clamp_max(clamp_min(t, -87.0f), 88.0f);
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const T shifted = t * 1.44269504088896341f + kRound;
  const T n = shifted - kRound;
  const T r = (t - n * 0.693359375f) - n * -2.12194440e-4f;
  T p = 1.9875691500e-4f * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const T value = p * r * r + r + 1.0f;
  Bits bits, result;
  std::memcpy(&bits, &shifted, sizeof bits);
  std::memcpy(&result, &value, sizeof result);
  result += bits << 23;  // adds n to the exponent; the other bits are shifted out
  T scaled;
  std::memcpy(&scaled, &result, sizeof scaled);
  return scaled;
}

// Returns 1 / (1 + e^-t), and zero below -87 instead of denormal numbers, so that t sigmoid(t) is small, too.
template <class T>
inline T sigmoid(T t) {
  const T value = 1.0f / (1.0f + exponential(-t));
  return t < -87.0f ? T{} : value;
}

template <Activation kActivation, class T>
inline T activate(T t) {
  if constexpr (kActivation == Activation::kRelu) return clamp_min(t, 0.0f);
  if constexpr (kActivation == Activation::kRelu6) return clamp_max(clamp_min(t, 0.0f), 6.0f);
  if constexpr (kActivation == Activation::kHardSwish) return t * clamp_max(clamp_min(t + 3.0f, 0.0f), 6.0f) / 6.0f;
  if constexpr (kActivation == Activation::kSwish) return t * sigmoid(t);
  return t;
}

// Returns dy times the derivative at the activation's argument t. For ReLU and ReLU6, t can be the activation's output.
template <Activation kActivation, class T>
inline T activation_gradient(T t, T dy) {
  const T zero{};
  if constexpr (kActivation == Activation::kRelu) return t > 0.0f ? dy : zero;
  if constexpr (kActivation == Activation::kRelu6) {
    const T below = t < 6.0f ? dy : zero;
    return t > 0.0f ? below : zero;
  }
  if constexpr (kActivation == Activation::kHardSwish) {
    const T slope = t <= -3.0f ? zero : t * (1.0f / 3.0f) + 0.5f;  // at -3 and 3 as in PaddlePaddle: 0 and 1
    return dy * (t >= 3.0f ? zero + 1.0f : slope);
  }
  if constexpr (kActivation == Activation::kSwish) {
    const T s = sigmoid(t);
    return dy * (s + t * s * (1.0f - s));
  }
  return dy;
}

}  // namespace ppzoo
