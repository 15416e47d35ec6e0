// The loop over the vectors of images whose elements are independent. For kernels only, as simd.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/parallel.h"
#include "kernels/wide_rows.h"

namespace ppzoo {

// Calls body(strip, i, image) in parallel for each vector of `images` images of `size` elements: strip.load(x + i) and
// strip.store(value, y + i) access elements i and the following, all of one image.
template <class Body>
void for_vectors(int64_t images, int64_t size, const Body& body) {
  if (images * size <= 0) return;
  const int64_t vectors = (size + kLanes - 1) / kLanes;
  parallel_for(images * vectors, images * size, [&](int, int64_t begin, int64_t end) {
    for (int64_t image = begin / vectors; image * vectors < end; ++image) {
      const int64_t first = std::max(begin - image * vectors, int64_t{0}) * kLanes;
      const int64_t last = std::min((end - image * vectors) * kLanes, size);
      int64_t i = first;
      for (; i + kLanes <= last; i += kLanes) body(FullVectors<1>(), image * size + i, image);
      if (i < last) body(PartialVector{last - i}, image * size + i, image);
    }
  });
}

}  // namespace ppzoo
