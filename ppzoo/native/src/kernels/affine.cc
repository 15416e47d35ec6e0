// Loop nest: one loop over the elements of the tensor, whose order in memory does not matter. Parallel over equal
// ranges of elements.
//
// The gradient has sums over all elements. They are computed in float within blocks of kBlock elements, which is only a
// few elements for each lane of a vector, and in double across blocks and threads.
#include "kernels/affine.h"

#include <algorithm>
#include <vector>

#include "kernels/parallel.h"

namespace ppzoo {

void affine(const float* x, float multiplier, float addend, int64_t count, float* y) {
  parallel_for(count, count, [&](int, int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = multiplier * x[i] + addend;
  });
}

void affine_gradient(const float* x, const float* dy, float multiplier, int64_t count, float* dx, float* dmultiplier,
                     float* daddend) {
  constexpr int64_t kBlock = 128;
  std::vector<double> products(max_threads(), 0.0), sums(max_threads(), 0.0);
  parallel_for(count, count, [&](int thread, int64_t begin, int64_t end) {
    for (int64_t start = begin; start < end; start += kBlock) {
      const int64_t last = std::min(start + kBlock, end);
      float product = 0.0f, sum = 0.0f;
#pragma omp simd reduction(+ : product, sum)
      for (int64_t i = start; i < last; ++i) {
        dx[i] = multiplier * dy[i];
        product += dy[i] * x[i];
        sum += dy[i];
      }
      products[thread] += product, sums[thread] += sum;
    }
  });
  double product = 0.0, sum = 0.0;
  for (size_t thread = 0; thread < sums.size(); ++thread) product += products[thread], sum += sums[thread];
  *dmultiplier = static_cast<float>(product), *daddend = static_cast<float>(sum);
}

}  // namespace ppzoo
