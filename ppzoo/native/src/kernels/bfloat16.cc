// Conversion and sums of bfloat16 values.
//
// Loop nest: one loop over the vectors of an array, whose order in memory does not matter. The last vector can be
// shorter. Parallel over vectors.
#include "kernels/bfloat16.h"

#include "kernels/bfloat16_simd.h"
#include "kernels/parallel.h"

namespace ppzoo {
namespace {

// Writes a vector at y + i for each vector of an array: value(load, i), where load(x + i) returns the vector at x + i.
// The last vector can be shorter.
template <class To, class Value>
void write_vectors(int64_t count, To* y, const Value& value) {
  parallel_for((count + kLanes - 1) / kLanes, count, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin * kLanes; i < end * kLanes; i += kLanes) {
      if (i + kLanes <= count) {
        store(value([](const auto* from) { return load(from); }, i), y + i);
      } else {
        const int64_t rest = count - i;
        store_partial(rest, value([rest](const auto* from) { return load_partial(rest, from); }, i), y + i);
      }
    }
  });
}

}  // namespace

void round_values(const float* x, int64_t count, Bfloat16* y) {
  write_vectors(count, y, [x](const auto& load_from, int64_t i) -> Vector { return load_from(x + i); });
}

void widen_values(const Bfloat16* x, int64_t count, float* y) {
  write_vectors(count, y, [x](const auto& load_from, int64_t i) -> Vector { return load_from(x + i); });
}

void add_values(const Bfloat16* x, const Bfloat16* z, int64_t count, Bfloat16* y) {
  write_vectors(count, y,
                [x, z](const auto& load_from, int64_t i) -> Vector { return load_from(x + i) + load_from(z + i); });
}

}  // namespace ppzoo
