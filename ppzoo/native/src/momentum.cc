// The step of Momentum over all parameters at once, equal to PaddlePaddle's to the bit: no product is contracted with a
// sum here.
#pragma GCC optimize("fp-contract=off")

#include "kernels.h"
#include "parallel.h"

namespace ppzoo {

void momentum_step(const std::vector<MomentumPart>& parts, float mu, bool nesterov) {
  int64_t all = 0;
  std::vector<int64_t> ends;
  for (const MomentumPart& part : parts) ends.push_back(all += part.count);
  parallel(all, all, [&](int, int64_t begin, int64_t end) {
    size_t number = std::upper_bound(ends.begin(), ends.end(), begin) - ends.begin();
    for (; begin < end; ++number) {
      const MomentumPart& part = parts[number];
      const int64_t start = ends[number] - part.count, last = std::min(end, ends[number]);
      float *parameter = part.parameter - start, *velocity = part.velocity - start;
      const float* gradient = part.gradient - start;
      const float rate = part.rate, decay = part.decay;
      const bool decays = decay != 0.0f;
#pragma omp simd
      for (int64_t i = begin; i < last; ++i) {
        const float slope = decays ? gradient[i] + parameter[i] * decay : gradient[i];
        const float next = velocity[i] * mu + slope;
        velocity[i] = next;
        parameter[i] -= (nesterov ? slope + next * mu : next) * rate;
      }
      begin = last;
    }
  });
}

}  // namespace ppzoo
