#include "resizer.h"

#include <cmath>
#include <cstring>
#include <exception>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

constexpr int kChannels = 3, kLanes = 4, kLaneBytes = 16, kLaneValues = 4;
constexpr int kStepValues = kLanes * kLaneValues, kPacked = 2 * kStepValues;
constexpr int kOrder[kLanes] = {0, 2, 1, 3};  // of the lanes in a step
constexpr int kAhead = 2;                     // rows that are loaded into the cache before they are needed
constexpr float kOne = 2048;                  // a weight of 1
constexpr double kMaxScale = 3;               // more input pixels per output pixel do not fit into a lane
constexpr int kMaxLength = 1 << 16;           // pixels per side; JPEGs cannot be larger

std::int16_t to_weight(float fraction) {
#if defined(__x86_64__)
  return static_cast<std::int16_t>(_mm_cvtss_si32(_mm_set_ss(fraction * kOne)));
#else
  return static_cast<std::int16_t>(std::lrint(fraction * kOne));
#endif
}

}  // namespace

Resizer::Resizer(const Axis& horizontal, const Axis& vertical, std::uint8_t* result) : result_(result) {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2")) return;
  if (!is_valid(horizontal) || !is_valid(vertical) || horizontal.scale > kMaxScale) return;
  if (std::fabs(horizontal.scale - 2) < 1e-9 && std::fabs(vertical.scale - 2) < 1e-9) return;  // OpenCV averages areas
  values_ = static_cast<std::size_t>(horizontal.count) * kChannels;
  if (!make_steps(horizontal)) return;
  for (int output = 0; output < vertical.count; ++output) {
    samples_.push_back(make_sample(vertical, vertical.first + output, false));
    if (samples_.back().near < vertical.begin || samples_.back().far >= vertical.end) return;
  }
  for (auto& row : rows_) row.resize(steps_.size() * kStepValues);
  is_supported_ = true;
#endif
}

bool Resizer::is_valid(const Axis& axis) {
  if (!(axis.scale > 0 && axis.scale <= kMaxLength)) return false;
  if (axis.origin < 0 || axis.origin > kMaxLength || axis.length < 1 || axis.length > kMaxLength) return false;
  if (axis.first < 0 || axis.first > kMaxLength || axis.count < 1 || axis.count > kMaxLength) return false;
  return axis.begin >= axis.origin && axis.end > axis.begin && axis.end - axis.origin <= axis.length;
}

// At the first and the last pixel OpenCV uses one column with a weight of 1 (`clamps`), but one row with two weights.
Resizer::Sample Resizer::make_sample(const Axis& axis, int output, bool clamps) {
  float fraction = static_cast<float>((output + 0.5) * axis.scale - 0.5);
  if (fraction > static_cast<float>(axis.length)) fraction = static_cast<float>(axis.length);  // fits into an int
  int index = static_cast<int>(fraction);
  if (static_cast<float>(index) > fraction) --index;
  const int last = axis.length - 1;
  fraction -= static_cast<float>(index);
  if (clamps && (index < 0 || index >= last)) {
    fraction = 0;
    index = index < 0 ? 0 : last;
  }
  const auto clip = [last](int value) { return value < 0 ? 0 : value > last ? last : value; };
  return {axis.origin + clip(index), axis.origin + clip(index + 1), to_weight(1.0f - fraction), to_weight(fraction)};
}

bool Resizer::make_steps(const Axis& axis) {
  if ((axis.end - axis.begin) * kChannels < kLaneBytes) return false;
  std::vector<Sample> columns;
  for (int output = 0; output < axis.count; ++output) {
    columns.push_back(make_sample(axis, axis.first + output, true));
    if (columns.back().near < axis.begin || columns.back().far >= axis.end) return false;
  }
  steps_.resize((values_ + kPacked - 1) / kPacked * (kPacked / kStepValues));
  for (std::size_t lane = 0; lane < steps_.size() * kLanes; ++lane) {
    if (!make_lane(columns, axis, lane * kLaneValues, steps_[lane / kLanes], kOrder[lane % kLanes])) return false;
  }
  return true;
}

// Makes the lane of the values from `value` on; after the last value, it repeats the last one. Returns false if the
// input bytes are too far from each other.
bool Resizer::make_lane(const std::vector<Sample>& columns, const Axis& axis, std::size_t value, Step& step,
                        int lane) const {
  const auto at = [&](std::size_t index) { return index < values_ ? index : values_ - 1; };
  const int start = (columns[at(value) / kChannels].near - axis.begin) * kChannels;
  const int last = (axis.end - axis.begin) * kChannels - kLaneBytes;
  const int offset = start < last ? start : last;
  step.offsets[lane] = offset;
  for (int k = 0; k < kLaneValues; ++k) {
    const std::size_t index = at(value + k);
    const Sample& sample = columns[index / kChannels];
    const int channel = static_cast<int>(index % kChannels) - offset;
    const int near = (sample.near - axis.begin) * kChannels + channel;
    const int far = (sample.far - axis.begin) * kChannels + channel;
    if (near < 0 || far >= kLaneBytes) return false;
    const std::int8_t shuffle[] = {static_cast<std::int8_t>(near), -1, static_cast<std::int8_t>(far), -1};
    std::memcpy(step.shuffles[lane] + 4 * k, shuffle, sizeof shuffle);
    step.weights[lane][2 * k] = sample.near_weight;
    step.weights[lane][2 * k + 1] = sample.far_weight;
  }
  return true;
}

void Resizer::add(int row, const std::uint8_t* first, const std::uint8_t* second) {
  const int last = second == nullptr ? row : row + 1;
  if (is_complete() || last < samples_[next_].near) return;
  blend_columns(first, second == nullptr ? first : second, rows_[row % 4].data(), rows_[(row + 1) % 4].data());
  for (; !is_complete() && samples_[next_].far <= last; ++next_) {
    blend_rows(samples_[next_], result_ + next_ * values_);
  }
}

#if defined(__x86_64__)

#define PPZOO_AVX2 __attribute__((target("avx2")))

namespace {

PPZOO_AVX2 inline __m256i load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }

PPZOO_AVX2 inline void store(void* target, __m256i values) {
  _mm256_storeu_si256(static_cast<__m256i*>(target), values);
}

// Resizes two lanes horizontally, whose input bytes begin at `low` and at `high`.
PPZOO_AVX2 inline __m256i blend_lanes(const std::uint8_t* low, const std::uint8_t* high, __m256i shuffle,
                                      __m256i weights) {
  const __m128i lower = _mm_loadu_si128(reinterpret_cast<const __m128i*>(low));
  const __m128i upper = _mm_loadu_si128(reinterpret_cast<const __m128i*>(high));
  const __m256i bytes = _mm256_inserti128_si256(_mm256_castsi128_si256(lower), upper, 1);
  return _mm256_srli_epi32(_mm256_madd_epi16(_mm256_shuffle_epi8(bytes, shuffle), weights), 4);
}

PPZOO_AVX2 inline __m256i blend_values(const std::int16_t* near, const std::int16_t* far, __m256i near_weight,
                                       __m256i far_weight) {
  const __m256i sum =
      _mm256_add_epi16(_mm256_mulhi_epi16(load(near), near_weight), _mm256_mulhi_epi16(load(far), far_weight));
  return _mm256_srai_epi16(_mm256_add_epi16(sum, _mm256_set1_epi16(2)), 2);
}

}  // namespace

PPZOO_AVX2 void Resizer::blend_columns(const std::uint8_t* first, const std::uint8_t* second,
                                       std::int16_t* blended_first, std::int16_t* blended_second) const {
  for (const Step& step : steps_) {
    const int* at = step.offsets;
    const __m256i even_shuffle = load(step.shuffles[0]), odd_shuffle = load(step.shuffles[2]);
    const __m256i even_weights = load(step.weights[0]), odd_weights = load(step.weights[2]);
    store(blended_first, _mm256_packus_epi32(blend_lanes(first + at[0], first + at[1], even_shuffle, even_weights),
                                             blend_lanes(first + at[2], first + at[3], odd_shuffle, odd_weights)));
    store(blended_second, _mm256_packus_epi32(blend_lanes(second + at[0], second + at[1], even_shuffle, even_weights),
                                              blend_lanes(second + at[2], second + at[3], odd_shuffle, odd_weights)));
    blended_first += kStepValues;
    blended_second += kStepValues;
  }
}

PPZOO_AVX2 void Resizer::blend_rows(const Sample& sample, std::uint8_t* target) const {
  const std::int16_t *near = rows_[sample.near % 4].data(), *far = rows_[sample.far % 4].data();
  const __m256i near_weight = _mm256_set1_epi16(sample.near_weight), far_weight = _mm256_set1_epi16(sample.far_weight);
  for (std::size_t at = 0; at < values_; at += kPacked, near += kPacked, far += kPacked) {
    const __m256i low = blend_values(near, far, near_weight, far_weight);
    const __m256i high = blend_values(near + kStepValues, far + kStepValues, near_weight, far_weight);
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(low, high), 0xD8);
    if (at + kPacked <= values_) {
      store(target + at, bytes);
    } else {
      std::uint8_t rest[kPacked];
      store(rest, bytes);
      std::memcpy(target + at, rest, values_ - at);
    }
  }
}

#else

void Resizer::blend_columns(const std::uint8_t*, const std::uint8_t*, std::int16_t*, std::int16_t*) const {}
void Resizer::blend_rows(const Sample&, std::uint8_t*) const {}

#endif

namespace {

// Starts to load a row into the processor's cache.
void prefetch(const std::uint8_t* row, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at);
}

}  // namespace

// Resizes RGB pixels in memory; row r of the image begins at pixels + r * stride. Returns 0 if that is supported.
extern "C" int ppzoo_resize(const std::uint8_t* pixels, std::size_t stride, const Axis* axes, std::uint8_t* result) {
  try {
    Resizer resizer(axes[0], axes[1], result);
    if (!resizer.is_supported()) return 1;
    pixels += static_cast<std::size_t>(axes[0].begin) * kChannels;
    const auto row_bytes = static_cast<std::size_t>(axes[0].end - axes[0].begin) * kChannels;
    for (int row = axes[1].begin; row < axes[1].end && !resizer.is_complete(); row += 2) {
      const std::uint8_t* first = pixels + row * stride;
      for (int ahead = kAhead; ahead < kAhead + 2 && row + ahead < axes[1].end; ++ahead) {
        prefetch(first + ahead * stride, row_bytes);
      }
      resizer.add(row, first, row + 1 < axes[1].end ? first + stride : nullptr);
    }
    return resizer.is_complete() ? 0 : 1;
  } catch (const std::exception&) {  // no memory
    return 1;
  }
}
