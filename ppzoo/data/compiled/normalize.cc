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

void normalize_tail(const std::uint8_t* image, std::size_t begin, std::size_t pixels, const Channel* channels,
                    float* planes) {
  for (int c = 0; c < 3; ++c) {
    for (std::size_t i = begin; i < pixels; ++i) {
      planes[c * pixels + i] = normalize_one(image[3 * i + c], channels[c]);
    }
  }
}

#if defined(__x86_64__)

// Where in 48 bytes of 16 pixels the bytes of a channel are: for each block of 16 bytes the positions in it, or -1.
struct Shuffles {
  alignas(16) std::int8_t masks[3][3][16];
};

constexpr Shuffles make_shuffles() {
  Shuffles shuffles{};
  for (int channel = 0; channel < 3; ++channel) {
    for (int block = 0; block < 3; ++block) {
      for (int pixel = 0; pixel < 16; ++pixel) {
        const int position = 3 * pixel + channel - 16 * block;
        shuffles.masks[channel][block][pixel] = static_cast<std::int8_t>(position >= 0 && position < 16 ? position : -1);
      }
    }
  }
  return shuffles;
}

constexpr Shuffles kShuffles = make_shuffles();

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

template <bool kStream>
__attribute__((target("avx2,fma"))) void normalize_image(const std::uint8_t* image, std::size_t pixels,
                                                         const Channel* channels, float* planes) {
  std::size_t i = 0;
  for (; i + 16 <= pixels; i += 16) {
    __m128i blocks[3];
    for (int block = 0; block < 3; ++block) {
      blocks[block] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(image + 3 * i + 16 * block));
    }
    for (int c = 0; c < 3; ++c) {
      __m128i bytes = _mm_setzero_si128();
      for (int block = 0; block < 3; ++block) {
        const __m128i mask = _mm_load_si128(reinterpret_cast<const __m128i*>(kShuffles.masks[c][block]));
        bytes = _mm_or_si128(bytes, _mm_shuffle_epi8(blocks[block], mask));
      }
      float* target = planes + c * pixels + i;
      store<kStream>(target, normalize_eight(bytes, channels[c]));
      store<kStream>(target + 8, normalize_eight(_mm_srli_si128(bytes, 8), channels[c]));
    }
  }
  normalize_tail(image, i, pixels, channels, planes);
}

#endif

}  // namespace

// Normalizes `count` images of `pixels` x 3 bytes to 3 x `pixels` floats each. `stream`: the results are too large for
// the caches. `parameters`: the scale, then mean and std, each for 3 channels.
extern "C" void ppzoo_normalize(const std::uint8_t* images, std::size_t count, std::size_t pixels,
                                const float* parameters, int stream, float* results) {
  Channel channels[3];
  const float *mean = parameters + 1, *std = parameters + 4;
  for (int c = 0; c < 3; ++c) channels[c] = {parameters[0], mean[c], std[c], 1.0f / std[c]};
  for (std::size_t image = 0; image < count; ++image, images += 3 * pixels, results += 3 * pixels) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      const bool is_aligned = reinterpret_cast<std::uintptr_t>(results) % 16 == 0 && pixels % 4 == 0;
      if (stream && is_aligned) {
        normalize_image<true>(images, pixels, channels, results);
      } else {
        normalize_image<false>(images, pixels, channels, results);
      }
      continue;
    }
#endif
    normalize_tail(images, 0, pixels, channels, results);
  }
#if defined(__x86_64__)
  _mm_sfence();
#endif
}
