// Max and average pooling.
#pragma once

#include <cstdint>
#include <vector>

namespace ppzoo {

// The windows of a pooling along one axis. Output i reads the inputs [begin[i], end[i]); span[i] is the size of its
// window with paddings.
struct Windows {
  std::vector<int64_t> begin, end, span;
};

// Windows of size `kernel` moved by `stride` over `size` inputs with `before` and `after` paddings, clipped to the
// input.
Windows sliding_windows(int64_t size, int64_t kernel, int64_t stride, int64_t before, int64_t after, bool ceil_mode);
// `count` windows that cover `size` inputs as evenly as possible (adaptive pooling).
Windows adaptive_windows(int64_t size, int64_t count);

struct PoolShape {
  int64_t images, height, width, channels;
  Windows vertical, horizontal;
};

// `arg` receives the index of each maximum in its window, counted row by row. Windows have at most 256 elements.
void max_pool(const PoolShape& shape, const float* x, float* y, uint8_t* arg);
void max_pool_gradient(const PoolShape& shape, const float* dy, const uint8_t* arg, float* dx);
// `padded`: whether the divisor counts paddings.
void average_pool(const PoolShape& shape, bool padded, const float* x, float* y);
void average_pool_gradient(const PoolShape& shape, bool padded, const float* dy, float* dx);

}  // namespace ppzoo
