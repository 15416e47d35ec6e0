// Parallel loops. A thread gets the same part in every run with the same number of threads, so that sums do not depend
// on timing and results are deterministic.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "kernels/threads.h"

namespace ppzoo {

// While an object of this class exists, OpenMP does not adapt the number of threads to the load (OMP_DYNAMIC), which
// would change the order of sums from run to run.
class DisableDynamicThreads {
 public:
  DisableDynamicThreads() : dynamic_(omp_get_dynamic() != 0) {
    if (dynamic_) omp_set_dynamic(0);
  }
  ~DisableDynamicThreads() {
    if (dynamic_) omp_set_dynamic(1);
  }
  DisableDynamicThreads(const DisableDynamicThreads&) = delete;
  DisableDynamicThreads& operator=(const DisableDynamicThreads&) = delete;

 private:
  bool dynamic_;
};

// For calls of oneDNN, whose threads wait for each other at barriers. oneDNN expects as many threads as it requests and
// waits forever if OpenMP creates fewer (OMP_THREAD_LIMIT, OMP_MAX_ACTIVE_LEVELS, KMP_DEVICE_THREAD_LIMIT). While an
// object of this class exists, oneDNN requests the number that a region really gets.
class AvailableThreads {
 public:
  AvailableThreads() : requested_(max_threads()), count_(1) {
#pragma omp parallel
    {
#pragma omp master
      count_ = omp_get_num_threads();
    }
    if (count_ != requested_) omp_set_num_threads(count_);
  }
  ~AvailableThreads() {
    if (count_ != requested_) omp_set_num_threads(requested_);
  }
  AvailableThreads(const AvailableThreads&) = delete;
  AvailableThreads& operator=(const AvailableThreads&) = delete;
  int count() const { return count_; }

 private:
  DisableDynamicThreads fixed_;
  int requested_, count_;
};

// Calls body(thread, begin, end) for equal parts of [0, count), with thread < max_threads(). `work` is the total number
// of elements: small loops run on the calling thread. The parts are computed inside the region, as OpenMP can create
// fewer threads than requested.
template <class Body>
void parallel_for(int64_t count, int64_t work, Body&& body) {
  constexpr int64_t kMinWorkPerThread = 16384;
  const int requested =
      static_cast<int>(std::max<int64_t>(1, std::min<int64_t>({max_threads(), count, work / kMinWorkPerThread})));
  if (requested == 1) {
    body(0, int64_t{0}, count);
    return;
  }
  const DisableDynamicThreads fixed;
#pragma omp parallel num_threads(requested)
  {
    const int64_t thread = omp_get_thread_num(), actual = omp_get_num_threads();
    body(static_cast<int>(thread), count * thread / actual, count * (thread + 1) / actual);
  }
}

}  // namespace ppzoo
