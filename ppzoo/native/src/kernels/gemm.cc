// Matrix products with register tiles.
//
// Loop nest of gemm: blocks of kDepthBlock terms (k) -> panels of kPanelColumns columns -> tiles of kTileRows rows ->
// the terms of the block, one after the other -> a tile of kTileRows x 2 vectors of sums that stay in registers. Each
// term loads two vectors of b and broadcasts one value of a per row. Within a block of terms, a panel of b (32 KB with
// AVX-512) stays in the L1 cache while all tiles of rows are computed.
//
// gemm reads b packed (gemm.h); gemm_transposed reads both factors as they are, since its depth is the number of pixels
// and each element of b is used for only few rows. Only pack_panels is parallel (over panels): callers of the products
// distribute blocks of rows.
#include "kernels/gemm.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "kernels/parallel.h"

namespace ppzoo {
namespace {

// Computes a tile of c. Element (m, k) of the left factor is a[m * a_step + k], or with kTransposed a[k * a_step + m].
// The last vector of columns has `last` columns in c. In b it is padded, or with kTransposed has `last` columns, too.
template <class V, int kRows, int kVectors, bool kTransposed>
void gemm_tile(const float* a, int64_t a_step, const float* b, int64_t b_step, int64_t depth, bool add, float* c,
               int64_t c_step, int64_t last) {
  constexpr int kFull = kVectors - 1;
  V sums[kRows][kVectors] = {};
  for (int64_t k = 0; k < depth; ++k) {
    V row[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kFull; ++v) row[v] = load<V>(b + v * kLanes);
    row[kFull] = kTransposed ? load_partial<V>(last, b + kFull * kLanes) : load<V>(b + kFull * kLanes);
#pragma GCC unroll 12
    for (int m = 0; m < kRows; ++m) {
      const float factor = kTransposed ? a[m] : a[m * a_step];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[m][v] += factor * row[v];
    }
    a += kTransposed ? a_step : 1;
    b += b_step;
  }
#pragma GCC unroll 12
  for (int m = 0; m < kRows; ++m) {
    float* to = c + m * c_step;
#pragma GCC unroll 2
    for (int v = 0; v < kFull; ++v) store(add ? load<V>(to + v * kLanes) + sums[m][v] : sums[m][v], to + v * kLanes);
    to += kFull * kLanes;
    store_partial(last, add ? load_partial<V>(last, to) + sums[m][kFull] : sums[m][kFull], to);
  }
}

using Tile = void (*)(const float*, int64_t, const float*, int64_t, int64_t, bool, float*, int64_t, int64_t);

template <class V, int kVectors, bool kTransposed, int... kRows>
constexpr std::array<Tile, kTileRows> tiles(std::integer_sequence<int, kRows...>) {
  return {gemm_tile<V, kRows + 1, kVectors, kTransposed>...};
}

// The instance of gemm_tile for a tile of this size, with vectors as narrow as possible.
template <bool kTransposed>
Tile tile_for(int64_t rows, int64_t columns) {
  using Rows = std::make_integer_sequence<int, kTileRows>;
  static constexpr auto half = tiles<HalfVector, 1, kTransposed>(Rows()), one = tiles<Vector, 1, kTransposed>(Rows()),
                        two = tiles<Vector, 2, kTransposed>(Rows());
  return (columns > kLanes ? two : columns > kLanes / 2 ? one : half)[rows - 1];
}

// The number of rows of a tile, at most kTileRows, that divides `count` rows into parts as equal as possible.
int64_t tile_rows(int64_t count) {
  if (count == 0) return 1;
  const int64_t tiles = (count + kTileRows - 1) / kTileRows;
  return (count + tiles - 1) / tiles;
}

int64_t panels_of(int64_t columns) { return (columns + kPanelColumns - 1) / kPanelColumns; }

// Packs `length` rows of `filled` columns.
void pack_panel(const float* b, int64_t row_step, int64_t column_step, int64_t length, int64_t filled, float* panel) {
  const int64_t width = round_up(filled, kLanes);
  for (int64_t k = 0; k < length; ++k, panel += width) {
    const float* from = b + k * row_step;
    if (column_step == 1) {
      std::memcpy(panel, from, sizeof(float) * filled);
    } else {
      for (int64_t j = 0; j < filled; ++j) panel[j] = from[j * column_step];
    }
    std::fill(panel + filled, panel + width, 0.0f);
  }
}

}  // namespace

void pack_panels(const float* b, int64_t row_step, int64_t column_step, int64_t depth, int64_t columns, float* panels) {
  constexpr int64_t kCost = 4;  // of an element, in the unit of parallel_for's `work`
  const int64_t count = panels_of(columns), blocks = (depth + kDepthBlock - 1) / kDepthBlock;
  parallel_for(blocks * count, kCost * depth * columns, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t start = i / count * kDepthBlock, column = i % count * kPanelColumns;
      const int64_t length = std::min(kDepthBlock, depth - start), filled = std::min(kPanelColumns, columns - column);
      pack_panel(b + start * row_step + column * column_step, row_step, column_step, length, filled,
                 panels + packed_offset(start, column, depth, columns));
    }
  });
}

void gemm(const float* a, int64_t a_step, const float* panels, int64_t rows, int64_t depth, int64_t columns, float* c,
          int64_t c_step, bool add) {
  if (depth == 0 && !add) {
    for (int64_t row = 0; row < rows; ++row) std::fill_n(c + row * c_step, columns, 0.0f);
  }
  const int64_t height = tile_rows(rows);
  for (int64_t start = 0; start < depth; start += kDepthBlock) {
    const int64_t length = std::min(kDepthBlock, depth - start);
    for (int64_t column = 0; column < columns; column += kPanelColumns) {
      const int64_t filled = std::min(kPanelColumns, columns - column), width = round_up(filled, kLanes);
      for (int64_t row = 0; row < rows; row += height) {
        const Tile run = tile_for<false>(std::min(height, rows - row), filled);
        run(a + row * a_step + start, a_step, panels, width, length, add || start > 0, c + row * c_step + column,
            c_step, filled - width + kLanes);
      }
      panels += width * length;
    }
  }
}

void gemm_transposed(const float* a, int64_t a_columns, const float* b, int64_t b_columns, int64_t rows, bool add,
                     float* c, int64_t c_step) {
  const int64_t height = tile_rows(a_columns);
  for (int64_t start = 0; start < rows; start += kDepthBlock) {
    const int64_t length = std::min(kDepthBlock, rows - start);
    for (int64_t column = 0; column < b_columns; column += kPanelColumns) {
      const int64_t filled = std::min(kPanelColumns, b_columns - column), width = round_up(filled, kLanes);
      for (int64_t row = 0; row < a_columns; row += height) {
        const Tile run = tile_for<true>(std::min(height, a_columns - row), filled);
        run(a + start * a_columns + row, a_columns, b + start * b_columns + column, b_columns, length, add || start > 0,
            c + row * c_step + column, c_step, filled - width + kLanes);
      }
    }
  }
}

}  // namespace ppzoo
