// Max and average pooling of NHWC tensors. Sliding, adaptive and global pooling differ only in their windows.
//
// Loop nest: images -> output rows and columns -> the pixels of the window -> channels (vectorized). Parallel over
// images. Means are summed in float along a row of the window and in double across rows. The gradient of the maximum
// compares the stored index of each channel with the position in the window, which avoids scattered writes.
#include "kernels/pooling.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/parallel.h"

namespace ppzoo {
namespace {

// Whether there is one window, which covers the complete input.
bool is_global(const PoolShape& s) {
  const auto covers_all = [](const Windows& windows, int64_t size) {
    return windows.begin.size() == 1 && windows.begin[0] == 0 && windows.end[0] == size;
  };
  return covers_all(s.vertical, s.height) && covers_all(s.horizontal, s.width);
}

int64_t elements(const PoolShape& s) { return s.images * s.height * s.width * s.channels; }

// Calls body(image, row, column, output) for the outputs of the images [begin, end). `output` is the pixel's index in
// the output tensor.
template <class Body>
void for_outputs(const PoolShape& s, int64_t begin, int64_t end, Body&& body) {
  const int64_t rows = static_cast<int64_t>(s.vertical.begin.size());
  const int64_t columns = static_cast<int64_t>(s.horizontal.begin.size());
  for (int64_t image = begin; image < end; ++image) {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        body(image, row, column, (image * rows + row) * columns + column);
      }
    }
  }
}

// The divisor of a mean. As in PaddlePaddle, it can be zero or negative for a window outside of the input.
float divisor(const PoolShape& s, bool padded, int64_t row, int64_t column) {
  if (padded) return static_cast<float>(s.vertical.span[row] * s.horizontal.span[column]);
  return static_cast<float>((s.vertical.end[row] - s.vertical.begin[row]) *
                            (s.horizontal.end[column] - s.horizontal.begin[column]));
}

}  // namespace

Windows sliding_windows(int64_t size, int64_t kernel, int64_t stride, int64_t before, int64_t after, bool ceil_mode) {
  const int64_t count = (size + before + after - kernel + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  Windows windows;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t start = i * stride - before;
    windows.begin.push_back(std::max<int64_t>(start, 0));
    windows.end.push_back(std::min(start + kernel, size));
    // PaddlePaddle counts `before` paddings after the input, too.
    windows.span.push_back(std::min(start + kernel, size + before) - start);
  }
  return windows;
}

Windows adaptive_windows(int64_t size, int64_t count) {
  Windows windows;
  for (int64_t i = 0; i < count; ++i) {
    windows.begin.push_back(i * size / count);
    windows.end.push_back(((i + 1) * size + count - 1) / count);
    windows.span.push_back(windows.end[i] - windows.begin[i]);
  }
  return windows;
}

void max_pool(const PoolShape& s, const float* x, float* y, uint8_t* arg) {
  const int64_t channels = s.channels;
  parallel_for(s.images, elements(s), [&](int, int64_t begin, int64_t end) {
    std::vector<int32_t> indices(channels);  // as wide as floats, for vectorization
    int32_t* argmax = indices.data();
    for_outputs(s, begin, end, [&](int64_t image, int64_t row, int64_t column, int64_t output) {
      float* best = y + output * channels;
      std::fill(best, best + channels,
                std::numeric_limits<float>::lowest());  // PaddlePaddle's result for an empty window
      std::fill(argmax, argmax + channels, 0);
      int32_t index = 0;
      for (int64_t h = s.vertical.begin[row]; h < s.vertical.end[row]; ++h) {
        for (int64_t w = s.horizontal.begin[column]; w < s.horizontal.end[column]; ++w, ++index) {
          const float* from = x + ((image * s.height + h) * s.width + w) * channels;
#pragma omp simd
          for (int64_t c = 0; c < channels; ++c) {
            // NaN is propagated: a comparison with it is false.
            const bool better = !(from[c] <= best[c]);
            argmax[c] = better ? index : argmax[c];
            best[c] = better ? from[c] : best[c];
          }
        }
      }
      std::copy(argmax, argmax + channels, arg + output * channels);
    });
  });
}

void max_pool_gradient(const PoolShape& s, const float* dy, const uint8_t* arg, float* dx) {
  const int64_t channels = s.channels, image_size = s.height * s.width * channels;
  parallel_for(s.images, elements(s), [&](int, int64_t begin, int64_t end) {
    std::memset(dx + begin * image_size, 0, sizeof(float) * (end - begin) * image_size);
    for_outputs(s, begin, end, [&](int64_t image, int64_t row, int64_t column, int64_t output) {
      const float* gradient = dy + output * channels;
      const uint8_t* argmax = arg + output * channels;
      int index = 0;
      for (int64_t h = s.vertical.begin[row]; h < s.vertical.end[row]; ++h) {
        for (int64_t w = s.horizontal.begin[column]; w < s.horizontal.end[column]; ++w, ++index) {
          float* to = dx + ((image * s.height + h) * s.width + w) * channels;
          const uint8_t here = static_cast<uint8_t>(index);
#pragma omp simd
          for (int64_t c = 0; c < channels; ++c) to[c] += argmax[c] == here ? gradient[c] : 0.0f;
        }
      }
    });
  });
}

void average_pool(const PoolShape& s, bool padded, const float* x, float* y) {
  const int64_t channels = s.channels;
  parallel_for(s.images, elements(s), [&](int, int64_t begin, int64_t end) {
    std::vector<float> line(channels);
    std::vector<double> sum(channels);
    for_outputs(s, begin, end, [&](int64_t image, int64_t row, int64_t column, int64_t output) {
      std::fill(sum.begin(), sum.end(), 0.0);
      for (int64_t h = s.vertical.begin[row]; h < s.vertical.end[row]; ++h) {
        std::fill(line.begin(), line.end(), 0.0f);
        for (int64_t w = s.horizontal.begin[column]; w < s.horizontal.end[column]; ++w) {
          const float* from = x + ((image * s.height + h) * s.width + w) * channels;
#pragma omp simd
          for (int64_t c = 0; c < channels; ++c) line[c] += from[c];
        }
        for (int64_t c = 0; c < channels; ++c) sum[c] += line[c];
      }
      const double factor = 1.0 / divisor(s, padded, row, column);
      float* to = y + output * channels;
      for (int64_t c = 0; c < channels; ++c) to[c] = static_cast<float>(sum[c] * factor);
    });
  });
}

void average_pool_gradient(const PoolShape& s, bool padded, const float* dy, float* dx) {
  const int64_t channels = s.channels, image_size = s.height * s.width * channels;
  const bool covers_once = is_global(s);  // each input is in exactly one window
  parallel_for(s.images, elements(s), [&](int, int64_t begin, int64_t end) {
    if (!covers_once) std::memset(dx + begin * image_size, 0, sizeof(float) * (end - begin) * image_size);
    std::vector<float> share(channels);
    for_outputs(s, begin, end, [&](int64_t image, int64_t row, int64_t column, int64_t output) {
      const float factor = 1.0f / divisor(s, padded, row, column);
      const float* gradient = dy + output * channels;
      for (int64_t c = 0; c < channels; ++c) share[c] = gradient[c] * factor;
      for (int64_t h = s.vertical.begin[row]; h < s.vertical.end[row]; ++h) {
        for (int64_t w = s.horizontal.begin[column]; w < s.horizontal.end[column]; ++w) {
          float* to = dx + ((image * s.height + h) * s.width + w) * channels;
          if (covers_once) {
            std::memcpy(to, share.data(), sizeof(float) * channels);
          } else {
            for (int64_t c = 0; c < channels; ++c) to[c] += share[c];
          }
        }
      }
    });
  });
}

}  // namespace ppzoo
