// Updates of all parameters in one call, bit-identical to PaddlePaddle's operators.
//
// Loop nest: tensors -> elements, whose order in memory does not matter. Parallel over the elements of all tensors
// together: each thread gets an equal range, which can begin and end inside a tensor. Products are not contracted with
// sums (no FMA) in this file, as PaddlePaddle's code does not do it either.
#pragma GCC optimize("fp-contract=off")

#include "kernels/optimizer.h"

#include <algorithm>

#include "kernels/parallel.h"

namespace ppzoo {
namespace {

// Calls body(thread, number, begin, end) in parallel for ranges [begin, end) of elements of tensor `number`.
template <class Body>
void for_elements(const std::vector<int64_t>& counts, const Body& body) {
  int64_t all = 0;
  std::vector<int64_t> ends;
  for (int64_t count : counts) ends.push_back(all += count);
  parallel_for(all, all, [&](int thread, int64_t begin, int64_t end) {
    size_t number = std::upper_bound(ends.begin(), ends.end(), begin) - ends.begin();
    for (; begin < end; ++number) {
      const int64_t start = ends[number] - counts[number], last = std::min(end, ends[number]);
      body(thread, number, begin - start, last - start);
      begin = last;
    }
  });
}

}  // namespace

void momentum_step(const std::vector<MomentumTensor>& tensors, float mu, bool nesterov) {
  std::vector<int64_t> counts;
  for (const MomentumTensor& tensor : tensors) counts.push_back(tensor.count);
  for_elements(counts, [&](int, size_t number, int64_t begin, int64_t end) {
    const MomentumTensor& tensor = tensors[number];
    float *parameter = tensor.parameter, *velocity = tensor.velocity;
    const float* gradient = tensor.gradient;
    const float rate = tensor.rate, decay = tensor.decay;
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

void update_ema(const std::vector<float*>& averages, const std::vector<const float*>& values,
                const std::vector<int64_t>& counts, float decay, float weight) {
  for_elements(counts, [&](int, size_t number, int64_t begin, int64_t end) {
    float* average = averages[number];
    const float* value = values[number];
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) average[i] = average[i] * decay + value[i] * weight;
  });
}

bool all_finite(const std::vector<const float*>& values, const std::vector<int64_t>& counts) {
  std::vector<char> has_nonfinite(max_threads(), false);
  for_elements(counts, [&](int thread, size_t number, int64_t begin, int64_t end) {
    const float* value = values[number];
    float sum = 0.0f;  // zero or NaN: infinity times zero is NaN
#pragma omp simd reduction(+ : sum)
    for (int64_t i = begin; i < end; ++i) sum += value[i] * 0.0f;
    has_nonfinite[thread] |= !(sum == 0.0f);
  });
  return std::none_of(has_nonfinite.begin(), has_nonfinite.end(), [](char bad) { return bad; });
}

}  // namespace ppzoo
