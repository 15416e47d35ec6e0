// Loops over all cores. A thread gets the same part in every run, so that sums do not depend on timing.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "kernels.h"

namespace ppzoo {

// Calls body(thread, begin, end) for equal parts of [0, count). `work` is the number of elements in all: little work
// stays on one thread.
template <class Body>
void parallel(int64_t count, int64_t work, Body&& body) {
  constexpr int64_t kWorthwhile = 16384;
  const int used = static_cast<int>(
      std::max<int64_t>(1, std::min<int64_t>({threads(), count, work / kWorthwhile})));
  if (used == 1) {
    body(0, int64_t{0}, count);
    return;
  }
#pragma omp parallel num_threads(used)
  {
    const int64_t thread = omp_get_thread_num();
    body(static_cast<int>(thread), count * thread / used, count * (thread + 1) / used);
  }
}

}  // namespace ppzoo
