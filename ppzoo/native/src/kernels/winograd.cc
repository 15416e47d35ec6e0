// 3x3 convolutions without stride by minimal filtering, F(2x2, 3x3) of Lavin and Gray (arXiv:1509.09308): 16 products
// compute the four outputs of a tile, for which the direct sum needs 36.
//
// Loop nest: rows of tiles, about 64 tiles at a time so that they stay in the cache -> input transform (4x4 pixels to
// 16 values) -> 16 matrix products (tiles x channels) -> output transform (16 values to 2x2 pixels). The filters are
// transformed into 16 packed matrices (slot kPackedWeights) once per call. A vector holds kLanes channels of one pixel;
// the channels must be a multiple of kLanes. Transformed tiles are 16 matrices of tiles x channels, one set per thread.
//
// The input gradient is the convolution of dy with the filters rotated by 180 degrees. The weight gradient multiplies
// the transformed input and gradient tiles, with one sum per thread. Parallel over rows of tiles.
#include "kernels/winograd.h"

#include <algorithm>
#include <vector>

#include "kernels/gemm.h"
#include "kernels/integer_math.h"
#include "kernels/parallel.h"
#include "kernels/simd.h"
#include "kernels/workspace.h"

namespace ppzoo {
namespace {

constexpr int kFilter = 3, kInput = 4, kOutput = 2, kPositions = kInput * kInput, kTaps = kFilter * kFilter;

// The elements from one of the 16 matrices to the next. A multiple of 4096 bytes, which `size` often is, would map the
// same element of all matrices to one set of the L1 cache.
int64_t matrix_step(int64_t size) { return size + kLanes; }

// The transforms along one axis. The comments name the matrices of the paper.
struct InputTransform {  // B^T
  static constexpr int kFrom = kInput, kTo = kInput;
  static void apply(const Vector (&d)[kFrom], Vector (&v)[kTo]) {
    v[0] = d[0] - d[2], v[1] = d[1] + d[2], v[2] = d[2] - d[1], v[3] = d[1] - d[3];
  }
};
struct OutputTransform {  // A^T
  static constexpr int kFrom = kInput, kTo = kOutput;
  static void apply(const Vector (&m)[kFrom], Vector (&y)[kTo]) {
    y[0] = m[0] + m[1] + m[2], y[1] = m[1] - m[2] - m[3];
  }
};
struct OutputGradientTransform {  // A
  static constexpr int kFrom = kOutput, kTo = kInput;
  static void apply(const Vector (&y)[kFrom], Vector (&m)[kTo]) {
    m[0] = y[0], m[1] = y[0] + y[1], m[2] = y[0] - y[1], m[3] = -y[1];
  }
};
struct FilterTransform {  // G
  static constexpr int kFrom = kFilter, kTo = kInput;
  static void apply(const Vector (&g)[kFrom], Vector (&u)[kTo]) {
    const Vector ends = 0.5f * (g[0] + g[2]), middle = 0.5f * g[1];
    u[0] = g[0], u[1] = ends + middle, u[2] = ends - middle, u[3] = g[2];
  }
};
struct FilterGradientTransform {  // G^T
  static constexpr int kFrom = kInput, kTo = kFilter;
  static void apply(const Vector (&u)[kFrom], Vector (&g)[kTo]) {
    const Vector sum = 0.5f * (u[1] + u[2]), difference = 0.5f * (u[1] - u[2]);
    g[0] = u[0] + sum, g[1] = difference, g[2] = sum + u[3];
  }
};

// Applies a transform along both axes.
template <class Transform>
inline void transform_2d(const Vector (&from)[Transform::kFrom][Transform::kFrom],
                         Vector (&to)[Transform::kTo][Transform::kTo]) {
  Vector half[Transform::kFrom][Transform::kTo];
#pragma GCC unroll 4
  for (int i = 0; i < Transform::kFrom; ++i) Transform::apply(from[i], half[i]);
#pragma GCC unroll 4
  for (int j = 0; j < Transform::kTo; ++j) {
    Vector column[Transform::kFrom], result[Transform::kTo];
#pragma GCC unroll 4
    for (int i = 0; i < Transform::kFrom; ++i) column[i] = half[i][j];
    Transform::apply(column, result);
#pragma GCC unroll 4
    for (int i = 0; i < Transform::kTo; ++i) to[i][j] = result[i];
  }
}

// The tiles of all images. Rows of tiles are numbered over all images.
struct Tiling {
  explicit Tiling(const ConvShape& s)
      : rows_of_image((s.out_height() + 1) / kOutput),
        columns((s.out_width() + 1) / kOutput),
        rows(s.images * rows_of_image) {}
  int64_t rows_of_image, columns, rows;

  // Rows of tiles per block: enough tiles for the products, few enough for the cache.
  int64_t rows_at_a_time() const {
    constexpr int64_t kTiles = 64;
    return std::max<int64_t>(1, kTiles / columns);
  }
};

// The images that tiles are read from. The first tile begins at pixel (top, left), which can be outside of the image.
struct TileSource {
  const float* data;
  int64_t height, width, channels, top, left;
};

// Input transform of the tiles (Transform::kFrom x Transform::kFrom pixels) of rows [row, row + count). `to` receives
// 16 matrices of tiles x channels.
template <class Transform>
void input_transform(const TileSource& images, const Tiling& tiling, int64_t row, int64_t count, float* to) {
  constexpr int kSide = Transform::kFrom;
  const int64_t channels = images.channels, matrix = matrix_step(count * tiling.columns * channels);
  const std::vector<float> zeros(channels);
  for (int64_t tile = 0; tile < count * tiling.columns; ++tile, to += channels) {
    const int64_t tile_row = row + tile / tiling.columns, image = tile_row / tiling.rows_of_image;
    const int64_t top = images.top + tile_row % tiling.rows_of_image * kOutput;
    const int64_t left = images.left + tile % tiling.columns * kOutput;
    const float* from[kSide][kSide];
    for (int i = 0; i < kSide; ++i) {
      for (int j = 0; j < kSide; ++j) {
        const int64_t y = top + i, x = left + j;
        const bool inside = y >= 0 && y < images.height && x >= 0 && x < images.width;
        from[i][j] = inside ? images.data + ((image * images.height + y) * images.width + x) * channels : zeros.data();
      }
    }
    for (int64_t channel = 0; channel < channels; channel += kLanes) {
      Vector pixels[kSide][kSide], result[kInput][kInput];
#pragma GCC unroll 16
      for (int p = 0; p < kSide * kSide; ++p) pixels[p / kSide][p % kSide] = load(from[p / kSide][p % kSide] + channel);
      transform_2d<Transform>(pixels, result);
#pragma GCC unroll 16
      for (int p = 0; p < kPositions; ++p) store(result[p / kInput][p % kInput], to + p * matrix + channel);
    }
  }
}

// Output transform of the 16 matrices of products of rows [row, row + count) of tiles. `bias` can be null. With `add`,
// adds to y.
void output_transform(const ConvShape& s, const Tiling& tiling, int64_t row, int64_t count, const float* products,
                      const float* bias, bool add, float* y) {
  const int64_t channels = s.out_channels, height = s.out_height(), width = s.out_width();
  const int64_t matrix = matrix_step(count * tiling.columns * channels);
  for (int64_t tile = 0; tile < count * tiling.columns; ++tile, products += channels) {
    const int64_t tile_row = row + tile / tiling.columns, image = tile_row / tiling.rows_of_image;
    const int64_t top = tile_row % tiling.rows_of_image * kOutput, left = tile % tiling.columns * kOutput;
    float* to = y + ((image * height + top) * width + left) * channels;
    const bool right = left + 1 < width, below = top + 1 < height;
    for (int64_t channel = 0; channel < channels; channel += kLanes) {
      Vector parts[kInput][kInput], outputs[kOutput][kOutput];
#pragma GCC unroll 16
      for (int p = 0; p < kPositions; ++p) parts[p / kInput][p % kInput] = load(products + p * matrix + channel);
      transform_2d<OutputTransform>(parts, outputs);
      const Vector offset = bias != nullptr ? load(bias + channel) : Vector{};
      const auto put = [&](Vector output, float* pixel) { store(output + (add ? load(pixel) : offset), pixel); };
      put(outputs[0][0], to + channel);
      if (right) put(outputs[0][1], to + channels + channel);
      if (below) put(outputs[1][0], to + width * channels + channel);
      if (right && below) put(outputs[1][1], to + (width + 1) * channels + channel);
    }
  }
}

// Calls body(thread, first row of tiles, rows) in parallel for blocks of rows.
template <class Body>
void for_rows(const Tiling& tiling, int64_t work, Body&& body) {
  parallel_for(tiling.rows, work, [&](int thread, int64_t begin, int64_t end) {
    const int64_t step = equal_part_size(end - begin, tiling.rows_at_a_time());
    for (int64_t row = begin; row < end; row += step) body(thread, row, std::min(step, end - row));
  });
}

// Filter transform. Returns 16 matrices (depth x columns), packed for gemm. The filter between input channel k and
// output channel j begins at weights[k * depth_step + j * column_step]. With `rotated`, filters are rotated by 180
// degrees.
const float* transform_filters(const float* weights, int64_t depth_step, int64_t column_step, int64_t depth,
                               int64_t columns, bool rotated) {
  const int64_t matrix = matrix_step(packed_size(depth, columns));
  float* panels = workspace(WorkspaceSlot::kPackedWeights, kPositions * matrix);
  parallel_for(columns / kLanes, kPositions * matrix, [&](int, int64_t begin, int64_t end) {
    for (int64_t column = begin * kLanes; column < end * kLanes; column += kLanes) {
      for (int64_t k = 0; k < depth; ++k) {
        const float* from = weights + k * depth_step + column * column_step;
        Vector filter[kFilter][kFilter], transformed[kInput][kInput];
        for (int tap = 0; tap < kTaps; ++tap) {
          const int source = rotated ? kTaps - 1 - tap : tap;
          for (int lane = 0; lane < kLanes; ++lane) {
            filter[tap / kFilter][tap % kFilter][lane] = from[lane * column_step + source];
          }
        }
        transform_2d<FilterTransform>(filter, transformed);
        float* to = panels + packed_offset(k, column, depth, columns);
        for (int p = 0; p < kPositions; ++p) store(transformed[p / kInput][p % kInput], to + p * matrix);
      }
    }
  });
  return panels;
}

// y = convolution of x with the transformed filters `panels`, plus bias; or with `add` (and no bias) plus y.
void filter_images(const ConvShape& s, const float* x, const float* panels, const float* bias, bool add, float* y) {
  const Tiling tiling(s);
  const int64_t in = s.channels, out = s.out_channels, tiles = tiling.rows_at_a_time() * tiling.columns;
  const int64_t input_size = kPositions * matrix_step(tiles * in), output_size = kPositions * matrix_step(tiles * out);
  float* input_tiles = workspace(WorkspaceSlot::kInputBlocks, max_threads() * input_size);
  float* products = workspace(WorkspaceSlot::kOutputBlocks, max_threads() * output_size);
  const TileSource images{x, s.height, s.width, in, -s.top, -s.left};
  for_rows(tiling, s.output_size() * in, [&](int thread, int64_t row, int64_t rows) {
    const int64_t count = rows * tiling.columns;
    float *factors = input_tiles + thread * input_size, *results = products + thread * output_size;
    input_transform<InputTransform>(images, tiling, row, rows, factors);
    for (int p = 0; p < kPositions; ++p) {
      gemm(factors + p * matrix_step(count * in), in, panels + p * matrix_step(packed_size(in, out)), count, in, out,
           results + p * matrix_step(count * out), out, false);
    }
    output_transform(s, tiling, row, rows, results, bias, add, y);
  });
}

// Adds the sums of all threads, 16 matrices (in x out) each, and transforms the total to the filters' gradient (out x
// in x 3 x 3).
void finalize_weight_gradient(const ConvShape& s, const std::vector<const float*>& sums, bool add, float* dweights) {
  const int64_t in = s.channels, out = s.out_channels;
  parallel_for(out / kLanes, kPositions * in * out, [&](int, int64_t begin, int64_t end) {
    for (int64_t column = begin * kLanes; column < end * kLanes; column += kLanes) {
      for (int64_t channel = 0; channel < in; ++channel) {
        Vector total[kInput][kInput] = {}, gradient[kFilter][kFilter];
        for (const float* sum : sums) {
          for (int p = 0; p < kPositions; ++p) {
            total[p / kInput][p % kInput] += load(sum + p * matrix_step(in * out) + channel * out + column);
          }
        }
        transform_2d<FilterGradientTransform>(total, gradient);
        for (int lane = 0; lane < kLanes; ++lane) {
          float* to = dweights + ((column + lane) * in + channel) * kTaps;
          for (int tap = 0; tap < kTaps; ++tap) {
            to[tap] = (add ? to[tap] : 0.0f) + gradient[tap / kFilter][tap % kFilter][lane];
          }
        }
      }
    }
  });
}

}  // namespace

bool winograd(const ConvShape& s) {
  const bool plain = s.kernel_h == kFilter && s.kernel_w == kFilter && s.stride_h * s.stride_w == 1 &&
                     s.dilation_h * s.dilation_w == 1 && s.groups == 1;
  const bool little_padded = std::max({s.top, s.bottom, s.left, s.right}) < kFilter;
  if (!plain || !little_padded || s.channels % kLanes != 0 || s.out_channels % kLanes != 0) return false;
  // For small outputs of odd sizes, tiles reach beyond the output and waste products. At least a quarter must be saved.
  const int64_t tiles = (s.out_height() + 1) / kOutput * ((s.out_width() + 1) / kOutput);
  return 4 * kPositions * tiles <= 3 * kTaps * s.out_height() * s.out_width();
}

void winograd_convolve(const ConvShape& s, const float* x, const float* weights, const float* bias, float* y) {
  filter_images(s, x, transform_filters(weights, kTaps, s.channels * kTaps, s.channels, s.out_channels, false), bias,
                false, y);
}

void winograd_input_gradient(const ConvShape& s, const float* weights, const float* dy, bool add, float* dx) {
  ConvShape back = s;
  back.height = s.out_height(), back.width = s.out_width();
  back.channels = s.out_channels, back.out_channels = s.channels;
  back.top = kFilter - 1 - s.top, back.bottom = kFilter - 1 - s.bottom;
  back.left = kFilter - 1 - s.left, back.right = kFilter - 1 - s.right;
  filter_images(back, dy, transform_filters(weights, s.channels * kTaps, kTaps, s.out_channels, s.channels, true),
                nullptr, add, dx);
}

void winograd_weight_gradient(const ConvShape& s, const float* x, const float* dy, bool add, float* dweights) {
  const Tiling tiling(s);
  const int64_t in = s.channels, out = s.out_channels, tiles = tiling.rows_at_a_time() * tiling.columns;
  const int64_t input_size = kPositions * matrix_step(tiles * in), output_size = kPositions * matrix_step(tiles * out);
  const int64_t sum_size = kPositions * matrix_step(in * out);
  float* input_tiles = workspace(WorkspaceSlot::kInputBlocks, max_threads() * input_size);
  float* gradient_tiles = workspace(WorkspaceSlot::kOutputBlocks, max_threads() * output_size);
  float* sums = workspace(WorkspaceSlot::kWeightGradients, max_threads() * sum_size);
  const TileSource images{x, s.height, s.width, in, -s.top, -s.left};
  const TileSource gradients{dy, s.out_height(), s.out_width(), out, 0, 0};
  std::vector<char> started(max_threads(), false);
  for_rows(tiling, s.output_size() * in, [&](int thread, int64_t row, int64_t rows) {
    const int64_t count = rows * tiling.columns;
    float *left = input_tiles + thread * input_size, *right = gradient_tiles + thread * output_size;
    input_transform<InputTransform>(images, tiling, row, rows, left);
    input_transform<OutputGradientTransform>(gradients, tiling, row, rows, right);
    for (int p = 0; p < kPositions; ++p) {
      gemm_transposed(left + p * matrix_step(count * in), in, right + p * matrix_step(count * out), out, count,
                      started[thread], sums + thread * sum_size + p * matrix_step(in * out), out);
    }
    started[thread] = true;
  });
  std::vector<const float*> parts;
  for (int thread = 0; thread < max_threads(); ++thread) {
    if (started[thread]) parts.push_back(sums + thread * sum_size);
  }
  finalize_weight_gradient(s, parts, add, dweights);
}

}  // namespace ppzoo
