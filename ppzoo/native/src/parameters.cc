// What is done to all parameters at once, equal to PaddlePaddle's arithmetic to the bit: no product is contracted with
// a sum here.
#pragma GCC optimize("fp-contract=off")

#include "kernels.h"
#include "parallel.h"

namespace ppzoo {
namespace {

// Calls body(thread, number, begin, end) for the elements [begin, end) of tensor `number`: a share of all a thread.
template <class Body>
void for_elements(const std::vector<int64_t>& counts, const Body& body) {
  int64_t all = 0;
  std::vector<int64_t> ends;
  for (int64_t count : counts) ends.push_back(all += count);
  parallel(all, all, [&](int thread, int64_t begin, int64_t end) {
    size_t number = std::upper_bound(ends.begin(), ends.end(), begin) - ends.begin();
    for (; begin < end; ++number) {
      const int64_t start = ends[number] - counts[number], last = std::min(end, ends[number]);
      body(thread, number, begin - start, last - start);
      begin = last;
    }
  });
}

}  // namespace

void momentum_step(const std::vector<MomentumPart>& parts, float mu, bool nesterov) {
  std::vector<int64_t> counts;
  for (const MomentumPart& part : parts) counts.push_back(part.count);
  for_elements(counts, [&](int, size_t number, int64_t begin, int64_t end) {
    const MomentumPart& part = parts[number];
    float *parameter = part.parameter, *velocity = part.velocity;
    const float* gradient = part.gradient;
    const float rate = part.rate, decay = part.decay;
    const bool decays = decay != 0.0f;
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const float slope = decays ? gradient[i] + parameter[i] * decay : gradient[i];
      const float next = velocity[i] * mu + slope;
      velocity[i] = next;
      parameter[i] -= (nesterov ? slope + next * mu : next) * rate;
    }
  });
}

void blend(const std::vector<float*>& averages, const std::vector<const float*>& values,
           const std::vector<int64_t>& counts, float keep, float take) {
  for_elements(counts, [&](int, size_t number, int64_t begin, int64_t end) {
    float* average = averages[number];
    const float* value = values[number];
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) average[i] = average[i] * keep + value[i] * take;
  });
}

bool all_finite(const std::vector<const float*>& values, const std::vector<int64_t>& counts) {
  std::vector<char> wrong(threads(), false);
  for_elements(counts, [&](int thread, size_t number, int64_t begin, int64_t end) {
    const float* value = values[number];
    float sum = 0.0f;  // of zeros, or NaN
#pragma omp simd reduction(+ : sum)
    for (int64_t i = begin; i < end; ++i) sum += value[i] * 0.0f;
    wrong[thread] |= !(sum == 0.0f);
  });
  return std::none_of(wrong.begin(), wrong.end(), [](char bad) { return bad; });
}

}  // namespace ppzoo
