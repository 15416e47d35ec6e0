// The size of blocks of a batch, for passes over a convolution's output that should find it in the cache.
#pragma once

#include <cstdint>

#include "kernels/integer_math.h"
#include "kernels/threads.h"

namespace ppzoo {

// Bytes of a convolution's output per thread that are computed at a time, so that they are still in the cache when
// batch norm reads them.
constexpr int64_t kBlockBytes = 4 << 20;

// The number of images of a block. T: the type of an element.
template <class T>
int64_t images_at_a_time(int64_t images, int64_t elements_of_one) {
  const int64_t elements = kBlockBytes * max_threads() / static_cast<int64_t>(sizeof(T));
  return equal_part_size(images, elements / elements_of_one);
}

}  // namespace ppzoo
