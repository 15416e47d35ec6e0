// Elementwise work between convolutions on channels-last tensors: activations, gates, and channels put in order.
#include <cstring>

#include "activation.h"
#include "kernels.h"
#include "parallel.h"

namespace ppzoo {

void transpose(const float* x, int64_t images, int64_t rows, int64_t columns, float* y) {
  constexpr int64_t kTile = 32;
  const int64_t row_tiles = (rows + kTile - 1) / kTile, column_tiles = (columns + kTile - 1) / kTile;
  const int64_t tiles = row_tiles * column_tiles;
  parallel(images * tiles, images * rows * columns, [&](int, int64_t begin, int64_t end) {
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

void add_activate(const float* x, const float* z, Activation activation, int64_t count, float* y) {
  with_activation(activation, [&](auto tag) {
    constexpr Activation kActivation = decltype(tag)::value;
    parallel(count, count, [&](int, int64_t begin, int64_t end) {
      if (z != nullptr) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) y[i] = activate<kActivation>(x[i] + z[i]);
      } else {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) y[i] = activate<kActivation>(x[i]);
      }
    });
  });
}

void add_activate_gradient(const float* x, const float* z, const float* dy, Activation activation, int64_t count,
                           float* dx) {
  with_activation(activation, [&](auto tag) {
    constexpr Activation kActivation = decltype(tag)::value;
    parallel(count, count, [&](int, int64_t begin, int64_t end) {
      if (z != nullptr) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) dx[i] = slope_times<kActivation>(x[i] + z[i], dy[i]);
      } else {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) dx[i] = slope_times<kActivation>(x[i], dy[i]);
      }
    });
  });
}

void accumulate(const float* part, int64_t count, float* total) {
  parallel(count, count, [&](int, int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) total[i] += part[i];
  });
}

void sum_rows(const float* x, int64_t rows, int64_t columns, bool add, float* sums) {
  std::vector<double> totals(threads() * columns, 0.0);
  parallel(rows, rows * columns, [&](int thread, int64_t begin, int64_t end) {
    double* total = totals.data() + thread * columns;
    for (int64_t row = begin; row < end; ++row) {
      const float* from = x + row * columns;
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) total[c] += from[c];
    }
  });
  for (int64_t c = 0; c < columns; ++c) {
    double sum = add ? sums[c] : 0.0;
    for (size_t place = c; place < totals.size(); place += columns) sum += totals[place];
    sums[c] = static_cast<float>(sum);
  }
}

void scale_channels(const float* x, const float* gate, int64_t images, int64_t pixels, int64_t channels, float* y) {
  parallel(images * pixels, images * pixels * channels, [&](int, int64_t begin, int64_t end) {
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
  constexpr int64_t kBlock = 64;  // pixels whose sums are kept in float
  parallel(images, images * pixels * channels, [&](int, int64_t begin, int64_t end) {
    std::vector<float> block(channels);
    std::vector<double> sum(channels);
    for (int64_t image = begin; image < end; ++image) {
      const float* factor = gate + image * channels;
      std::fill(sum.begin(), sum.end(), 0.0);
      for (int64_t start = 0; start < pixels; start += kBlock) {
        std::fill(block.begin(), block.end(), 0.0f);
        for (int64_t pixel = start; pixel < std::min(start + kBlock, pixels); ++pixel) {
          const int64_t place = (image * pixels + pixel) * channels;
          const float *from = x + place, *gradient = dy + place;
          float *to = dx + place, *partial = block.data();
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

void join_channels(const std::vector<const float*>& parts, const std::vector<int64_t>& widths, int64_t pixels,
                   bool shuffled, float* whole) {
  int64_t channels = 0;
  for (int64_t width : widths) channels += width;
  const int64_t count = static_cast<int64_t>(parts.size());
  parallel(pixels, pixels * channels, [&](int, int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      float* to = whole + pixel * channels;
      for (int64_t part = 0; part < count; ++part) {
        const float* from = parts[part] + pixel * widths[part];
        if (shuffled) {
          for (int64_t c = 0; c < widths[part]; ++c) to[c * count + part] = from[c];
        } else {
          std::memcpy(to, from, sizeof(float) * widths[part]);
          to += widths[part];
        }
      }
    }
  });
}

void part_channels(const float* whole, const std::vector<int64_t>& widths, int64_t pixels, bool shuffled,
                   const std::vector<float*>& parts) {
  int64_t channels = 0;
  for (int64_t width : widths) channels += width;
  const int64_t count = static_cast<int64_t>(parts.size());
  parallel(pixels, pixels * channels, [&](int, int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const float* from = whole + pixel * channels;
      for (int64_t part = 0; part < count; ++part) {
        float* to = parts[part] + pixel * widths[part];
        if (shuffled) {
          for (int64_t c = 0; c < widths[part]; ++c) to[c] = from[c * count + part];
        } else {
          std::memcpy(to, from, sizeof(float) * widths[part]);
          from += widths[part];
        }
      }
    }
  });
}

}  // namespace ppzoo
