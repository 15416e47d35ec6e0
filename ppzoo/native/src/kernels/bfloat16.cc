// Conversion of bfloat16 values, and their sums with an activation.
//
// Loop nest: one loop over the vectors of an array, whose order in memory does not matter. The last vector can be
// shorter. Parallel over vectors.
#include "kernels/bfloat16.h"

#include "kernels/activation_simd.h"
#include "kernels/bfloat16_simd.h"
#include "kernels/parallel.h"
#include "kernels/wide_rows.h"

namespace ppzoo {
namespace {

// Calls body(strip, i) for each vector of an array: strip.load(x + i) and strip.store(value, y + i) access elements i
// and the following.
template <class Body>
void for_vectors(int64_t count, const Body& body) {
  parallel_for((count + kLanes - 1) / kLanes, count, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin * kLanes; i < end * kLanes; i += kLanes) {
      if (i + kLanes <= count) {
        body(FullVectors<1>(), i);
      } else {
        body(PartialVector{count - i}, i);
      }
    }
  });
}

}  // namespace

void round_values(const float* x, int64_t count, Bfloat16* y) {
  for_vectors(count, [x, y](auto strip, int64_t i) { strip.store(strip.load(x + i), y + i); });
}

void widen_values(const Bfloat16* x, int64_t count, float* y) {
  for_vectors(count, [x, y](auto strip, int64_t i) { strip.store(strip.load(x + i), y + i); });
}

void add_activate(const Bfloat16* x, const Bfloat16* z, Activation activation, int64_t count, Bfloat16* y) {
  dispatch_activation(activation, [&](auto tag) {
    for_vectors(count, [=](auto strip, int64_t i) {
      strip.store(activate<decltype(tag)::value>(strip.load(x + i) + strip.load(z + i)), y + i);
    });
  });
}

void add_activate_gradient(const Bfloat16* x, const Bfloat16* z, const Bfloat16* dy, Activation activation,
                           int64_t count, Bfloat16* dx, Bfloat16* dz) {
  dispatch_activation(activation, [&](auto tag) {
    for_vectors(count, [=](auto strip, int64_t i) {
      const Vector sum = strip.load(x + i) + strip.load(z + i);
      const Vector gradient = activation_gradient<decltype(tag)::value>(sum, strip.load(dy + i));
      strip.store(gradient, dx + i);
      strip.store(gradient, dz + i);
    });
  });
}

}  // namespace ppzoo
