// Matrix products on the calling thread, small enough to be fused into loops over the rows of channels-last tensors.
#pragma once

#include <cstdint>

#include "kernels/integer_math.h"
#include "kernels/simd.h"

namespace ppzoo {

// A register tile has up to kTileRows rows and kPanelColumns columns: its sums fill the vector registers.
#ifdef __AVX512VL__
constexpr int64_t kTileRows = 12;
#else
constexpr int64_t kTileRows = 6;
#endif
constexpr int64_t kPanelColumns = 2 * kLanes;
// The depth (number of terms) that is summed in registers at a time. It bounds the rounding error: longer sums are sums
// of such partial sums.
constexpr int64_t kDepthBlock = 256;

// Packed layout of the right factor (depth x columns): for each block of kDepthBlock rows, panels of kPanelColumns
// columns, each stored row by row. The last panel is padded with zeros to a multiple of kLanes columns.
inline int64_t packed_size(int64_t depth, int64_t columns) { return depth * round_up(columns, kLanes); }
// The offset of the vector of columns [column, column + kLanes) of row k. `column` must be a multiple of kLanes.
inline int64_t packed_offset(int64_t k, int64_t column, int64_t depth, int64_t columns) {
  const int64_t start = k / kDepthBlock * kDepthBlock,
                length = depth - start < kDepthBlock ? depth - start : kDepthBlock;
  const int64_t panel = column / kPanelColumns * kPanelColumns, left = round_up(columns, kLanes) - panel;
  const int64_t width = left < kPanelColumns ? left : kPanelColumns;
  return start * round_up(columns, kLanes) + panel * length + (k - start) * width + (column - panel);
}
// Packs, in parallel, a matrix whose element (k, j) is b[k * row_step + j * column_step].
void pack_panels(const float* b, int64_t row_step, int64_t column_step, int64_t depth, int64_t columns, float* panels);

// c (rows x columns) = a (rows x depth) b, or with `add` c += a b. b is packed; consecutive rows of a and c are a_step
// and c_step elements apart.
void gemm(const float* a, int64_t a_step, const float* panels, int64_t rows, int64_t depth, int64_t columns, float* c,
          int64_t c_step, bool add);

// c (a_columns x b_columns) = a^T b, or with `add` c += a^T b, with a (rows x a_columns) and b (rows x b_columns)
// dense. Consecutive rows of c are c_step elements apart.
void gemm_transposed(const float* a, int64_t a_columns, const float* b, int64_t b_columns, int64_t rows, bool add,
                     float* c, int64_t c_step);

}  // namespace ppzoo
