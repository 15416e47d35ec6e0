// Checks the arguments of pooling operators, and converts them to the kernels' arguments. See common.h.
#pragma once

#include <algorithm>
#include <limits>

#include "kernels/pooling.h"
#include "ops/common.h"

namespace ppzoo::ops {

// `geometry`: kernel, strides, paddings (top, bottom, left, right), ceil_mode; or, for adaptive pooling, output sizes.
inline void require_pool_geometry(const std::vector<int>& geometry) {
  bool sound = geometry.size() == 2 || geometry.size() == 9;
  for (size_t i = 0; sound && i < geometry.size(); ++i) sound = geometry[i] >= (i < 4 ? 1 : 0);
  require(sound, [&] {
    return "geometry: expected two output sizes, or two kernel sizes, two strides (at least 1 each), four paddings and "
           "the ceil mode (at least 0 each), got " +
           format(geometry);
  });
}

// Requires windows that overlap the input and cover at most `max_size` inputs.
inline void require_windows(const PoolShape& s, int64_t max_size) {
  int64_t largest[2] = {0, 0};
  bool sound = true;
  for (const int axis : {0, 1}) {
    const Windows& windows = axis == 0 ? s.vertical : s.horizontal;
    sound = sound && !windows.begin.empty();
    for (size_t i = 0; sound && i < windows.begin.size(); ++i) {
      sound = windows.begin[i] < windows.end[i];
      largest[axis] = std::max(largest[axis], windows.end[i] - windows.begin[i]);
    }
  }
  require(sound, [] { return "pooling: expected windows that overlap the input, got one outside of it"; });
  require(largest[0] * largest[1] <= max_size, [&] {
    return "pooling: expected windows of at most " + std::to_string(max_size) + " elements, got " +
           std::to_string(largest[0]) + " x " + std::to_string(largest[1]);
  });
}

constexpr int64_t kMaxArgmaxWindow = 256;  // the index of a maximum is stored in one byte
constexpr int64_t kUnlimitedWindow = std::numeric_limits<int64_t>::max();

inline PoolShape pool_shape(const Tensor& input, const std::vector<int>& geometry,
                            int64_t max_window = kUnlimitedWindow, phi::DataType type = kFloat32) {
  require_axes(input, "input", 4, type);
  require_pool_geometry(geometry);
  const Shape x = input.shape();
  PoolShape s{x[0], x[1], x[2], x[3], {}, {}};
  if (geometry.size() == 2) {
    s.vertical = adaptive_windows(s.height, geometry[0]);
    s.horizontal = adaptive_windows(s.width, geometry[1]);
  } else {
    s.vertical = sliding_windows(s.height, geometry[0], geometry[2], geometry[4], geometry[5], geometry[8]);
    s.horizontal = sliding_windows(s.width, geometry[1], geometry[3], geometry[6], geometry[7], geometry[8]);
  }
  require_windows(s, max_window);
  return s;
}

inline Shape output_shape(const PoolShape& s) {
  return {s.images, static_cast<int64_t>(s.vertical.begin.size()), static_cast<int64_t>(s.horizontal.begin.size()),
          s.channels};
}

inline void require_output_shape(const Tensor& tensor, const char* name, const PoolShape& s,
                                 phi::DataType type = kFloat32) {
  require_shape(tensor, name,
                {s.images, static_cast<int64_t>(s.vertical.begin.size()),
                 static_cast<int64_t>(s.horizontal.begin.size()), s.channels},
                type);
}

}  // namespace ppzoo::ops
