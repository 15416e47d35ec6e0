// The statistics of batch norm: mean and variance of the columns of a channels-last matrix. T is the type of the
// matrix, float or Bfloat16; sums are float32 or double for both types.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/bfloat16.h"

namespace ppzoo {

// Mean and biased variance of the columns of a channels-last matrix.
struct Statistics {
  std::vector<double> mean, variance;
  // The statistics of a matrix without rows.
  static Statistics zeros(int64_t channels) {
    return {std::vector<double>(channels, 0.0), std::vector<double>(channels, 0.0)};
  }
};

// Accumulates the statistics of a matrix whose rows are added in several calls.
class Moments {
 public:
  // `first_row`: a row of the matrix, such as the first one. It is subtracted from all rows, which keeps the sums of
  // squares small. `rows`: the number of rows of all calls together.
  template <class T>
  Moments(int64_t channels, const T* first_row, int64_t rows);
  template <class T>
  void add(const T* x, int64_t rows);
  // The same on one thread, as part of the work of thread number `thread`.
  template <class T>
  void add_rows(int thread, const T* x, int64_t rows);
  // To be called once, after all rows were added.
  Statistics statistics();

 private:
  // A window: consecutive wide rows (wide_rows.h) of a thread. The sums of (x - reference) and of its squares over a
  // window are float; they are in window_sums_, next to the references. The reference of a column approximates the
  // median of nine values of the window's first block (median_of_medians in moments.cc): a single value could be an
  // outlier, which causes cancellation. If the reference is an outlier, too, the error is small, because a window is
  // short.
  struct alignas(64) Window {
    int64_t rows = 0, capacity = 0;
  };

  template <class T>
  void add_doubles(int thread, const T* x, int64_t rows);
  template <class T>
  void add_to_window(int thread, const T* x, int64_t rows);
  void finish_window(int thread);

  int64_t channels_, rows_, width_;
  std::vector<float> shift_;
  std::vector<double> totals_;
  std::vector<float> window_sums_;
  std::vector<Window> windows_;  // per thread; empty for small tensors, which are summed in double
};

}  // namespace ppzoo
