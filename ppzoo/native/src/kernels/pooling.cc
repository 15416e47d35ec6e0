// Max and average pooling of NHWC tensors. Sliding, adaptive and global pooling differ only in their windows.
//
// Loop nest: images -> output rows and columns -> the pixels of the window -> channels (vectorized); for the maximum,
// vectors of channels -> the pixels of the window, with the maximum and its index in registers. Parallel over images.
// Means are summed in float along a row of the window and in double across rows. The gradient of the maximum compares
// the stored index of each channel with the position in the window, which avoids scattered writes.
#include "kernels/pooling.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/activation_simd.h"
#include "kernels/parallel.h"
#include "kernels/simd.h"

namespace ppzoo {
namespace {

typedef uint8_t ByteVector __attribute__((vector_size(kLanes)));

// A vector of channels, all of whose lanes are used.
struct FullLanes {
  Vector load(const float* from) const { return ppzoo::load(from); }
  void store(Vector value, float* to) const { ppzoo::store(value, to); }
  int64_t count() const { return kLanes; }
};

// The last channels, if they are fewer than a vector has lanes.
struct PartialLanes {
  int64_t length;
  Vector load(const float* from) const { return load_partial(length, from); }
  void store(Vector value, float* to) const { store_partial(length, value, to); }
  int64_t count() const { return length; }
};

template <class Lanes>
IntVector load_bytes(const Lanes& lanes, const uint8_t* from) {
  ByteVector bytes{};
  std::memcpy(&bytes, from, lanes.count());
  return __builtin_convertvector(bytes, IntVector);
}

template <class Lanes>
void store_bytes(const Lanes& lanes, IntVector values, uint8_t* to) {
  const ByteVector bytes = __builtin_convertvector(values, ByteVector);
  std::memcpy(to, &bytes, lanes.count());
}

// Calls body(lanes, c) for the vectors of channels that begin with channel `c`.
template <class Body>
void for_vectors(int64_t channels, const Body& body) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) body(FullLanes(), c);
  if (c < channels) body(PartialLanes{channels - c}, c);
}

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
    for_outputs(s, begin, end, [&](int64_t image, int64_t row, int64_t column, int64_t output) {
      for_vectors(channels, [&](auto lanes, int64_t c) {
        Vector best = Vector{} + std::numeric_limits<float>::lowest();  // PaddlePaddle's result for an empty window
        IntVector best_index{}, index{};
        for (int64_t h = s.vertical.begin[row]; h < s.vertical.end[row]; ++h) {
          for (int64_t w = s.horizontal.begin[column]; w < s.horizontal.end[column]; ++w, index += 1) {
            const Vector value = lanes.load(x + ((image * s.height + h) * s.width + w) * channels + c);
            const auto worse = value <= best;  // a comparison with NaN is false
            best = worse ? best : value;
            best_index = worse ? best_index : index;
          }
        }
        lanes.store(best, y + output * channels + c);
        store_bytes(lanes, best_index, arg + output * channels + c);
      });
    });
  });
}

void max_pool_gradient(const PoolShape& s, const float* dy, const uint8_t* arg, float* dx) {
  const int64_t channels = s.channels, image_size = s.height * s.width * channels;
  parallel_for(s.images, elements(s), [&](int, int64_t begin, int64_t end) {
    std::memset(dx + begin * image_size, 0, sizeof(float) * (end - begin) * image_size);
    for_outputs(s, begin, end, [&](int64_t image, int64_t row, int64_t column, int64_t output) {
      for_vectors(channels, [&](auto lanes, int64_t c) {
        const Vector gradient = lanes.load(dy + output * channels + c);
        const IntVector best_index = load_bytes(lanes, arg + output * channels + c);
        IntVector index{};
        for (int64_t h = s.vertical.begin[row]; h < s.vertical.end[row]; ++h) {
          for (int64_t w = s.horizontal.begin[column]; w < s.horizontal.end[column]; ++w, index += 1) {
            float* to = dx + ((image * s.height + h) * s.width + w) * channels + c;
            lanes.store(lanes.load(to) + (best_index == index ? gradient : Vector{}), to);
          }
        }
      });
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
