// Decodes a rectangle of a JPEG with the libjpeg-turbo of Pillow's wheel, which has no header files.
//
// The structures below are the beginnings of libjpeg's, of its binary interface 6.2, which has not changed since 1998.
// libjpeg compares its version and the size of its structure with ours, and fails if they differ.

#include <algorithm>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <vector>

#include "resizer.h"

namespace {

constexpr int kVersion = 62;
constexpr std::size_t kSize = 632;  // of libjpeg's jpeg_decompress_struct on 64-bit systems
constexpr int kRgb = 2, kYCbCr = 3, kChannels = 3;
constexpr unsigned kMargin = 2;  // columns around a part, whose colors are interpolated with those of the next block

struct Decompressor;

struct ErrorManager {
  void (*error_exit)(Decompressor*);
  void (*emit_message)(Decompressor*, int level);
  void (*output_message)(Decompressor*);
  void (*format_message)(Decompressor*, char*);
  void (*reset)(Decompressor*);
  int code;
  char parameters[80];
  int trace_level;
  long warnings;
  char rest[128];
};

struct Decompressor {
  ErrorManager* errors;
  void *memory, *progress, *client;
  int is_decompressor, state;
  void* source;
  unsigned image_width, image_height;
  int components, stored_colors, output_colors;
  unsigned scale_numerator, scale_denominator;
  double gamma;
  int buffered, raw, dct_method, fancy_upsampling, block_smoothing, quantize, dither, two_pass, colors, passes[3];
  unsigned output_width, output_height;
  int output_color_components, output_components, buffer_height, actual_colors;
  void* color_map;
  unsigned output_row;
  char rest[kSize];
};

static_assert(offsetof(Decompressor, output_row) == 168, "expected a 64-bit system");

struct Reader {
  Decompressor decompressor;
  ErrorManager errors;
  std::jmp_buf failed;
};

void fail(Decompressor* decompressor) { std::longjmp(static_cast<Reader*>(decompressor->client)->failed, 1); }

void count_warning(Decompressor* decompressor, int level) {
  if (level < 0) ++decompressor->errors->warnings;
}

void print_nothing(Decompressor*) {}

}  // namespace

extern "C" {

ErrorManager* jpeg_std_error(ErrorManager*);
void jpeg_CreateDecompress(Decompressor*, int version, std::size_t size);
void jpeg_destroy_decompress(Decompressor*);
void jpeg_mem_src(Decompressor*, const unsigned char*, unsigned long);
int jpeg_read_header(Decompressor*, int require_image);
int jpeg_start_decompress(Decompressor*);
void jpeg_crop_scanline(Decompressor*, unsigned* left, unsigned* width);
unsigned jpeg_skip_scanlines(Decompressor*, unsigned);
unsigned jpeg_read_scanlines(Decompressor*, unsigned char** rows, unsigned);
}

namespace {

// A rectangle of a JPEG that is decoded at 1 / `divisor` of its size, which is then `width` x `height`.
struct Part {
  unsigned divisor, width, height, left, top, right, bottom;
};

// Where decoded rows are written. No method throws, since libjpeg's errors skip destructors.
class Rows {
 public:
  virtual ~Rows() = default;
  // Returns where the pixels of a row from column `first` on are to be written.
  virtual unsigned char* start(unsigned row, unsigned first) noexcept = 0;
  // Uses a row that has been written. Returns whether more rows are needed.
  virtual bool finish(unsigned row, unsigned first) noexcept = 0;
};

class ImageRows : public Rows {
 public:
  ImageRows(unsigned char* pixels, unsigned width) : pixels_(pixels), width_(width) {}
  unsigned char* start(unsigned row, unsigned first) noexcept override {
    return pixels_ + (static_cast<std::size_t>(row) * width_ + first) * kChannels;
  }
  bool finish(unsigned, unsigned) noexcept override { return true; }

 private:
  unsigned char* pixels_;
  unsigned width_;
};

class ResizedRows : public Rows {
 public:
  ResizedRows(Resizer& resizer, const Part& part)
      : resizer_(resizer), part_(part), stride_(static_cast<std::size_t>(part.width) * kChannels), rows_(2 * stride_) {}
  unsigned char* start(unsigned row, unsigned) noexcept override { return rows_.data() + is_second(row) * stride_; }
  bool finish(unsigned row, unsigned first) noexcept override {
    const unsigned char* pixels = rows_.data() + static_cast<std::size_t>(part_.left - first) * kChannels;
    if (is_second(row)) {
      resizer_.add(static_cast<int>(row) - 1, pixels, pixels + stride_);
    } else if (row + 1 == part_.bottom) {
      resizer_.add(static_cast<int>(row), pixels, nullptr);
    }
    return !resizer_.is_complete();
  }

 private:
  bool is_second(unsigned row) const { return (row - part_.top) % 2 == 1; }

  Resizer& resizer_;
  const Part& part_;
  std::size_t stride_;
  std::vector<unsigned char> rows_;
};

// Decodes a part. Returns false after an error or a warning, and for files that are not YCbCr or have another size.
bool decode(const unsigned char* data, unsigned long bytes, const Part& part, Rows& rows) {
  if (part.left >= part.right || part.right > part.width) return false;
  if (part.top >= part.bottom || part.bottom > part.height) return false;
  Reader reader;
  std::memset(&reader.decompressor, 0, sizeof reader.decompressor);
  Decompressor* jpeg = &reader.decompressor;
  jpeg->errors = jpeg_std_error(&reader.errors);
  reader.errors.error_exit = fail;
  reader.errors.emit_message = count_warning;
  reader.errors.output_message = print_nothing;
  jpeg->client = &reader;
  if (setjmp(reader.failed)) {
    jpeg_destroy_decompress(jpeg);
    return false;
  }
  jpeg_CreateDecompress(jpeg, kVersion, kSize);
  jpeg_mem_src(jpeg, data, bytes);
  jpeg_read_header(jpeg, 1);
  if (jpeg->components != kChannels || jpeg->stored_colors != kYCbCr) fail(jpeg);
  jpeg->output_colors = kRgb;
  jpeg->scale_numerator = 1;
  jpeg->scale_denominator = part.divisor;
  jpeg_start_decompress(jpeg);
  if (jpeg->output_width != part.width || jpeg->output_height != part.height) fail(jpeg);
  if (jpeg->output_components != kChannels) fail(jpeg);

  const unsigned left = part.left > kMargin ? part.left - kMargin : 0;
  unsigned first = left, columns = std::min(part.right + kMargin, part.width) - left;
  jpeg_crop_scanline(jpeg, &first, &columns);  // extends them to blocks
  if (first > left || columns > part.width - first) fail(jpeg);
  if (part.top > 0 && jpeg_skip_scanlines(jpeg, part.top) != part.top) fail(jpeg);
  bool is_needed = true;
  for (unsigned row = part.top; row < part.bottom && is_needed; ++row) {
    unsigned char* target = rows.start(row, first);
    if (jpeg_read_scanlines(jpeg, &target, 1) != 1) fail(jpeg);
    is_needed = rows.finish(row, first);
  }
  const bool is_sound = reader.errors.warnings == 0;
  jpeg_destroy_decompress(jpeg);
  return is_sound;
}

}  // namespace

extern "C" {

// Decodes the rows [top, bottom) and at least the columns [left, right) of a JPEG at 1 / divisor of its size into an
// image of height x width x 3 RGB, and leaves its other pixels as they are. Returns 0 if it did without any warning.
int ppzoo_decode_jpeg(const unsigned char* data, unsigned long bytes, unsigned divisor, unsigned left, unsigned top,
                      unsigned right, unsigned bottom, unsigned width, unsigned height, unsigned char* pixels) {
  ImageRows rows(pixels, width);
  return decode(data, bytes, {divisor, width, height, left, top, right, bottom}, rows) ? 0 : 1;
}

// Decodes the part of a JPEG that resizing needs, row by row, and resizes it: `axes` are the horizontal and the
// vertical one. Returns 0 if it did without any warning.
int ppzoo_decode_resized(const unsigned char* data, unsigned long bytes, unsigned divisor, unsigned width,
                         unsigned height, const Axis* axes, unsigned char* result) {
  try {
    Resizer resizer(axes[0], axes[1], result);
    if (!resizer.is_supported()) return 1;
    const auto left = static_cast<unsigned>(axes[0].begin), top = static_cast<unsigned>(axes[1].begin);
    const auto right = static_cast<unsigned>(axes[0].end), bottom = static_cast<unsigned>(axes[1].end);
    const Part part{divisor, width, height, left, top, right, bottom};
    ResizedRows rows(resizer, part);
    const bool is_decoded = decode(data, bytes, part, rows);
    return is_decoded && resizer.is_complete() ? 0 : 1;
  } catch (const std::exception&) {  // no memory
    return 1;
  }
}
}
