// Loops over all cores. A thread gets the same part in every run with as many threads, so that sums do not depend on
// timing.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "kernels.h"

namespace ppzoo {

// While this exists OpenMP does not choose the number of threads by the load of the machine (OMP_DYNAMIC): the order
// of sums would change from run to run.
class FixedThreads {
 public:
  FixedThreads() : dynamic_(omp_get_dynamic() != 0) {
    if (dynamic_) omp_set_dynamic(0);
  }
  ~FixedThreads() {
    if (dynamic_) omp_set_dynamic(1);
  }
  FixedThreads(const FixedThreads&) = delete;
  FixedThreads& operator=(const FixedThreads&) = delete;

 private:
  bool dynamic_;
};

// For calls of oneDNN, whose threads wait for each other: it expects as many as it asks for, and waits forever where
// OpenMP creates fewer (OMP_THREAD_LIMIT, OMP_MAX_ACTIVE_LEVELS, KMP_DEVICE_THREAD_LIMIT). While this exists it asks for
// the number that a region really gets.
class AvailableThreads {
 public:
  AvailableThreads() : asked_(threads()), count_(1) {
#pragma omp parallel
    {
#pragma omp master
      count_ = omp_get_num_threads();
    }
    if (count_ != asked_) omp_set_num_threads(count_);
  }
  ~AvailableThreads() {
    if (count_ != asked_) omp_set_num_threads(asked_);
  }
  AvailableThreads(const AvailableThreads&) = delete;
  AvailableThreads& operator=(const AvailableThreads&) = delete;
  int count() const { return count_; }

 private:
  FixedThreads fixed_;
  int asked_, count_;
};

// Calls body(thread, begin, end) for equal parts of [0, count), with thread < threads(). `work` is the number of
// elements in all: little work stays on one thread. OpenMP may create fewer threads than are asked for, hence the
// division inside.
template <class Body>
void parallel(int64_t count, int64_t work, Body&& body) {
  constexpr int64_t kWorthwhile = 16384;
  const int asked = static_cast<int>(
      std::max<int64_t>(1, std::min<int64_t>({threads(), count, work / kWorthwhile})));
  if (asked == 1) {
    body(0, int64_t{0}, count);
    return;
  }
  const FixedThreads fixed;
#pragma omp parallel num_threads(asked)
  {
    const int64_t thread = omp_get_thread_num(), there = omp_get_num_threads();
    body(static_cast<int>(thread), count * thread / there, count * (thread + 1) / there);
  }
}

}  // namespace ppzoo
