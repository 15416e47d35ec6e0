// The geometry of a 2-D convolution.
#pragma once

#include <algorithm>
#include <cstdint>

namespace ppzoo {

// Input: images x height x width x channels. Weights: out_channels x channels/groups x kernel_h x kernel_w.
struct ConvShape {
  int64_t images, height, width, channels;
  int64_t out_channels, kernel_h, kernel_w;
  int64_t stride_h, stride_w, top, bottom, left, right, dilation_h, dilation_w, groups;  // top ... right: paddings
  int64_t weight_stride = 0;  // elements between the filters of two output channels; 0 if the weights are dense

  // If the filter is larger than the padded input, but by less than one stride, there is one output, as in
  // PaddlePaddle. The filter then reaches beyond the padding.
  int64_t out_height() const { return (height + top + bottom - dilation_h * (kernel_h - 1) - 1) / stride_h + 1; }
  int64_t out_width() const { return (width + left + right - dilation_w * (kernel_w - 1) - 1) / stride_w + 1; }
  // The number of rows or columns, with paddings, from the first to the last one that the filter covers.
  int64_t receptive_rows() const { return (out_height() - 1) * stride_h + dilation_h * (kernel_h - 1) + 1; }
  int64_t receptive_columns() const { return (out_width() - 1) * stride_w + dilation_w * (kernel_w - 1) + 1; }
  int64_t input_pixels() const { return images * height * width; }
  int64_t output_pixels() const {
    return images * std::max<int64_t>(0, out_height()) * std::max<int64_t>(0, out_width());
  }
  int64_t input_size() const { return input_pixels() * channels; }
  int64_t output_size() const { return output_pixels() * out_channels; }
  int64_t weight_size() const { return out_channels * (channels / groups) * kernel_h * kernel_w; }
  // Whether the input, the weights or the output have no elements.
  bool empty() const { return input_size() <= 0 || weight_size() <= 0 || out_height() <= 0 || out_width() <= 0; }
  ConvShape with_images(int64_t count) const {
    ConvShape copy = *this;
    copy.images = count;
    return copy;
  }
};

}  // namespace ppzoo
