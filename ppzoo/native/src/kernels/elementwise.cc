// Elementwise operations, sums and layout changes of channels-last tensors.
//
// Each function is a loop over elements, or over pixels and then channels (which are contiguous and vectorized by the
// compiler), parallel over equal ranges of the outer loop. transpose works on tiles of 32 x 32 elements.
// scale_channels_gradient adds up to 64 pixels in float, and their sums in double.
#include "kernels/elementwise.h"

#include <algorithm>
#include <vector>

#include "kernels/parallel.h"

namespace ppzoo {
void transpose(const float* x, int64_t images, int64_t rows, int64_t columns, float* y) {
  constexpr int64_t kTile = 32;
  const int64_t row_tiles = (rows + kTile - 1) / kTile, column_tiles = (columns + kTile - 1) / kTile;
  const int64_t tiles = row_tiles * column_tiles;
  parallel_for(images * tiles, images * rows * columns, [&](int, int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t image = tile / tiles * rows * columns;
      const int64_t row = tile % tiles / column_tiles * kTile, column = tile % column_tiles * kTile;
      const int64_t last_row = std::min(row + kTile, rows), last_column = std::min(column + kTile, columns);
      for (int64_t c = column; c < last_column; ++c) {
        for (int64_t r = row; r < last_row; ++r) y[image + c * rows + r] = x[image + r * columns + c];
      }
    }
  });
}

void accumulate(const float* part, int64_t count, float* total) {
  parallel_for(count, count, [&](int, int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) total[i] += part[i];
  });
}

void scale_channels(const float* x, const float* gate, int64_t images, int64_t pixels, int64_t channels, float* y) {
  parallel_for(images * pixels, images * pixels * channels, [&](int, int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const float *from = x + pixel * channels, *factor = gate + pixel / pixels * channels;
      float* to = y + pixel * channels;
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) to[c] = from[c] * factor[c];
    }
  });
}

void scale_channels_gradient(const float* x, const float* gate, const float* dy, int64_t images, int64_t pixels,
                             int64_t channels, float* dx, float* dgate) {
  constexpr int64_t kBlock = 64;  // pixels that are summed in float
  parallel_for(images, images * pixels * channels, [&](int, int64_t begin, int64_t end) {
    std::vector<float> block(channels);
    std::vector<double> sum(channels);
    for (int64_t image = begin; image < end; ++image) {
      const float* factor = gate + image * channels;
      std::fill(sum.begin(), sum.end(), 0.0);
      for (int64_t start = 0; start < pixels; start += kBlock) {
        std::fill(block.begin(), block.end(), 0.0f);
        for (int64_t pixel = start; pixel < std::min(start + kBlock, pixels); ++pixel) {
          const int64_t index = (image * pixels + pixel) * channels;
          const float *from = x + index, *gradient = dy + index;
          float *to = dx + index, *partial = block.data();
#pragma omp simd
          for (int64_t c = 0; c < channels; ++c) {
            to[c] = gradient[c] * factor[c];
            partial[c] += gradient[c] * from[c];
          }
        }
        for (int64_t c = 0; c < channels; ++c) sum[c] += block[c];
      }
      for (int64_t c = 0; c < channels; ++c) dgate[image * channels + c] = static_cast<float>(sum[c]);
    }
  });
}

}  // namespace ppzoo
