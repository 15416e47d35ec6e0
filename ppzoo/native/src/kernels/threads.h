// The number of threads. parallel.h has the loops; it needs -fopenmp, this header does not.
#pragma once

namespace ppzoo {

// The maximum number of threads of a parallel region of the calling thread. OpenMP can create fewer.
int max_threads();

}  // namespace ppzoo
