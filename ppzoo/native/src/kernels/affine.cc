// Loop nest: one loop over the vectors of the tensor, whose order in memory does not matter. Parallel over vectors.
//
// The gradient has sums over all elements. They are computed in float within blocks of kBlock elements, which is only a
// few elements for each lane of a vector, and in double across blocks and threads.
#include "kernels/affine.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/vector_loop.h"

namespace ppzoo {
namespace {

double sum_of(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

}  // namespace

template <class T>
void affine(const T* x, float multiplier, float addend, int64_t count, T* y) {
  for_vectors(1, count,
              [=](auto strip, int64_t i, int64_t) { strip.store(multiplier * strip.load(x + i) + addend, y + i); });
}

template <class T>
void affine_gradient(const T* x, const T* dy, float multiplier, int64_t count, T* dx, float* dmultiplier,
                     float* daddend) {
  constexpr int64_t kBlock = 128;
  std::vector<double> products(max_threads() * kLanes, 0.0), sums(max_threads() * kLanes, 0.0);
  parallel_for((count + kBlock - 1) / kBlock, count, [&](int thread, int64_t begin, int64_t end) {
    for (int64_t start = begin * kBlock; start < std::min(end * kBlock, count); start += kBlock) {
      Vector product{}, sum{};
      const auto add = [&](auto strip, int64_t i) {
        const Vector gradient = strip.load(dy + i);
        strip.store(multiplier * gradient, dx + i);
        product += gradient * strip.load(x + i);
        sum += gradient;
      };
      const int64_t last = std::min(start + kBlock, count);
      int64_t i = start;
      for (; i + kLanes <= last; i += kLanes) add(FullVectors<1>(), i);
      if (i < last) add(PartialVector{last - i}, i);
      add_to(&products[thread * kLanes], to_doubles(product));
      add_to(&sums[thread * kLanes], to_doubles(sum));
    }
  });
  *dmultiplier = static_cast<float>(sum_of(products)), *daddend = static_cast<float>(sum_of(sums));
}

#define PPZOO_AFFINE_OF(T)                                   \
  template void affine(const T*, float, float, int64_t, T*); \
  template void affine_gradient(const T*, const T*, float, int64_t, T*, float*, float*)
PPZOO_AFFINE_OF(float);
PPZOO_AFFINE_OF(Bfloat16);

}  // namespace ppzoo
