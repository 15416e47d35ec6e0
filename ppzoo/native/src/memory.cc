// What all operators share: the threads, and buffers that are faulted in once and stay.
#include <omp.h>

#include <cstdlib>
#include <new>

#include "kernels.h"

namespace ppzoo {

void* shared_buffer(Purpose purpose, size_t bytes) {
  struct Buffer {
    void* start = nullptr;
    size_t size = 0;
  };
  static Buffer buffers[static_cast<int>(Purpose::kCount)];
  constexpr size_t kPage = 4096;

  Buffer& buffer = buffers[static_cast<int>(purpose)];
  if (bytes > buffer.size) {
    std::free(buffer.start);
    buffer.size = (bytes + kPage - 1) / kPage * kPage;
    buffer.start = std::aligned_alloc(kPage, buffer.size);
    if (buffer.start == nullptr) {
      buffer.size = 0;
      throw std::bad_alloc();
    }
  }
  return buffer.start;
}

int threads() { return omp_get_max_threads(); }

}  // namespace ppzoo
