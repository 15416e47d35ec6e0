// Max and average pooling of NHWC tensors in bfloat16.
//
// Loop nest: rows of all images -> columns -> vectors of channels -> the pixels of the window. The running maximum or
// sum of a vector of channels is in registers, as float32, and is rounded when it is stored. Parallel over the rows of
// all images.
//
// Gradients have the same loop nest over the pixels of the input: for each pixel, the gradients of the windows that
// cover it (Cover) are added, so that the sum is rounded only once. The gradient of the maximum compares the
// stored index of each channel with the pixel's position in the window.
#include "kernels/bfloat16_pooling.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/bfloat16_simd.h"
#include "kernels/parallel.h"

namespace ppzoo {
namespace {

typedef int32_t Indices __attribute__((vector_size(kLanes * sizeof(int32_t))));
typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

// A window along one axis that covers an input: its number, and the position of the input in it.
struct Cover {
  int64_t window, position;
};

// The windows that cover each input of an axis.
std::vector<std::vector<Cover>> covers_of(const Windows& windows, int64_t size) {
  std::vector<std::vector<Cover>> covers(size);
  for (size_t i = 0; i < windows.begin.size(); ++i) {
    for (int64_t at = windows.begin[i]; at < windows.end[i]; ++at) {
      covers[at].push_back({static_cast<int64_t>(i), at - windows.begin[i]});
    }
  }
  return covers;
}

int64_t rows_of(const PoolShape& s) { return static_cast<int64_t>(s.vertical.begin.size()); }
int64_t columns_of(const PoolShape& s) { return static_cast<int64_t>(s.horizontal.begin.size()); }
int64_t width_of(const Windows& windows, int64_t i) { return windows.end[i] - windows.begin[i]; }

// Calls body(image, row, column) in parallel for the rows of all images.
template <class Body>
void for_pixels(const PoolShape& s, int64_t rows, int64_t columns, const Body& body) {
  parallel_for(s.images * rows, s.images * s.height * s.width * s.channels, [&](int, int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      for (int64_t column = 0; column < columns; ++column) body(line / rows, line % rows, column);
    }
  });
}

// Calls body(first channel, lanes) for vectors of channels; the last one can be shorter.
template <class Body>
void for_vectors(int64_t channels, const Body& body) {
  for (int64_t c = 0; c < channels; c += kLanes) body(c, std::min(kLanes, channels - c));
}

Vector load_lanes(int64_t lanes, const Bfloat16* from) {
  return lanes == kLanes ? load(from) : load_partial(lanes, from);
}

void store_lanes(int64_t lanes, Vector values, Bfloat16* to) {
  if (lanes == kLanes) {
    store(values, to);
  } else {
    store_partial(lanes, values, to);
  }
}

Indices load_indices(int64_t lanes, const uint8_t* from) {
  Bytes bytes{};
  std::memcpy(&bytes, from, lanes == kLanes ? kLanes : lanes);
  return __builtin_convertvector(bytes, Indices);
}

// The divisor of a mean, as in pooling.cc.
float divisor(const PoolShape& s, bool padded, int64_t row, int64_t column) {
  if (padded) return static_cast<float>(s.vertical.span[row] * s.horizontal.span[column]);
  return static_cast<float>(width_of(s.vertical, row) * width_of(s.horizontal, column));
}

// Calls body(x) for the pixels of the window (row, column) of an image, row by row.
template <class Body>
void for_window(const PoolShape& s, int64_t image, int64_t row, int64_t column, const Bfloat16* x, const Body& body) {
  for (int64_t h = s.vertical.begin[row]; h < s.vertical.end[row]; ++h) {
    for (int64_t w = s.horizontal.begin[column]; w < s.horizontal.end[column]; ++w) {
      body(x + ((image * s.height + h) * s.width + w) * s.channels);
    }
  }
}

}  // namespace

void bfloat16_max_pool(const PoolShape& s, const Bfloat16* x, Bfloat16* y, uint8_t* arg) {
  for_pixels(s, rows_of(s), columns_of(s), [&](int64_t image, int64_t row, int64_t column) {
    const int64_t output = ((image * rows_of(s) + row) * columns_of(s) + column) * s.channels;
    for_vectors(s.channels, [&](int64_t c, int64_t lanes) {
      Vector best = std::numeric_limits<float>::lowest() + Vector{};
      Indices argmax{}, index{};
      for_window(s, image, row, column, x + c, [&](const Bfloat16* from) {
        const Vector value = load_lanes(lanes, from);
        const auto keeps = value <= best;  // NaN is propagated: a comparison with it is false
        best = keeps ? best : value;
        argmax = keeps ? argmax : index;
        index += 1;
      });
      store_lanes(lanes, best, y + output + c);
      const Bytes bytes = __builtin_convertvector(argmax, Bytes);
      std::memcpy(arg + output + c, &bytes, lanes == kLanes ? kLanes : lanes);
    });
  });
}

void bfloat16_max_pool_gradient(const PoolShape& s, const Bfloat16* dy, const uint8_t* arg, Bfloat16* dx) {
  const auto vertical = covers_of(s.vertical, s.height), horizontal = covers_of(s.horizontal, s.width);
  for_pixels(s, s.height, s.width, [&](int64_t image, int64_t h, int64_t w) {
    Bfloat16* to = dx + ((image * s.height + h) * s.width + w) * s.channels;
    for_vectors(s.channels, [&](int64_t c, int64_t lanes) {
      Vector sum{};
      for (const Cover& row : vertical[h]) {
        for (const Cover& column : horizontal[w]) {
          const int64_t output = ((image * rows_of(s) + row.window) * columns_of(s) + column.window) * s.channels + c;
          const auto here =
              static_cast<int32_t>(row.position * width_of(s.horizontal, column.window) + column.position);
          const Vector gradient = load_lanes(lanes, dy + output);
          sum += load_indices(lanes, arg + output) == here ? gradient : Vector{};
        }
      }
      store_lanes(lanes, sum, to + c);
    });
  });
}

void bfloat16_average_pool(const PoolShape& s, bool padded, const Bfloat16* x, Bfloat16* y) {
  for_pixels(s, rows_of(s), columns_of(s), [&](int64_t image, int64_t row, int64_t column) {
    Bfloat16* to = y + ((image * rows_of(s) + row) * columns_of(s) + column) * s.channels;
    const float factor = 1.0f / divisor(s, padded, row, column);
    for_vectors(s.channels, [&](int64_t c, int64_t lanes) {
      Vector sum{};
      for_window(s, image, row, column, x + c, [&](const Bfloat16* from) { sum += load_lanes(lanes, from); });
      store_lanes(lanes, sum * factor, to + c);
    });
  });
}

void bfloat16_average_pool_gradient(const PoolShape& s, bool padded, const Bfloat16* dy, Bfloat16* dx) {
  const auto vertical = covers_of(s.vertical, s.height), horizontal = covers_of(s.horizontal, s.width);
  for_pixels(s, s.height, s.width, [&](int64_t image, int64_t h, int64_t w) {
    Bfloat16* to = dx + ((image * s.height + h) * s.width + w) * s.channels;
    for_vectors(s.channels, [&](int64_t c, int64_t lanes) {
      Vector sum{};
      for (const Cover& row : vertical[h]) {
        for (const Cover& column : horizontal[w]) {
          const int64_t output = (image * rows_of(s) + row.window) * columns_of(s) + column.window;
          const float factor = 1.0f / divisor(s, padded, row.window, column.window);
          sum += load_lanes(lanes, dy + output * s.channels + c) * factor;
        }
      }
      store_lanes(lanes, sum, to + c);
    });
  });
}

}  // namespace ppzoo
