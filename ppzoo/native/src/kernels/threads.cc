#include "kernels/threads.h"

#include <omp.h>

namespace ppzoo {

int max_threads() { return omp_get_max_threads(); }

}  // namespace ppzoo
