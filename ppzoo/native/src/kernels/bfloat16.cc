// Conversion of bfloat16 values.
//
// Loop nest: one loop over the vectors of an array, whose order in memory does not matter. The last vector can be
// shorter. Parallel over vectors.
#include "kernels/bfloat16.h"

#include "kernels/vector_loop.h"

namespace ppzoo {
void round_values(const float* x, int64_t count, Bfloat16* y) {
  for_vectors(1, count, [=](auto strip, int64_t i, int64_t) { strip.store(strip.load(x + i), y + i); });
}

void widen_values(const Bfloat16* x, int64_t count, float* y) {
  for_vectors(1, count, [=](auto strip, int64_t i, int64_t) { strip.store(strip.load(x + i), y + i); });
}

}  // namespace ppzoo
