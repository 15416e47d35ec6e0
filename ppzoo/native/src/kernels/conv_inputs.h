// Rewrites convolutions that oneDNN (at least in version 3.6) does not compute correctly as convolutions of a copy of a
// part of the input.
//
// Layout: NHWC. T is the type of the images, float or Bfloat16. Copies are in the workspace slots kCroppedInput and
// kCoveredRows. Loop nest of the copies: rows of all images -> pixels or complete rows. Copies of pixels and of covered
// rows are parallel over the rows.
#pragma once

#include <algorithm>

#include "kernels/conv_shape.h"
#include "kernels/parallel.h"
#include "kernels/workspace.h"

namespace ppzoo {

template <class T>
T* copied_input(int64_t count) {
  return static_cast<T*>(reserve_workspace(WorkspaceSlot::kCroppedInput, sizeof(T) * count));
}

// Whether oneDNN (at least in version 3.6) crashes or returns wrong results for this shape. It dereferences a null
// pointer if a filter covers only padding or reaches beyond the padding. It mixes up channels if there is one channel,
// and one column of outputs with a horizontal stride or one row with a vertical stride: the strides of axes of size one
// do not determine the layout.
inline bool onednn_miscomputes(const ConvShape& s) {
  const int64_t rows = s.dilation_h * (s.kernel_h - 1) + 1, columns = s.dilation_w * (s.kernel_w - 1) + 1;
  const bool only_padding = s.top >= rows || s.left >= columns || s.receptive_rows() - rows - s.top >= s.height ||
                            s.receptive_columns() - columns - s.left >= s.width;
  const bool beyond = rows > s.height + s.top + s.bottom || columns > s.width + s.left + s.right;
  const bool ambiguous =
      s.channels == 1 && ((s.out_width() == 1 && s.stride_w > 1) || (s.out_height() == 1 && s.stride_h > 1));
  return only_padding || beyond || ambiguous;
}

// Returns the same convolution without padding, on a copy of the rows and columns that the filter covers.
inline ConvShape crop_to_receptive_field(const ConvShape& s) {
  ConvShape cropped = s;
  cropped.height = s.receptive_rows(), cropped.width = s.receptive_columns();
  cropped.top = cropped.bottom = cropped.left = cropped.right = 0;
  if (s.out_height() == 1) cropped.stride_h = 1;
  if (s.out_width() == 1) cropped.stride_w = 1;
  return cropped;
}

// Calls body(offset in the input, offset in the cropped input, elements) for the rows that are in both.
template <class Body>
void for_cropped_rows(const ConvShape& s, const ConvShape& cropped, const Body& body) {
  const int64_t last = std::min(s.width, cropped.width - s.left);
  for (int64_t image = 0; last > 0 && image < s.images; ++image) {
    for (int64_t row = 0; row < std::min(s.height, cropped.height - s.top); ++row) {
      body((image * s.height + row) * s.width * s.channels,
           ((image * cropped.height + row + s.top) * cropped.width + s.left) * s.channels, last * s.channels);
    }
  }
}

template <class T>
const T* copy_cropped(const ConvShape& s, const ConvShape& cropped, const T* x) {
  T* copy = copied_input<T>(cropped.input_size());
  std::fill_n(copy, cropped.input_size(), T{});
  for_cropped_rows(s, cropped,
                   [&](int64_t from, int64_t to, int64_t count) { std::copy_n(x + from, count, copy + to); });
  return copy;
}

// Whether a filter skips rows of an input with one channel. For large images, oneDNN (at least in version 3.6) then
// writes past the end of its buffer when it computes the outputs.
inline bool skips_rows(const ConvShape& s) { return s.channels == 1 && s.kernel_h < s.stride_h; }

// Returns the same convolution of a copy of the rows that the filter covers.
inline ConvShape covered_rows(const ConvShape& s) {
  ConvShape covered = s;
  covered.height = s.out_height() * s.kernel_h;
  covered.stride_h = s.kernel_h, covered.dilation_h = 1;
  covered.top = covered.bottom = 0;
  return covered;
}

// Copies the rows that the filter covers; those in the padding are zero.
inline const float* copy_covered_rows(const ConvShape& s, const float* x) {
  const int64_t rows = s.images * s.out_height() * s.kernel_h, row_size = s.width * s.channels;
  float* copy = workspace(WorkspaceSlot::kCoveredRows, rows * row_size);
  parallel_for(rows, rows * row_size, [&](int, int64_t begin, int64_t end) {
    for (int64_t to = begin; to < end; ++to) {
      const int64_t tap = to % s.kernel_h, output = to / s.kernel_h;
      const int64_t image = output / s.out_height();
      const int64_t from = output % s.out_height() * s.stride_h + tap * s.dilation_h - s.top;
      if (from >= 0 && from < s.height) {
        std::copy_n(x + (image * s.height + from) * row_size, row_size, copy + to * row_size);
      } else {
        std::fill_n(copy + to * row_size, row_size, 0.0f);
      }
    }
  });
  return copy;
}

// Whether a 1x1 filter skips pixels or covers padding. In the weight gradient of such convolutions, oneDNN (at least in
// version 3.6) writes past the end of its buffer if the number of channels is not a multiple of 16. They are
// therefore computed as 1x1 convolutions of a copy of the pixels that the filter covers.
inline bool samples_pixels(const ConvShape& s) {
  const bool dense = s.stride_h == 1 && s.stride_w == 1 && s.top + s.bottom + s.left + s.right == 0;
  return s.kernel_h == 1 && s.kernel_w == 1 && !dense;
}

// Returns the same convolution of a copy of the pixels that the filter covers.
inline ConvShape sample_shape(const ConvShape& s) {
  ConvShape sampled = s;
  sampled.height = s.out_height(), sampled.width = s.out_width();
  sampled.stride_h = sampled.stride_w = sampled.dilation_h = sampled.dilation_w = 1;
  sampled.top = sampled.bottom = sampled.left = sampled.right = 0;
  return sampled;
}

// Calls body(offset in the input, offset in the copy) for each covered pixel outside of the padding.
template <class Body>
void for_sampled_pixels(const ConvShape& s, const Body& body) {
  const int64_t rows = s.out_height(), columns = s.out_width();
  parallel_for(s.images * rows, s.output_pixels() * s.channels, [&](int, int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t image = line / rows, row = line % rows * s.stride_h - s.top;
      if (row < 0 || row >= s.height) continue;
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t column = j * s.stride_w - s.left;
        if (column < 0 || column >= s.width) continue;
        body(((image * s.height + row) * s.width + column) * s.channels, (line * columns + j) * s.channels);
      }
    }
  });
}

template <class T>
const T* copy_sampled(const ConvShape& s, const T* x) {
  const int64_t size = s.output_pixels() * s.channels;
  T* copy = copied_input<T>(size);
  std::fill_n(copy, size, T{});
  for_sampled_pixels(s, [&](int64_t from, int64_t to) { std::copy_n(x + from, s.channels, copy + to); });
  return copy;
}

}  // namespace ppzoo
