// Normalizes interleaved bytes to planes of floats: (x * scale - mean) / std, each operation rounded to float32.

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

struct Channel {
  float scale, mean, std, reciprocal;
};

float normalize_one(std::uint8_t value, const Channel& channel) {
  volatile float product = value * channel.scale;  // volatile: not contracted to a fused operation
  volatile float difference = product - channel.mean;
  return difference / channel.std;
}

// Normalizes a row from its output pixel `begin` on. `plane`: values from a plane of the result to the next one.
template <bool kMirrored>
void normalize_tail(const std::uint8_t* row, std::size_t begin, std::size_t pixels, const Channel* channels,
                    std::size_t plane, float* results) {
  for (int c = 0; c < 3; ++c) {
    for (std::size_t i = begin; i < pixels; ++i) {
      const std::size_t source = kMirrored ? pixels - 1 - i : i;
      results[c * plane + i] = normalize_one(row[3 * source + c], channels[c]);
    }
  }
}

#if defined(__x86_64__)

// 16 pixels are three blocks of 16 bytes. masks[channel][block][pixel]: position in the block of the pixel's value of
// the channel; -1 if this value is in another block.
struct Shuffles {
  alignas(16) std::int8_t masks[3][3][16];
};

constexpr Shuffles make_shuffles(bool is_mirrored) {
  Shuffles shuffles{};
  for (int channel = 0; channel < 3; ++channel) {
    for (int block = 0; block < 3; ++block) {
      for (int pixel = 0; pixel < 16; ++pixel) {
        const int position = 3 * (is_mirrored ? 15 - pixel : pixel) + channel - 16 * block;
        shuffles.masks[channel][block][pixel] =
            static_cast<std::int8_t>(position >= 0 && position < 16 ? position : -1);
      }
    }
  }
  return shuffles;
}

template <bool kMirrored>
constexpr Shuffles kShuffles = make_shuffles(kMirrored);

// Eight quotients. The product with the reciprocal is corrected by its remainder, which rounds it as a division does,
// but for a few divisors; the caller tests all bytes.
__attribute__((target("avx2,fma"))) inline __m256 normalize_eight(__m128i bytes, const Channel& channel) {
  const __m256 std = _mm256_set1_ps(channel.std), reciprocal = _mm256_set1_ps(channel.reciprocal);
  const __m256 values = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
  const __m256 product = _mm256_mul_ps(values, _mm256_set1_ps(channel.scale));
  const __m256 difference = _mm256_sub_ps(product, _mm256_set1_ps(channel.mean));
  const __m256 quotient = _mm256_mul_ps(difference, reciprocal);
  return _mm256_fmadd_ps(_mm256_fnmadd_ps(quotient, std, difference), reciprocal, quotient);
}

template <bool kStream>
__attribute__((target("avx2,fma"))) inline void store(float* target, __m256 values) {
  if (kStream) {  // past the caches; needs 16-byte alignment
    _mm_stream_ps(target, _mm256_castps256_ps128(values));
    _mm_stream_ps(target + 4, _mm256_extractf128_ps(values, 1));
  } else {
    _mm256_storeu_ps(target, values);
  }
}

template <bool kStream, bool kMirrored>
__attribute__((target("avx2,fma"))) void normalize_row(const std::uint8_t* row, std::size_t pixels,
                                                       const Channel* channels, std::size_t plane, float* results) {
  std::size_t i = 0;
  for (; i + 16 <= pixels; i += 16) {
    const std::uint8_t* source = row + 3 * (kMirrored ? pixels - 16 - i : i);
    __m128i blocks[3];
    for (int block = 0; block < 3; ++block) {
      blocks[block] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + 16 * block));
    }
    for (int c = 0; c < 3; ++c) {
      __m128i bytes = _mm_setzero_si128();
      for (int block = 0; block < 3; ++block) {
        const auto* mask = reinterpret_cast<const __m128i*>(kShuffles<kMirrored>.masks[c][block]);
        bytes = _mm_or_si128(bytes, _mm_shuffle_epi8(blocks[block], _mm_load_si128(mask)));
      }
      float* target = results + c * plane + i;
      store<kStream>(target, normalize_eight(bytes, channels[c]));
      store<kStream>(target + 8, normalize_eight(_mm_srli_si128(bytes, 8), channels[c]));
    }
  }
  normalize_tail<kMirrored>(row, i, pixels, channels, plane, results);
}

#endif

using Row = void (*)(const std::uint8_t* row, std::size_t pixels, const Channel*, std::size_t plane, float* results);

template <bool kMirrored>
void normalize_slowly(const std::uint8_t* row, std::size_t pixels, const Channel* channels, std::size_t plane,
                      float* results) {
  normalize_tail<kMirrored>(row, 0, pixels, channels, plane, results);
}

Row choose_row(bool is_mirrored, [[maybe_unused]] bool streams) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    if (streams) return is_mirrored ? normalize_row<true, true> : normalize_row<true, false>;
    return is_mirrored ? normalize_row<false, true> : normalize_row<false, false>;
  }
#endif
  return is_mirrored ? normalize_slowly<true> : normalize_slowly<false>;
}

}  // namespace

// Normalizes `count` images of height x width x 3 bytes to 3 x height x width floats each, mirrored horizontally or
// not. `is_large`: the results are too large for the caches. `parameters`: the scale, then mean and std of the 3
// channels.
extern "C" void ppzoo_normalize(const std::uint8_t* images, std::size_t count, std::size_t height, std::size_t width,
                                const float* parameters, int is_mirrored, int is_large, float* results) {
  Channel channels[3];
  const float *mean = parameters + 1, *std = parameters + 4;
  for (int c = 0; c < 3; ++c) channels[c] = {parameters[0], mean[c], std[c], 1.0f / std[c]};
  const std::size_t plane = height * width;
  const std::size_t rows = is_mirrored ? height : 1,
                    pixels = is_mirrored ? width : plane;  // without mirroring, an image is one row
  const bool is_aligned = reinterpret_cast<std::uintptr_t>(results) % 16 == 0 && pixels % 4 == 0;
  const Row normalize_one_row = choose_row(is_mirrored != 0, is_large != 0 && is_aligned);
  for (std::size_t image = 0; image < count; ++image, images += 3 * plane, results += 3 * plane) {
    for (std::size_t row = 0; row < rows; ++row) {
      normalize_one_row(images + 3 * row * pixels, pixels, channels, plane, results + row * pixels);
    }
  }
#if defined(__x86_64__)
  _mm_sfence();
#endif
}
