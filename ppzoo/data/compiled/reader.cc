// Decodes a rectangle of a JPEG with the libjpeg-turbo of Pillow's wheel, which has no header files.
//
// The structures below are the beginnings of libjpeg's, of its binary interface 6.2, which has not changed since 1998.
// libjpeg checks version and size of the structure, and fails if they are others.

#include <csetjmp>
#include <cstddef>
#include <cstring>

namespace {

constexpr int kVersion = 62;
constexpr std::size_t kSize = 632;  // of libjpeg's jpeg_decompress_struct on 64-bit systems
constexpr int kRgb = 2, kYCbCr = 3;

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

// Decodes the rows [top, bottom) and at least the columns [left, right) of a JPEG at 1 / divisor of its size into an
// image of height x width x 3 RGB, and leaves its other pixels as they are. Returns 0 if it did without any warning.
// Other files than YCbCr of that size are not decoded.
int ppzoo_decode_jpeg(const unsigned char* data, unsigned long bytes, unsigned divisor, unsigned left, unsigned top,
                      unsigned right, unsigned bottom, unsigned width, unsigned height, unsigned char* pixels) {
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
    return 1;
  }
  jpeg_CreateDecompress(jpeg, kVersion, kSize);
  jpeg_mem_src(jpeg, data, bytes);
  jpeg_read_header(jpeg, 1);
  if (jpeg->components != 3 || jpeg->stored_colors != kYCbCr) fail(jpeg);
  jpeg->output_colors = kRgb;
  jpeg->scale_numerator = 1;
  jpeg->scale_denominator = divisor;
  jpeg_start_decompress(jpeg);
  if (jpeg->output_width != width || jpeg->output_height != height || jpeg->output_components != 3) fail(jpeg);
  if (left >= right || right > width || top >= bottom || bottom > height) fail(jpeg);

  unsigned first = left, columns = right - left;
  jpeg_crop_scanline(jpeg, &first, &columns);  // extends them to blocks
  if (top > 0 && jpeg_skip_scanlines(jpeg, top) != top) fail(jpeg);
  for (unsigned row = top; row < bottom; ++row) {
    unsigned char* target = pixels + (static_cast<std::size_t>(row) * width + first) * 3;
    if (jpeg_read_scanlines(jpeg, &target, 1) != 1) fail(jpeg);
  }
  const bool is_sound = reader.errors.warnings == 0;
  jpeg_destroy_decompress(jpeg);
  return is_sound ? 0 : 1;
}
}
