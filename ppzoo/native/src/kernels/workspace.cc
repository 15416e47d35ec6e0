#include "kernels/workspace.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace ppzoo {

void* reserve_workspace(WorkspaceSlot slot, size_t bytes) {
  struct Buffer {
    void* start = nullptr;
    size_t size = 0;
  };
  static Buffer buffers[static_cast<int>(WorkspaceSlot::kCount)];

  Buffer& buffer = buffers[static_cast<int>(slot)];
#ifdef __SANITIZE_ADDRESS__
  // A new buffer of the exact size for each request, filled with NaN, so that out-of-bounds accesses and reads of old
  // content are detected.
  std::free(buffer.start);
  if (posix_memalign(&buffer.start, 64, bytes) != 0) throw std::bad_alloc();
  std::memset(buffer.start, 0xff, bytes);
#else
  constexpr size_t kPage = 4096;
  if (bytes > buffer.size) {
    std::free(buffer.start);
    buffer.size = (bytes + kPage - 1) / kPage * kPage;
    buffer.start = std::aligned_alloc(kPage, buffer.size);
    if (buffer.start == nullptr) {
      buffer.size = 0;
      throw std::bad_alloc();
    }
  }
#endif
  return buffer.start;
}

}  // namespace ppzoo
