// Resizes rows of RGB bytes while they are read, bit-identical to OpenCV's INTER_LINEAR.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

// One axis of a resizing. OpenCV would resize the pixels [origin, origin + length); of its result, the pixels
// [first, first + count) are computed, from pixels in [begin, end). `scale`: input pixels per output pixel.
struct Axis {
  double scale;
  int origin, length, first, count, begin, end;
};

class Resizer {
 public:
  // 16 output values of a row in four lanes of four values: where the 16 input bytes of each lane begin, which of these
  // its values use, and the weights. The lanes are in the order 0, 2, 1, 3, in which AVX2 packs them.
  struct Step {
    std::int8_t shuffles[4][16];
    std::int16_t weights[4][8];
    int offsets[4];
  };

  // `result` has vertical.count x horizontal.count x 3 bytes.
  Resizer(const Axis& horizontal, const Axis& vertical, std::uint8_t* result);

  // Whether these axes and this processor are supported; if not, `add` must not be called.
  bool is_supported() const { return is_supported_; }

  // Adds two rows of the image, `row` and the next one; `second` is null if there is none. Rows are added in ascending
  // order. Both point to column `begin`; nothing is read from `end` on.
  void add(int row, const std::uint8_t* first, const std::uint8_t* second);

  // Whether the result is complete.
  bool is_complete() const { return next_ == samples_.size(); }

 private:
  // Two neighboring pixels and their weights; 2048 is a weight of 1.
  struct Sample {
    int near, far;
    std::int16_t near_weight, far_weight;
  };

  static bool is_valid(const Axis& axis);
  static Sample make_sample(const Axis& axis, int output, bool clamps);
  bool make_steps(const Axis& axis);
  bool make_lane(const std::vector<Sample>& columns, const Axis& axis, std::size_t value, Step& step, int lane) const;
  void blend_columns(const std::uint8_t* first, const std::uint8_t* second, std::int16_t* blended_first,
                     std::int16_t* blended_second) const;
  void blend_rows(const Sample& sample, std::uint8_t* target) const;

  std::size_t values_ = 0, next_ = 0;  // values per row of the result; its next row
  std::vector<Sample> samples_;        // of the rows
  std::vector<Step> steps_;
  std::vector<std::int16_t> rows_[4];  // row r, resized horizontally, is in r % 4
  std::uint8_t* result_;
  bool is_supported_ = false;
};
