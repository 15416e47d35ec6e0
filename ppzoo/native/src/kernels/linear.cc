// The fully connected layer. Each of y, dx and dweights is computed by one call of oneDNN's dnnl_sgemm, which chooses
// the loop nest and the blocking, and parallelizes; y is added to copies of the bias.
//
// Layout: all matrices are dense and stored row by row. The copies of the bias are parallel over rows. The matrix
// product that PaddlePaddle calls (oneMKL) is slow on processors of other manufacturers than Intel.
#include "kernels/linear.h"

#include <cstring>
#include <stdexcept>

#include "kernels/onednn.h"
#include "kernels/parallel.h"
#include "kernels/sums.h"

namespace ppzoo {
namespace {

// c (rows x columns) = a b + beta c; 'T' for a factor that is stored transposed.
void sgemm(char a_order, char b_order, int64_t rows, int64_t columns, int64_t inner, const float* a, const float* b,
           float beta, float* c) {
  if (rows == 0 || columns == 0) return;
  if (inner == 0) {
    for (int64_t i = 0; beta == 0.0f && i < rows * columns; ++i) c[i] = 0.0f;
    return;
  }
  const AvailableThreads threads;
  const int64_t a_width = a_order == 'T' ? rows : inner, b_width = b_order == 'T' ? inner : columns;
  if (dnnl_sgemm(a_order, b_order, rows, columns, inner, 1.0f, a, a_width, b, b_width, beta, c, columns) !=
      onednn::kSuccess) {
    throw std::runtime_error("oneDNN cannot multiply matrices (dnnl_sgemm)");
  }
}

}  // namespace

void linear(const float* x, const float* weights, const float* bias, int64_t rows, int64_t in, int64_t out, float* y) {
  if (bias != nullptr) {
    parallel_for(rows, rows * out, [&](int, int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) std::memcpy(y + row * out, bias, sizeof(float) * out);
    });
  }
  sgemm('N', 'N', rows, out, in, x, weights, bias != nullptr ? 1.0f : 0.0f, y);
}

void linear_gradient(const float* x, const float* weights, const float* dy, int64_t rows, int64_t in, int64_t out,
                     float* dx, float* dweights, float* dbias) {
  if (dx != nullptr) sgemm('N', 'T', rows, in, out, dy, weights, 0.0f, dx);
  sgemm('T', 'N', in, out, rows, x, dy, 0.0f, dweights);
  if (dbias != nullptr) sum_rows(dy, rows, out, false, dbias);
}

}  // namespace ppzoo
