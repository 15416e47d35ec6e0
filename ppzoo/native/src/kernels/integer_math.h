// Rounding of element counts.
#pragma once

#include <cstdint>

namespace ppzoo {

inline int64_t round_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

// The size of the parts, as equal as possible, into which `count` is divided if no part may be larger than `max_size`.
// Parts have at least one element.
inline int64_t equal_part_size(int64_t count, int64_t max_size) {
  if (max_size >= count) return count;
  const int64_t parts = max_size < 1 ? count : (count + max_size - 1) / max_size;
  return (count + parts - 1) / parts;
}

}  // namespace ppzoo
