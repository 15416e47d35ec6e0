// Calls the kernels with random geometries and compares the results with plain loops in double precision.
//
//   driver SEED CASES [KIND]
//
// runs CASES cases of each kind, or of KIND only. Case `i` depends only on SEED, its kind and `i`. Each tensor is a
// separate allocation of exactly the size that it needs, and outputs are NaN before a kernel writes them. A build with
// -fsanitize=address,undefined thus detects accesses outside of tensors, and the comparison detects elements that were
// not written. The exit status is 1 if a case failed; memory errors end the program.
//
// To add a kernel: write a function that returns a Case and add it to kKinds.
#include <omp.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/activation.h"
#include "kernels/affine.h"
#include "kernels/batch_norm.h"
#include "kernels/bfloat16.h"
#include "kernels/bfloat16_convolution.h"
#include "kernels/bfloat16_depthwise.h"
#include "kernels/bfloat16_inverted_residual.h"
#include "kernels/bfloat16_pooling.h"
#include "kernels/concat.h"
#include "kernels/conv_norm_sequence.h"
#include "kernels/conv_shape.h"
#include "kernels/convolution.h"
#include "kernels/depthwise.h"
#include "kernels/elementwise.h"
#include "kernels/expansion.h"
#include "kernels/inverted_residual.h"
#include "kernels/linear.h"
#include "kernels/optimizer.h"
#include "kernels/pointwise.h"
#include "kernels/pooling.h"
#include "kernels/repvgg.h"
#include "kernels/simd.h"
#include "kernels/squeeze_excite.h"
#include "kernels/sums.h"
#include "kernels/winograd.h"

namespace {

using namespace ppzoo;

constexpr double kTolerance = 2e-6;
constexpr int64_t kMaxProducts = 1 << 20;  // of the plain loops of a case

using Doubles = std::vector<double>;

// An allocation of exactly `count` floats.
class Floats {
 public:
  explicit Floats(int64_t count, float value = std::numeric_limits<float>::quiet_NaN())
      : count_(count), data_(static_cast<float*>(std::malloc(sizeof(float) * count))) {
    std::fill_n(data_, count, value);
  }
  Floats(Floats&& other) noexcept : count_(other.count_), data_(other.data_) { other.data_ = nullptr; }
  Floats(const Floats&) = delete;
  ~Floats() { std::free(data_); }
  operator float*() { return data_; }
  operator const float*() const { return data_; }
  float* data() { return data_; }
  const float* data() const { return data_; }
  int64_t size() const { return count_; }
  Doubles doubles() const { return {data_, data_ + count_}; }

 private:
  int64_t count_;
  float* data_;
};

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  // An integer from `low` to `high`.
  int64_t integer(int64_t low, int64_t high) { return low + static_cast<int64_t>(engine_() % (high - low + 1)); }
  bool chance(double probability) { return engine_() < probability * static_cast<double>(engine_.max()); }
  Floats normal(int64_t count, float scale = 1.0f, float offset = 0.0f) {
    Floats values(count);
    std::normal_distribution<float> distribution;
    for (int64_t i = 0; i < count; ++i) values[i] = offset + scale * distribution(engine_);
    return values;
  }
  Activation activation(bool invertible = false) { return static_cast<Activation>(integer(0, invertible ? 2 : 4)); }

 private:
  std::mt19937_64 engine_;
};

// The current case, for the report of a memory error.
std::string running;

void print_running() { std::fprintf(stderr, "while running %s\n", running.c_str()); }

// The errors of a case and a description of its geometry.
struct Case {
  explicit Case(std::string words) : geometry(std::move(words)) { running += geometry; }
  std::string geometry, wrong;
  double tolerance = kTolerance;

  void fail(const std::string& text) { wrong += (wrong.empty() ? "" : "; ") + text; }
  // Compares with a tolerance relative to the largest expected value, or to `least` if that is larger.
  void compare(const char* name, const float* found, const Doubles& expected, double least = 0.0) {
    double scale = least, worst = 0.0;
    for (double value : expected) scale = std::max(scale, std::abs(value));
    if (scale == 0.0) scale = 1.0;
    for (size_t i = 0; i < expected.size(); ++i) {
      const double difference = std::abs(found[i] - expected[i]) / scale;
      const bool both_nan = std::isnan(found[i]) && std::isnan(expected[i]);
      if (!both_nan && !(difference <= worst)) worst = difference;
      if (std::isnan(worst)) break;
    }
    if (!(worst <= tolerance)) fail(std::string(name) + " differs by " + std::to_string(worst * 1e6) + "e-6");
  }
};

std::string words(std::initializer_list<std::pair<const char*, int64_t>> values) {
  std::string text;
  for (const auto& [name, value] : values) text += std::string(name) + " " + std::to_string(value) + " ";
  return text;
}

// ---- activations in double

double activated(Activation activation, double t) {
  switch (activation) {
    case Activation::kRelu: return std::max(t, 0.0);
    case Activation::kRelu6: return std::min(std::max(t, 0.0), 6.0);
    case Activation::kHardSwish: return t * std::min(std::max(t + 3.0, 0.0), 6.0) / 6.0;
    case Activation::kSwish: return t / (1.0 + std::exp(-t));
    default: return t;
  }
}

double slope(Activation activation, double t) {
  switch (activation) {
    case Activation::kRelu: return t > 0.0;
    case Activation::kRelu6: return t > 0.0 && t < 6.0;
    case Activation::kHardSwish: return t <= -3.0 ? 0.0 : t >= 3.0 ? 1.0 : t / 3.0 + 0.5;
    case Activation::kSwish: {
      const double s = 1.0 / (1.0 + std::exp(-t));
      return s + t * s * (1.0 - s);
    }
    default: return 1.0;
  }
}

// Whether rounding can move t to the other side of a discontinuity of the derivative.
bool near_kink(Activation activation, double t) {
  const auto near = [&](double place) { return std::abs(t - place) < 1e-4; };
  if (activation == Activation::kRelu) return near(0.0);
  if (activation == Activation::kRelu6) return near(0.0) || near(6.0);
  return activation == Activation::kHardSwish && (near(-3.0) || near(3.0));
}

// ---- convolution

struct Convolution {
  Doubles y, dx, dw, db;
  // The size of the largest of the sums if their terms were independent. Sums of few terms can cancel.
  double y_size, dx_size, dw_size, db_size;
};

double largest_root(const Doubles& squares) {
  double largest = 0.0;
  for (double square : squares) largest = std::max(largest, square);
  return std::sqrt(largest);
}

// Returns y from x and w, and the gradients from dy, which can be empty.
Convolution convolution(const ConvShape& s, const Doubles& x, const Doubles& w, const Doubles& bias,
                        const Doubles& dy) {
  const int64_t rows = std::max<int64_t>(0, s.out_height()), columns = std::max<int64_t>(0, s.out_width());
  const int64_t in = s.channels / s.groups, out = s.out_channels / s.groups;
  Convolution found{Doubles(s.output_size(), 0.0),
                    Doubles(s.input_size(), 0.0),
                    Doubles(s.weight_size(), 0.0),
                    Doubles(s.out_channels, 0.0),
                    0.0,
                    0.0,
                    0.0,
                    0.0};
  Doubles y2 = found.y, dx2 = found.dx, dw2 = found.dw, db2 = found.db;  // sums of the squares of the terms
  for (int64_t n = 0; n < s.images; ++n)
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        for (int64_t o = 0; o < s.out_channels; ++o) {
          const int64_t place = ((n * rows + i) * columns + j) * s.out_channels + o;
          double sum = bias.empty() ? 0.0 : bias[o];
          const double gradient = dy.empty() ? 0.0 : dy[place];
          found.db[o] += gradient, db2[o] += gradient * gradient, y2[place] += sum * sum;
          for (int64_t kh = 0; kh < s.kernel_h; ++kh)
            for (int64_t kw = 0; kw < s.kernel_w; ++kw) {
              const int64_t h = i * s.stride_h + kh * s.dilation_h - s.top;
              const int64_t v = j * s.stride_w + kw * s.dilation_w - s.left;
              if (h < 0 || h >= s.height || v < 0 || v >= s.width) continue;
              for (int64_t c = 0; c < in; ++c) {
                const int64_t from = ((n * s.height + h) * s.width + v) * s.channels + o / out * in + c;
                const int64_t tap = ((o * in + c) * s.kernel_h + kh) * s.kernel_w + kw;
                const double term = x[from] * w[tap], to_x = gradient * w[tap], to_w = gradient * x[from];
                sum += term, found.dx[from] += to_x, found.dw[tap] += to_w;
                y2[place] += term * term, dx2[from] += to_x * to_x, dw2[tap] += to_w * to_w;
              }
            }
          found.y[place] = sum;
        }
  found.y_size = largest_root(y2), found.dx_size = largest_root(dx2);
  found.dw_size = largest_root(dw2), found.db_size = largest_root(db2);
  return found;
}

std::string words(const ConvShape& s) {
  return words({{"images", s.images},
                {"height", s.height},
                {"width", s.width},
                {"channels", s.channels},
                {"out", s.out_channels},
                {"kernel_h", s.kernel_h},
                {"kernel_w", s.kernel_w},
                {"stride_h", s.stride_h},
                {"stride_w", s.stride_w},
                {"top", s.top},
                {"bottom", s.bottom},
                {"left", s.left},
                {"right", s.right},
                {"dilation_h", s.dilation_h},
                {"dilation_w", s.dilation_w},
                {"groups", s.groups}});
}

int64_t products(const ConvShape& s) { return s.output_size() * s.channels / s.groups * s.kernel_h * s.kernel_w; }

enum class Path { kAny, kPointwise, kDepthwise, kWinograd };

ConvShape random_convolution(Random& random, Path path) {
  const auto attempt = [&] {
    ConvShape s;
    const int64_t side = random.chance(0.05) ? 150 : random.chance(0.2) ? 40 : random.chance(0.3) ? 3 : 12;
    s.images = random.chance(0.02) ? 0 : random.integer(1, 4);
    s.height = random.integer(1, side), s.width = random.integer(1, side);
    s.groups = 1;
    if (path == Path::kPointwise) {
      s.channels = random.integer(1, 90), s.out_channels = random.integer(1, 90);
      s.kernel_h = s.kernel_w = s.stride_h = s.stride_w = s.dilation_h = s.dilation_w = 1;
      s.top = s.bottom = s.left = s.right = 0;
      return s;
    }
    if (path == Path::kWinograd) {
      s.channels = kLanes * random.integer(1, 4), s.out_channels = kLanes * random.integer(1, 4);
      s.kernel_h = s.kernel_w = 3, s.stride_h = s.stride_w = s.dilation_h = s.dilation_w = 1;
      s.top = random.integer(0, 2), s.bottom = random.integer(0, 2), s.left = random.integer(0, 2);
      s.right = random.integer(0, 2);
      return s;
    }
    const auto size = [&](int64_t most) { return random.chance(0.3) ? 1 : random.integer(1, most); };
    s.kernel_h = size(7), s.kernel_w = size(7), s.stride_h = size(4), s.stride_w = size(4);
    s.dilation_h = size(3), s.dilation_w = size(3);
    const auto padding = [&](int64_t kernel) { return random.chance(0.4) ? kernel / 2 : random.integer(0, kernel); };
    s.top = padding(s.kernel_h), s.bottom = padding(s.kernel_h);
    s.left = padding(s.kernel_w), s.right = padding(s.kernel_w);
    if (path == Path::kDepthwise) {
      s.channels = s.out_channels = s.groups = random.integer(kLanes, 3 * kLanes);
    } else {
      s.groups = random.chance(0.7) ? 1 : random.integer(1, 5);
      s.channels = s.groups * (random.chance(0.3) ? 1 : random.integer(1, 20));
      s.out_channels = s.groups * (random.chance(0.2) ? 1 : random.integer(1, 20));
      if (random.chance(0.01)) s.groups = 1, s.channels = random.integer(400, 900);
      // One column or one row of outputs.
      if (random.chance(0.1)) s.width = s.kernel_w + random.integer(0, 2), s.left = s.right = 0, s.dilation_w = 1;
      if (random.chance(0.1)) s.height = s.kernel_h + random.integer(0, 2), s.top = s.bottom = 0, s.dilation_h = 1;
    }
    return s;
  };
  const auto fits = [&](const ConvShape& s) {
    // Excludes shapes that PaddlePaddle rejects, and those of another path.
    if (s.out_height() <= 0 || s.out_width() <= 0 || products(s) > kMaxProducts) return false;
    return path != Path::kWinograd || winograd(s);
  };
  ConvShape s = attempt();
  while (!fits(s)) s = attempt();
  return s;
}

Case convolve_case(Random& random, Path path) {
  const ConvShape s = random_convolution(random, path);
  const bool biased = random.chance(0.5), adding = !biased && random.chance(0.3);
  Case result{words(s) + words({{"bias", biased}, {"add", adding}})};
  const Floats x = random.normal(s.input_size()), w = random.normal(s.weight_size());
  const Floats bias = random.normal(biased ? s.out_channels : 0), dy = random.normal(s.output_size());
  const Convolution expected = convolution(s, x.doubles(), w.doubles(), bias.doubles(), dy.doubles());

  Floats y(s.output_size()), dx(s.input_size()), db(biased ? s.out_channels : 0);
  Floats dw = random.normal(s.weight_size());
  Doubles total = expected.dw;
  for (int64_t i = 0; adding && i < dw.size(); ++i) total[i] += dw[i];
  convolve(s, x, w, biased ? static_cast<const float*>(bias) : nullptr, y);
  convolve_input_gradient(s, w, dy, dx);
  convolve_weight_gradient(s, x, dy, adding, dw);
  if (biased) sum_rows(dy.data(), s.output_pixels(), s.out_channels, false, static_cast<float*>(db));
  result.compare("y", y, expected.y, expected.y_size);
  result.compare("dx", dx, expected.dx, expected.dx_size);
  result.compare("dw", dw, total, expected.dw_size);
  if (biased) result.compare("db", db, expected.db, expected.db_size);
  return result;
}

// ---- batch norm

struct Norm {
  Doubles mean, variance;  // of the batch
};

Norm statistics_of(const Doubles& x, int64_t rows, int64_t channels) {
  Norm found{Doubles(channels, 0.0), Doubles(channels, 0.0)};
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t c = 0; c < channels; ++c) found.mean[c] += x[i * channels + c] / rows;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t c = 0; c < channels; ++c) {
      const double centered = x[i * channels + c] - found.mean[c];
      found.variance[c] += centered * centered / rows;
    }
  return found;
}

// `terms` are the mean squares of sums in `found` if their terms were independent: the rounding of terms that cancel is
// large, compared with the deviation that is left.
void compare_statistics(Case& result, const Statistics& found, const Norm& expected, const Doubles& terms = Doubles()) {
  for (size_t c = 0; c < expected.mean.size(); ++c) {
    const double variance = expected.variance[c], deviation = std::sqrt(variance);
    if (deviation <= 1e-14 * std::abs(expected.mean[c])) continue;  // equal values, but for the rounding of their mean
    const double mean_error = std::abs(found.mean[c] - expected.mean[c]) / (deviation + std::abs(expected.mean[c]));
    const double scale = terms.empty() ? variance : variance + deviation * std::sqrt(terms[c]);
    const double variance_error = std::abs(found.variance[c] - variance) / scale;
    if (mean_error <= kTolerance && variance_error <= kTolerance) continue;
    result.fail("mean and variance of column " + std::to_string(c) + " differ by " + std::to_string(mean_error * 1e6) +
                "e-6 and " + std::to_string(variance_error * 1e6) + "e-6");
    break;
  }
}

// For each output channel, the mean square of a convolution's sums if their terms were independent. `x` are the images.
Doubles squares_of_terms(const ConvShape& s, const Doubles& x, const Floats& w) {
  Doubles squares(s.channels, 0.0), sums(s.out_channels, 0.0);
  for (size_t k = 0; k < x.size(); ++k) squares[k % s.channels] += x[k] * x[k] / s.input_pixels();
  const int64_t in = s.channels / s.groups, taps = s.kernel_h * s.kernel_w;
  for (int64_t o = 0; o < s.out_channels; ++o)
    for (int64_t k = 0; k < in * taps; ++k) {
      const double weight = w[o * in * taps + k];
      sums[o] += weight * weight * squares[o / (s.out_channels / s.groups) * in + k / taps];
    }
  return sums;
}

// How far a convolution's sums cancel before a norm divides by their deviation, which amplifies rounding errors: the
// size of the sums if their terms were independent, in deviations. The largest of all output channels.
double cancellation(const ConvShape& s, const Doubles& x, const Floats& w, const Doubles& inverse) {
  const Doubles squares = squares_of_terms(s, x, w);
  double largest = 0.0;
  for (int64_t o = 0; o < s.out_channels; ++o) largest = std::max(largest, std::sqrt(squares[o]) * inverse[o]);
  return largest;
}

// Multiplies some rows by a large factor; the first row with a higher probability.
void add_outliers(Random& random, Floats& x, int64_t rows, int64_t channels) {
  const int64_t count = random.integer(1, 4);
  const float size = std::pow(
      10.0f, static_cast<float>(random.integer(1, 4)));  // applied to a row up to four times: squares stay finite
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = random.chance(0.3) ? 0 : random.chance(0.2) ? rows - 1 : random.integer(0, rows - 1);
    for (int64_t c = 0; c < channels; ++c) x[row * channels + c] *= size;
  }
}

Case statistics_case(Random& random) {
  const int64_t channels = random.chance(0.1) ? random.integer(100, 2000) : random.integer(1, 100);
  const int64_t rows = random.integer(2, std::max<int64_t>(2, (1 << (random.chance(0.1) ? 20 : 16)) / channels));
  const bool outliers = random.chance(0.5);
  Floats x = random.normal(rows * channels, 1.0f, random.chance(0.3) ? 100.0f : 0.0f);
  if (outliers) add_outliers(random, x, rows, channels);
  Case result{words({{"rows", rows}, {"channels", channels}, {"outliers", outliers}})};
  Moments moments(channels, x.data(), rows);
  const int64_t first = random.chance(0.5) ? rows : random.integer(1, rows);
  moments.add(x.data(), first);
  moments.add(x.data() + first * channels, rows - first);
  compare_statistics(result, moments.statistics(), statistics_of(x.doubles(), rows, channels));
  return result;
}

Case norm_case(Random& random) {
  const int64_t channels = random.integer(1, 80),
                rows = random.chance(0.02) ? 0 : random.integer(8, 4000 / channels + 9);
  const bool residual = random.chance(0.4);
  const Activation activation = random.activation(residual);
  Case result{words(
      {{"rows", rows}, {"channels", channels}, {"residual", residual}, {"activation", static_cast<int>(activation)}})};
  const int64_t size = rows * channels;
  const Floats x = random.normal(size, 2.0f, 1.0f), z = random.normal(residual ? size : 0);
  const Floats gamma = random.normal(channels), beta = random.normal(channels);
  Floats running_mean = random.normal(channels), running_variance = random.normal(channels);
  Floats y(size), dx(size), dz(residual ? size : 0), mean(channels), inverse(channels), dgamma(channels);
  Floats dbeta(channels), dy = random.normal(size);
  const float epsilon = 1e-5f, momentum = 0.9f;

  const Norm batch = statistics_of(x.doubles(), rows, channels);
  Doubles expected_y(size), expected_dx(size), expected_dz(size), sums(channels), dots(channels);
  Doubles sum_squares(channels), dot_squares(channels);
  double scale = 0.0;
  for (int64_t i = 0; i < size; ++i) {
    const int64_t c = i % channels;
    const double factor = 1.0 / std::sqrt(batch.variance[c] + epsilon), hat = (x[i] - batch.mean[c]) * factor;
    const double t = hat * gamma[c] + beta[c] + (residual ? z[i] : 0.0f);
    expected_y[i] = activated(activation, t);
    if (near_kink(activation, t)) dy[i] = 0.0f;
    expected_dz[i] = dy[i] * slope(activation, t);
    sums[c] += expected_dz[i], dots[c] += expected_dz[i] * hat;
    sum_squares[c] += std::pow(expected_dz[i], 2), dot_squares[c] += std::pow(expected_dz[i] * hat, 2);
    scale = std::max(scale, std::abs(expected_dz[i] * gamma[c] * factor));
  }
  for (int64_t i = 0; i < size; ++i) {
    const int64_t c = i % channels;
    const double factor = 1.0 / std::sqrt(batch.variance[c] + epsilon), hat = (x[i] - batch.mean[c]) * factor;
    expected_dx[i] = gamma[c] * factor * (expected_dz[i] - sums[c] / rows - hat * dots[c] / rows);
  }
  Doubles expected_mean = running_mean.doubles();
  double terms = 0.0;  // the moving mean is a sum of two terms, which can cancel
  for (int64_t c = 0; rows > 0 && c < channels; ++c) {
    terms = std::max({terms, std::abs(expected_mean[c] * momentum), std::abs(batch.mean[c] * (1 - momentum))});
    expected_mean[c] = expected_mean[c] * momentum + batch.mean[c] * (1 - momentum);
  }

  const float* to_add = residual ? static_cast<const float*>(z) : nullptr;
  if (rows > 0) {
    Moments moments(channels, x.data(), rows);
    moments.add(x.data(), rows);
    finalize_statistics(moments.statistics(), {gamma, beta, running_mean, running_variance, momentum, epsilon},
                        activation, mean, inverse)
        .apply(x.data(), to_add, rows, y.data());
  } else {
    std::fill_n(static_cast<float*>(mean), channels, 0.0f), std::fill_n(static_cast<float*>(inverse), channels, 1.0f);
    Normalizer(channels, gamma, beta, activation).apply(x.data(), to_add, rows, y.data());
  }
  NormGradient gradient(channels, rows, gamma, beta, mean, inverse);
  gradient.add(x.data(), residual ? static_cast<const float*>(y) : nullptr, dy.data(), activation,
               residual ? static_cast<float*>(dz) : nullptr);
  gradient.finish(dgamma, dbeta);
  gradient.apply(x.data(), static_cast<const float*>(residual ? dz : dy), residual ? Activation::kNone : activation,
                 rows, dx.data());
  result.compare("y", y, expected_y);
  result.compare("moving mean", running_mean, expected_mean, terms);
  if (residual) result.compare("dz", dz, expected_dz);
  // The size of a sum of independent terms of either sign, as sums can cancel.
  result.compare("dgamma", dgamma, dots, largest_root(dot_squares));
  result.compare("dbeta", dbeta, sums, largest_root(sum_squares));
  result.compare("dx", dx, expected_dx, scale);
  return result;
}

// multiplier * activation + addend: alone, and after batch norm, where the activation is none or ReLU.
Case affine_case(Random& random) {
  const int64_t channels = random.integer(1, random.chance(0.1) ? 400 : 80);
  const int64_t rows = random.integer(8, (random.chance(0.1) ? 80000 : 4000) / channels + 9), size = rows * channels;
  const Activation activation = random.chance(0.7) ? Activation::kRelu : Activation::kNone;
  const float multiplier = random.chance(0.1) ? 0.0f : random.normal(1)[0], addend = random.normal(1)[0];
  Case result{words({{"rows", rows}, {"channels", channels}, {"activation", static_cast<int>(activation)}})};
  const Floats x = random.normal(size, 2.0f, 1.0f), gamma = random.normal(channels), beta = random.normal(channels);
  Floats running_mean = random.normal(channels), running_variance = random.normal(channels), dy = random.normal(size);
  Floats y(size), dx(size), mean(channels), inverse(channels), dgamma(channels), dbeta(channels), numbers(2);

  affine<float>(x, multiplier, addend, size, y);
  affine_gradient<float>(x, dy, multiplier, size, dx, numbers, numbers + 1);
  Doubles expected_y(size), expected_dx(size), expected_numbers(2, 0.0);
  double squares = 0.0;
  for (int64_t i = 0; i < size; ++i) {
    const double product = static_cast<double>(dy[i]) * x[i];
    expected_y[i] = static_cast<double>(multiplier) * x[i] + addend;
    expected_dx[i] = static_cast<double>(multiplier) * dy[i];
    expected_numbers[0] += product, expected_numbers[1] += dy[i], squares += product * product;
  }
  result.compare("y", y, expected_y);
  result.compare("dx", dx, expected_dx);
  // The size of a sum of independent terms of either sign, as sums can cancel.
  result.compare("gradients of the numbers", numbers, expected_numbers, std::sqrt(squares));

  const Norm batch = statistics_of(x.doubles(), rows, channels);
  Doubles slopes(size), sums(channels, 0.0), dots(channels, 0.0);
  Doubles sum_squares(channels, 0.0), dot_squares(channels, 0.0);
  double dx_size = 0.0;
  expected_numbers = {0.0, 0.0}, squares = 0.0;
  const auto hat = [&](int64_t i) {
    return (x[i] - batch.mean[i % channels]) / std::sqrt(batch.variance[i % channels] + 1e-5);
  };
  for (int64_t i = 0; i < size; ++i) {
    const int64_t c = i % channels;
    const double t = hat(i) * gamma[c] + beta[c], value = activated(activation, t);
    if (near_kink(activation, t)) dy[i] = 0.0f;
    expected_y[i] = multiplier * value + addend;
    expected_numbers[0] += dy[i] * value, expected_numbers[1] += dy[i], squares += dy[i] * value * dy[i] * value;
    slopes[i] = multiplier * dy[i] * slope(activation, t);
    sums[c] += slopes[i], dots[c] += slopes[i] * hat(i);
    sum_squares[c] += std::pow(slopes[i], 2), dot_squares[c] += std::pow(slopes[i] * hat(i), 2);
  }
  for (int64_t i = 0; i < size; ++i) {
    const int64_t c = i % channels;
    const double factor = gamma[c] / std::sqrt(batch.variance[c] + 1e-5);
    expected_dx[i] = factor * (slopes[i] - sums[c] / rows - hat(i) * dots[c] / rows);
    dx_size = std::max(dx_size, std::abs(slopes[i] * factor));
  }
  Moments moments(channels, x.data(), rows);
  moments.add(x.data(), rows);
  finalize_statistics(moments.statistics(), {gamma, beta, running_mean, running_variance, 0.9f, 1e-5f}, activation,
                      mean, inverse, {multiplier, addend})
      .apply(x.data(), nullptr, rows, y.data());
  NormGradient gradient(channels, rows, gamma, beta, mean, inverse, &multiplier);
  gradient.add(x.data(), nullptr, dy.data(), activation, nullptr);
  gradient.finish(dgamma, dbeta);
  gradient.finish_affine(gamma, beta, numbers, numbers + 1);
  gradient.apply(x.data(), dy.data(), activation, rows, dx.data());
  result.compare("y after the norm", y, expected_y);
  result.compare("gradients of the numbers after the norm", numbers, expected_numbers, std::sqrt(squares));
  result.compare("dgamma", dgamma, dots, largest_root(dot_squares));
  result.compare("dbeta", dbeta, sums, largest_root(sum_squares));
  result.compare("dx after the norm", dx, expected_dx, dx_size);
  return result;
}

// A depthwise or 1x1 convolution that computes the statistics of its output.
Case convolve_statistics_case(Random& random) {
  const bool by_channel = random.chance(0.5);
  const ConvShape s = random_convolution(random, by_channel ? Path::kDepthwise : Path::kPointwise);
  Case result{words(s)};
  Floats x = random.normal(s.input_size());
  const Floats w = random.normal(s.weight_size());
  if (!s.empty() && random.chance(0.3)) add_outliers(random, x, s.input_pixels(), s.channels);
  const bool normed = random.chance(0.5);
  const Activation activation = random.activation();
  const Floats scale = random.normal(s.channels), offset = random.normal(s.channels);
  const Normalizer norm(s.channels, scale, offset, activation);
  Doubles seen = x.doubles();
  for (size_t i = 0; normed && i < seen.size(); ++i) {
    const float k = scale[i % s.channels], o = offset[i % s.channels];
    seen[i] = activated(activation, seen[i] * k + o);
  }
  const Doubles expected = convolution(s, seen, w.doubles(), {}, {}).y;
  Floats y(s.output_size());
  const KernelInput input(x, normed ? &norm : nullptr);
  const Statistics found =
      by_channel ? depthwise_convolve_statistics(s, input, w, y) : pointwise_convolve_statistics(s, input, w, y);
  result.compare("y", y, expected);
  const int64_t rows = s.output_pixels();
  if (rows > 1) {
    compare_statistics(result, found, statistics_of(y.doubles(), rows, s.out_channels), squares_of_terms(s, seen, w));
  }
  return result;
}

// The gradients of a convolution's input and weights from that of the norm after it.
Case convolve_norm_case(Random& random) {
  const bool by_channel = random.chance(0.5);
  const ConvShape s = random_convolution(random, by_channel ? Path::kDepthwise : Path::kPointwise);
  const Activation activation = random.activation();
  Case result{words(s) + words({{"activation", static_cast<int>(activation)}})};
  const int64_t rows = s.output_pixels(), out = s.out_channels;
  const Floats x = random.normal(s.input_size()), w = random.normal(s.weight_size()), raw = random.normal(rows * out);
  const Floats gamma = random.normal(out, 0.1f, 1.0f), beta = random.normal(out), mean = random.normal(out, 0.1f);
  const Floats inverse = random.normal(out, 0.1f, 1.0f);
  Floats dy = random.normal(rows * out), draw(rows * out), dgamma(out), dbeta(out);
  for (int64_t i = 0; i < rows * out; ++i) {
    const int64_t c = i % out;
    if (near_kink(activation, (raw[i] - mean[c]) * inverse[c] * gamma[c] + beta[c])) dy[i] = 0.0f;
  }
  NormGradient gradient(out, rows, gamma, beta, mean, inverse);
  gradient.add(raw.data(), nullptr, dy.data(), activation, nullptr);
  gradient.finish(dgamma, dbeta);
  gradient.apply(raw.data(), dy.data(), activation, rows, draw.data());
  const Convolution expected = convolution(s, x.doubles(), w.doubles(), {}, draw.doubles());
  const bool needs_dx = random.chance(0.8);
  Floats dx(s.input_size(), 0.0f), dw(s.weight_size());
  float* to = needs_dx ? static_cast<float*>(dx) : nullptr;
  if (by_channel) {
    depthwise_gradients(s, gradient, activation, x, w, raw, dy, to, dw);
  } else {
    pointwise_gradients(s, gradient, activation, x, w, raw, dy, to, dw);
  }
  if (needs_dx) result.compare("dx", dx, expected.dx);
  result.compare("dw", dw, expected.dw);
  return result;
}

// ---- covariance

Case covariance_case(Random& random) {
  const int64_t channels = random.integer(1, 24), rows = random.integer(2, 3000), out = random.integer(1, 40);
  Floats x = random.normal(rows * channels, 1.0f, random.chance(0.5) ? 5.0f : 0.0f);
  const bool outliers = random.chance(0.5);
  if (outliers) add_outliers(random, x, rows, channels);
  Case result{words({{"rows", rows}, {"channels", channels}, {"out", out}, {"outliers", outliers}})};
  const Floats w = random.normal(out * channels);
  Doubles memory(Covariance::size(channels)), y(rows * out, 0.0);
  compute_covariance(rows, channels, x, memory.data());
  const Covariance covariance(rows, channels, memory.data());
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t o = 0; o < out; ++o)
      for (int64_t c = 0; c < channels; ++c) {
        y[i * out + o] += static_cast<double>(x[i * channels + c]) * w[o * channels + c];
      }
  const Norm columns = statistics_of(x.doubles(), rows, channels);
  Doubles terms(out, 0.0);
  for (int64_t o = 0; o < out; ++o)
    for (int64_t c = 0; c < channels; ++c) {
      terms[o] += std::pow(w[o * channels + c], 2) * (columns.variance[c] + std::pow(columns.mean[c], 2));
    }
  compare_statistics(result, covariance.product_statistics(w, out), statistics_of(y, rows, out), terms);
  return result;
}

// ---- squeeze-and-excitation

// A matrix in double, and for each element the size of the sum that it is: the root of the sum of squared terms.
struct Sums {
  Doubles values, sizes;
  explicit Sums(int64_t count) : values(count, 0.0), sizes(count, 0.0) {}
  void add(int64_t place, double value, double size) { values[place] += value, sizes[place] += size * size; }
  void finish() {
    for (double& size : sizes) size = std::sqrt(size);
  }
  double size() const { return *std::max_element(sizes.begin(), sizes.end()); }
};

// a (rows x inner) times b (inner x columns), whose elements are a_at(i, k) and b_at(k, j).
Sums multiplied(int64_t rows, int64_t inner, int64_t columns, const std::function<int64_t(int64_t, int64_t)>& a_at,
                const Sums& a, const std::function<int64_t(int64_t, int64_t)>& b_at, const Sums& b) {
  Sums product(rows * columns);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      for (int64_t k = 0; k < inner; ++k) {
        const int64_t left = a_at(i, k), right = b_at(k, j);
        product.add(i * columns + j, a.values[left] * b.values[right], a.sizes[left] * b.sizes[right]);
      }
  product.finish();
  return product;
}

Sums exactly(const Floats& values) {
  Sums sums(values.size());
  for (int64_t i = 0; i < values.size(); ++i) sums.add(i, values[i], values[i]);
  sums.finish();
  return sums;
}

SqueezeExcite random_gates(Random& random, int64_t images, int64_t pixels, int64_t channels) {
  SqueezeExcite block{};
  block.images = images, block.pixels = pixels, block.channels = channels, block.hidden = random.integer(1, 40);
  block.inputs_first = random.chance(0.5), block.activation = random.activation();
  block.gate = static_cast<GateFunction>(random.integer(0, 2));
  block.slope = random.chance(0.5) ? 0.2f : 1.0f, block.offset = random.chance(0.5) ? 0.5f : 0.0f;
  return block;
}

std::string words(const SqueezeExcite& block) {
  return words({{"pixels", block.pixels},
                {"hidden", block.hidden},
                {"inputs_first", block.inputs_first},
                {"activation", static_cast<int>(block.activation)},
                {"gate", static_cast<int>(block.gate)}});
}

// The layers' parameters, and the gradients that a kernel writes.
struct GateParameters {
  Floats w1, b1, w2, b2, dw1, db1, dw2, db2;

  GateParameters(Random& random, const SqueezeExcite& block)
      : w1(random.normal(block.channels * block.hidden, 1.0f / std::sqrt(static_cast<float>(block.channels)))),
        b1(random.normal(block.hidden)),
        w2(random.normal(block.channels * block.hidden, 1.0f / std::sqrt(static_cast<float>(block.hidden)))),
        b2(random.normal(block.channels)),
        dw1(w1.size()),
        db1(b1.size()),
        dw2(w2.size()),
        db2(b2.size()) {}
  SqueezeExciteLayers<const float> layers() const { return {w1, b1, w2, b2}; }
  SqueezeExciteLayers<float> gradients() { return {dw1, db1, dw2, db2}; }
};

struct ExpectedGates {
  Doubles y, dx, dw1, db1, dw2, db2;
  // The sizes of the sums if their terms were independent; `gate_size` is that of the gates' arguments.
  double gate_size, dx_size, dw1_size, db1_size, dw2_size, db2_size;
  bool kink;

  void compare_gradients(Case& result, const GateParameters& found) const {
    result.compare("dw2", found.dw2, dw2, dw2_size);
    result.compare("db2", found.db2, db2, db2_size);
    result.compare("dw1", found.dw1, dw1, dw1_size);
    result.compare("db1", found.db1, db1, db1_size);
  }
};

// Returns y from x, and the gradients from dy.
ExpectedGates expected_gates(const SqueezeExcite& block, const GateParameters& parameters, const Doubles& x,
                             const Doubles& dy) {
  const int64_t images = block.images, pixels = block.pixels, channels = block.channels, hidden = block.hidden;
  const int64_t size = images * pixels * channels;
  const Floats &w1 = parameters.w1, &b1 = parameters.b1, &w2 = parameters.w2, &b2 = parameters.b2;
  const auto w1_at = [&](int64_t in, int64_t out) {
    return block.inputs_first ? in * hidden + out : out * channels + in;
  };
  const auto w2_at = [&](int64_t in, int64_t out) {
    return block.inputs_first ? in * channels + out : out * hidden + in;
  };
  const auto swapped = [](const auto& at) { return [&at](int64_t i, int64_t j) { return at(j, i); }; };
  const auto rows_of = [](int64_t width) { return [width](int64_t i, int64_t j) { return i * width + j; }; };
  const auto columns_of = [](int64_t width) { return [width](int64_t i, int64_t j) { return j * width + i; }; };
  bool kink = false;

  Sums means(images * channels);
  for (int64_t i = 0; i < size; ++i) {
    const int64_t place = i / channels / pixels * channels + i % channels;
    means.add(place, x[i] / static_cast<double>(pixels), x[i] / static_cast<double>(pixels));
  }
  means.finish();
  Sums first = multiplied(images, channels, hidden, rows_of(channels), means, w1_at, exactly(w1)), active = first;
  for (int64_t i = 0; i < images * hidden; ++i) {
    first.values[i] += b1[i % hidden];
    kink = kink || near_kink(block.activation, first.values[i]);
    active.values[i] = activated(block.activation, first.values[i]);
    active.sizes[i] = std::max<double>(std::abs(b1[i % hidden]), first.sizes[i]);
  }
  Sums second = multiplied(images, hidden, channels, rows_of(hidden), active, w2_at, exactly(w2));
  Doubles gates(images * channels), slopes(images * channels), expected(size), expected_dx(size);
  for (int64_t i = 0; i < images * channels; ++i) {
    const double t = second.values[i] + b2[i % channels];
    if (block.gate == GateFunction::kSigmoid) {
      gates[i] = 1.0 / (1.0 + std::exp(-t)), slopes[i] = gates[i] * (1.0 - gates[i]);
      continue;
    }
    const double line = block.slope * t + block.offset;
    kink = kink || std::abs(line) < 1e-4 || std::abs(line - 1.0) < 1e-4;
    gates[i] = std::min(std::max(line, 0.0), 1.0), slopes[i] = line > 0.0 && line < 1.0 ? block.slope : 0.0;
  }
  Sums dgates(images * channels);
  for (int64_t i = 0; i < size; ++i) {
    const int64_t place = i / channels / pixels * channels + i % channels;
    const double product = dy[i] * x[i] * slopes[place];
    expected[i] = x[i] * gates[place];
    dgates.add(place, product, product);
  }
  dgates.finish();
  const Sums dw2 = multiplied(hidden, images, channels, columns_of(hidden), active, rows_of(channels), dgates);
  Sums dhidden = multiplied(images, channels, hidden, rows_of(channels), dgates, swapped(w2_at), exactly(w2));
  for (int64_t i = 0; i < images * hidden; ++i) dhidden.values[i] *= slope(block.activation, first.values[i]);
  const Sums dw1 = multiplied(channels, images, hidden, columns_of(channels), means, rows_of(hidden), dhidden);
  const Sums dmeans = multiplied(images, hidden, channels, rows_of(hidden), dhidden, swapped(w1_at), exactly(w1));
  Sums db1(hidden), db2(channels);
  for (int64_t i = 0; i < images * hidden; ++i) db1.add(i % hidden, dhidden.values[i], dhidden.sizes[i]);
  for (int64_t i = 0; i < images * channels; ++i) db2.add(i % channels, dgates.values[i], dgates.sizes[i]);
  db1.finish(), db2.finish();
  for (int64_t i = 0; i < size; ++i) {
    const int64_t place = i / channels / pixels * channels + i % channels;
    expected_dx[i] = dy[i] * gates[place] + dmeans.values[place] / static_cast<double>(pixels);
  }
  // In the order in which the weights are stored.
  const auto stored = [](const Sums& gradient, int64_t in, int64_t out, const auto& at) {
    Doubles moved(in * out);
    for (int64_t i = 0; i < in; ++i)
      for (int64_t o = 0; o < out; ++o) moved[at(i, o)] = gradient.values[i * out + o];
    return moved;
  };
  // The gates' sums can cancel where a line follows them.
  const double gate_size = block.gate == GateFunction::kSigmoid ? 0.0 : block.slope * second.size();
  return {expected,
          expected_dx,
          stored(dw1, channels, hidden, w1_at),
          db1.values,
          stored(dw2, hidden, channels, w2_at),
          db2.values,
          gate_size,
          std::max(gate_size, dmeans.size() / static_cast<double>(pixels)),
          dw1.size(),
          db1.size(),
          dw2.size(),
          db2.size(),
          kink};
}

Case squeeze_excite_case(Random& random) {
  const SqueezeExcite block =
      random_gates(random, random.integer(1, 5), random.integer(1, random.chance(0.1) ? 900 : 60),
                   random.integer(1, random.chance(0.1) ? 400 : 70));
  Case result{words({{"images", block.images}, {"channels", block.channels}}) + words(block)};
  const int64_t size = block.images * block.pixels * block.channels;
  const Floats x = random.normal(size, 1.0f, 0.3f), dy = random.normal(size);
  GateParameters parameters(random, block);
  const ExpectedGates expected = expected_gates(block, parameters, x.doubles(), dy.doubles());
  Floats saved(block.saved_size()), y(size), dx(size);
  squeeze_excite<float>(block, x, parameters.layers(), saved, y);
  squeeze_excite_gradients<float>(block, x, parameters.layers(), saved, dy, parameters.gradients(), dx);
  result.compare("y", y, expected.y, expected.gate_size);
  if (expected.kink) return result;
  expected.compare_gradients(result, parameters);
  result.compare("dx", dx, expected.dx, expected.dx_size);
  return result;
}

// ---- inverted residual

struct Stage {
  Doubles raw, hat, argument, y, inverse;
};

// A block without activations.
InvertedResidual random_block(Random& random) {
  InvertedResidual block;
  const bool large = random.chance(0.02);  // so large that the expansion is computed again
  ConvShape expand{}, filter{}, project{};
  expand.images = large ? random.integer(5, 9) : random.integer(1, 3);
  expand.height = large ? random.integer(60, 70) : random.integer(3, 12);
  expand.width = large ? random.integer(60, 70) : random.integer(3, 12);
  expand.channels = large ? random.integer(3, 6) : random.integer(1, 24);
  expand.out_channels = large ? (1 << 21) / expand.input_pixels() + random.integer(2, 20) : random.integer(16, 70);
  expand.kernel_h = expand.kernel_w = expand.stride_h = expand.stride_w = 1;
  expand.dilation_h = expand.dilation_w = expand.groups = 1;
  filter = expand;
  filter.channels = filter.groups = filter.out_channels = expand.out_channels;
  filter.kernel_h = large ? 3 : random.integer(1, 5), filter.kernel_w = large ? 3 : random.integer(1, 5);
  filter.top = filter.bottom = filter.kernel_h / 2, filter.left = filter.right = filter.kernel_w / 2;
  filter.stride_h = random.integer(1, 2), filter.stride_w = random.integer(1, 2);
  project = expand;
  project.height = filter.out_height(), project.width = filter.out_width();
  project.channels = filter.out_channels;
  const bool same = project.height == expand.height && project.width == expand.width;
  block.shortcut = same && random.chance(0.6);
  project.out_channels = block.shortcut ? expand.channels : random.integer(1, 24);
  block.shapes = {expand, filter, project};
  return block;
}

// Convolutions with batch norm in sequence: their parameters, what kernels write, and the expected values.
struct ConvNormStages {
  static constexpr float kEpsilon = 1e-5f;
  std::vector<ConvShape> shapes;
  std::vector<Activation> activations;
  std::vector<Floats> w, gamma, beta, moving, kept, mean, inverse, dw, dgamma, dbeta;
  std::vector<StageWeights> weights;
  std::vector<SavedStage<float>> saved;
  std::vector<SavedStage<const float>> read;
  std::vector<StageGradient> gradients;
  std::vector<Stage> expected;
  bool kinks = false;
  double amplification = 0.0;

  // `saved_sizes`: the number of elements of `SavedStage::raw` of each stage.
  ConvNormStages(Random& random, std::vector<ConvShape> shapes, std::vector<Activation> activations,
                 const std::vector<int64_t>& saved_sizes)
      : shapes(std::move(shapes)), activations(std::move(activations)) {
    for (size_t i = 0; i < this->shapes.size(); ++i) {
      const ConvShape& s = this->shapes[i];
      w.push_back(random.normal(s.weight_size()));
      gamma.push_back(random.normal(s.out_channels, 0.2f, 1.0f));
      beta.push_back(random.normal(s.out_channels, 0.2f, 0.5f));
      for (int k = 0; k < 2; ++k) moving.push_back(random.normal(s.out_channels));
      kept.emplace_back(saved_sizes[i]);
      mean.emplace_back(s.out_channels), inverse.emplace_back(s.out_channels);
      dw.emplace_back(s.weight_size()), dgamma.emplace_back(s.out_channels), dbeta.emplace_back(s.out_channels);
    }
    for (size_t i = 0; i < this->shapes.size(); ++i) {
      weights.push_back({w[i], {gamma[i], beta[i], moving[2 * i], moving[2 * i + 1], 0.9f, kEpsilon}});
      saved.push_back({kept[i], mean[i], inverse[i]});
      read.push_back({kept[i], mean[i], inverse[i]});
      gradients.push_back({dw[i], dgamma[i], dbeta[i]});
    }
  }

  // Computes the expected values of the next stage from its input `x`, and returns its output.
  Doubles append_stage(const Doubles& x) {
    const size_t i = expected.size();
    const ConvShape& s = shapes[i];
    const int64_t rows = s.output_pixels(), out = s.out_channels;
    Stage& stage = expected.emplace_back();
    stage.raw = convolution(s, x, w[i].doubles(), {}, {}).y;
    const Norm batch = statistics_of(stage.raw, rows, out);
    stage.hat = stage.argument = stage.y = stage.raw;
    for (int64_t c = 0; c < out; ++c) stage.inverse.push_back(1.0 / std::sqrt(batch.variance[c] + kEpsilon));
    for (int64_t k = 0; k < rows * out; ++k) {
      const int64_t c = k % out;
      stage.hat[k] = (stage.raw[k] - batch.mean[c]) * stage.inverse[c];
      stage.argument[k] = stage.hat[k] * gamma[i][c] + beta[i][c];
      stage.y[k] = activated(activations[i], stage.argument[k]);
      kinks |= near_kink(activations[i], stage.argument[k]);
    }
    amplification = std::max(amplification, cancellation(s, x, w[i], stage.inverse));
    return stage.y;
  }

  // Compares the gradients of stage i, whose input is `from`, and returns that of `from`. `gradient`: of its output.
  Doubles compare_gradients(Case& result, size_t i, const Doubles& from, Doubles gradient) const {
    const ConvShape& s = shapes[i];
    const int64_t rows = s.output_pixels(), out = s.out_channels;
    const Stage& stage = expected[i];
    Doubles sums(out, 0.0), dots(out, 0.0), squares(out, 0.0), draw(rows * out);
    for (int64_t k = 0; k < rows * out; ++k) {
      gradient[k] *= slope(activations[i], stage.argument[k]);
      sums[k % out] += gradient[k], dots[k % out] += gradient[k] * stage.hat[k];
      squares[k % out] += gradient[k] * gradient[k];
    }
    // The size of the sums if their terms were independent. They cancel if a later norm cancels a parameter's effect.
    double norm_scale = 0.0, weight_scale = 0.0, x_squares = 0.0;
    for (double value : from) x_squares += value * value / static_cast<double>(from.size());
    for (int64_t c = 0; c < out; ++c) {
      norm_scale = std::max(norm_scale, std::sqrt(squares[c]));
      const double factor = stage.inverse[c] * std::abs(gamma[i][c]);
      weight_scale = std::max(weight_scale, std::sqrt(squares[c] * x_squares) * factor);
    }
    for (int64_t k = 0; k < rows * out; ++k) {
      const int64_t c = k % out;
      draw[k] = gamma[i][c] * stage.inverse[c] * (gradient[k] - sums[c] / rows - stage.hat[k] * dots[c] / rows);
    }
    const Convolution back = convolution(s, from, w[i].doubles(), {}, draw);
    const std::string name = "of stage " + std::to_string(i);
    result.compare(("dgamma " + name).c_str(), dgamma[i], dots, norm_scale);
    result.compare(("dbeta " + name).c_str(), dbeta[i], sums, norm_scale);
    result.compare(("dw " + name).c_str(), dw[i], back.dw, weight_scale);
    return back.dx;
  }
};

Case inverted_residual_case(Random& random, bool with_gates) {
  InvertedResidual block = random_block(random);
  const auto& [expand, filter, project] = block.shapes;
  block.activations = {random.activation(), random.activation(), Activation::kNone};
  if (!block.shortcut) block.activations[2] = random.activation();
  Case result{words(expand) + "| " + words(filter) +
              words({{"projected", project.out_channels},
                     {"shortcut", block.shortcut},
                     {"activations", static_cast<int>(block.activations[0]) * 100 +
                                         static_cast<int>(block.activations[1]) * 10 +
                                         static_cast<int>(block.activations[2])}})};

  const Floats x = random.normal(expand.input_size());
  std::vector<int64_t> saved_sizes;
  for (int i = 0; i < 3; ++i) saved_sizes.push_back(saved_elements(block, i));
  ConvNormStages stages(random, {expand, filter, project}, {block.activations.begin(), block.activations.end()},
                        saved_sizes);
  const SqueezeExcite gates =
      with_gates ? random_gates(random, filter.images, project.height * project.width, filter.out_channels)
                 : SqueezeExcite{};
  GateParameters parameters(random, gates);
  if (with_gates) result.geometry += words(gates);
  Floats kept_gates(gates.saved_size());

  const Doubles source = x.doubles();
  stages.append_stage(stages.append_stage(source));
  Doubles projected = stages.expected[1].y;  // the input of the projection
  bool kinks = false;
  if (with_gates) {
    const ExpectedGates expected = expected_gates(gates, parameters, projected, Doubles(projected.size(), 0.0));
    projected = expected.y, kinks = expected.kink;
  }
  Doubles output = stages.append_stage(projected);
  kinks |= stages.kinks;
  for (size_t k = 0; block.shortcut && k < output.size(); ++k) output[k] += x[k];
  const Floats dy = random.normal(project.output_size());
  Floats y(project.output_size()), dx(expand.input_size());
  const GatesForward forward{gates, parameters.layers(), kept_gates};
  const GatesBackward backward{gates, parameters.layers(), kept_gates, parameters.gradients()};
  inverted_residual(block, x, stages.weights.data(), stages.saved.data(), y, with_gates ? &forward : nullptr);
  inverted_residual_gradients(block, x, stages.weights.data(), stages.read.data(), dy, stages.gradients.data(), dx,
                              with_gates ? &backward : nullptr);
  // Values around 2 are usual; one case in 100 has more than 5, one in 10,000 more than 20.
  result.tolerance *= std::max(1.0, stages.amplification / 4.0);
  result.compare("y", y, output);
  // With few rows, variances and gradients are small differences of large numbers.
  if (kinks || project.output_pixels() < 16) return result;
  // Gradients pass all layers of the block, whose rounding errors add up: one block in 10,000 has more than 2e-6.
  // (Those of PaddlePaddle's operators in sequence are larger: 1.1 to 1.8 times in the median of 300 blocks without
  // gates, and up to 2.4 times in the 99th percentile of 1,500 blocks with gates.)
  result.tolerance *= 2.0;

  Doubles gradient = stages.compare_gradients(result, 2, projected, dy.doubles());
  if (with_gates) {
    const ExpectedGates expected = expected_gates(gates, parameters, stages.expected[1].y, gradient);
    expected.compare_gradients(result, parameters);
    gradient = expected.dx;
  }
  gradient = stages.compare_gradients(result, 1, stages.expected[0].y, gradient);
  gradient = stages.compare_gradients(result, 0, source, gradient);
  for (size_t k = 0; block.shortcut && k < gradient.size(); ++k) gradient[k] += dy[k];
  result.compare("dx", dx, gradient, 1.0);
  return result;
}

// ---- convolutions in sequence

// The first one can be of any kind, those after it are 1x1 or depthwise.
std::vector<ConvShape> random_sequence(Random& random) {
  std::vector<ConvShape> shapes;
  const Path first = random.chance(0.3) ? Path::kAny : random.chance(0.5) ? Path::kPointwise : Path::kDepthwise;
  ConvShape s = random_convolution(random, first);
  while (s.images < 1 || s.output_pixels() < 1) s = random_convolution(random, first);
  shapes.push_back(s);
  for (const int64_t count = random.integer(1, 4); static_cast<int64_t>(shapes.size()) < count;) {
    const bool filter = s.out_channels >= kLanes && random.chance(0.6);
    s = random_convolution(random, filter ? Path::kDepthwise : Path::kPointwise);
    const ConvShape& before = shapes.back();
    s.images = before.images, s.height = before.out_height(), s.width = before.out_width();
    s.channels = before.out_channels;
    if (filter) s.out_channels = s.groups = s.channels;
    if (s.out_height() < 1 || s.out_width() < 1 || products(s) > kMaxProducts) break;
    shapes.push_back(s);
  }
  return shapes;
}

Case conv_norm_sequence_case(Random& random) {
  ConvNormSequence sequence{random_sequence(random), {}};
  std::vector<int64_t> saved_sizes;
  Case result{""};
  const ConvShape &first = sequence.shapes.front(), &last = sequence.shapes.back();
  for (const ConvShape& shape : sequence.shapes) {
    sequence.activations.push_back(random.activation());
    saved_sizes.push_back(shape.output_size());
    result.geometry += words(shape) + words({{"activation", static_cast<int>(sequence.activations.back())}}) + "| ";
  }
  running += result.geometry;
  const bool has_dx = random.chance(0.8);
  const Floats x = random.normal(first.input_size()), dy = random.normal(last.output_size());
  ConvNormStages stages(random, sequence.shapes, sequence.activations, saved_sizes);
  const Doubles source = x.doubles();
  for (size_t i = 0; i < sequence.shapes.size(); ++i) {
    stages.append_stage(i == 0 ? source : Doubles(stages.expected[i - 1].y));
  }
  Floats y(last.output_size()), dx(first.input_size()), scratch(gradient_scratch_size(sequence));
  conv_norm_sequence(sequence, x, stages.weights.data(), stages.saved.data(), y);
  conv_norm_sequence_gradients(sequence, x, stages.weights.data(), stages.read.data(), dy, stages.gradients.data(),
                               has_dx ? dx.data() : nullptr, scratch);
  // Rounding errors of all stages add up. Norms amplify them: see inverted_residual_case. With one or two channels
  // between two stages, all channels of the second stage are nearly the same, and some sums cancel almost completely.
  result.tolerance *= std::max(1.0, static_cast<double>(sequence.shapes.size()) / 1.5);
  result.tolerance *= std::max(1.0, stages.amplification / 4.0);
  result.compare("y", y, stages.expected.back().y);
  if (stages.kinks || last.output_pixels() < 32 || stages.amplification > 20.0) return result;
  Doubles gradient = dy.doubles();
  for (size_t i = sequence.shapes.size(); i-- > 0;) {
    gradient = stages.compare_gradients(result, i, i == 0 ? source : stages.expected[i - 1].y, gradient);
  }
  if (has_dx) result.compare("dx", dx, gradient, 1.0);
  return result;
}

// ---- pooling

Case repvgg_case(Random& random) {
  ConvShape dense{};
  dense.images = random.integer(2, 4), dense.height = random.integer(3, 14), dense.width = random.integer(3, 14);
  dense.stride_h = dense.stride_w = random.integer(1, 2);
  dense.dilation_h = dense.dilation_w = dense.groups = 1;
  dense.kernel_h = dense.kernel_w = 3, dense.top = dense.bottom = dense.left = dense.right = 1;
  const bool identity = dense.stride_h == 1 && random.chance(0.6);
  dense.channels = random.chance(0.5) ? 16 * random.integer(1, 3) : random.integer(1, 40);
  dense.out_channels = identity ? dense.channels : random.integer(1, 40);
  ConvShape pointwise = dense;
  pointwise.kernel_h = pointwise.kernel_w = 1, pointwise.top = pointwise.bottom = pointwise.left = pointwise.right = 0;
  const bool needs_dx = random.chance(0.8);
  Case result{words(dense) + words({{"identity", identity}, {"needs_dx", needs_dx}})};

  const int64_t rows = dense.output_pixels(), out = dense.out_channels, size = rows * out;
  const size_t branches = identity ? 3 : 2;
  const float epsilon = 1e-5f;
  const Floats x = random.normal(dense.input_size());
  const ConvShape* shapes[] = {&dense, &pointwise};
  std::vector<Floats> w, gamma, beta, moving, mean, inverse, raw, dw, dgamma, dbeta;
  for (size_t i = 0; i < branches; ++i) {
    gamma.push_back(random.normal(out, 0.2f, 1.0f)), beta.push_back(random.normal(out, 0.2f, 0.2f));
    for (int k = 0; k < 2; ++k) moving.push_back(random.normal(out));
    mean.emplace_back(out), inverse.emplace_back(out), dgamma.emplace_back(out), dbeta.emplace_back(out);
    if (i == 2) continue;
    w.push_back(random.normal(shapes[i]->weight_size())), dw.emplace_back(shapes[i]->weight_size());
    raw.emplace_back(size);
  }
  RepVggWeights weights{w[0], w[1], {}};
  RepVggSaved<float> saved{raw[0], raw[1], {}, {}};
  RepVggSaved<const float> kept{raw[0], raw[1], {}, {}};
  RepVggGradients gradients{dw[0], dw[1], {}, {}};
  for (size_t i = 0; i < branches; ++i) {
    weights.norms.push_back({gamma[i], beta[i], moving[2 * i], moving[2 * i + 1], 0.9f, epsilon});
    saved.means.push_back(mean[i]), saved.inverse_stds.push_back(inverse[i]);
    kept.means.push_back(mean[i]), kept.inverse_stds.push_back(inverse[i]);
    gradients.gammas.push_back(dgamma[i]), gradients.betas.push_back(dbeta[i]);
  }

  std::vector<Doubles> hats, inverses;
  Doubles sum(size, 0.0);
  double amplification = 0.0;
  for (size_t i = 0; i < branches; ++i) {
    Doubles values = i == 2 ? x.doubles() : convolution(*shapes[i], x.doubles(), w[i].doubles(), {}, {}).y;
    const Norm batch = statistics_of(values, rows, out);
    inverses.emplace_back();
    for (int64_t c = 0; c < out; ++c) inverses[i].push_back(1.0 / std::sqrt(batch.variance[c] + epsilon));
    for (int64_t k = 0; k < size; ++k) {
      values[k] = (values[k] - batch.mean[k % out]) * inverses[i][k % out];
      sum[k] += values[k] * gamma[i][k % out] + beta[i][k % out];
    }
    if (i < 2) amplification = std::max(amplification, cancellation(*shapes[i], x.doubles(), w[i], inverses[i]));
    hats.push_back(values);
  }
  Floats y(size), dx(dense.input_size()), dy = random.normal(size);
  Doubles expected_y(size), masked(size);
  for (int64_t k = 0; k < size; ++k) {
    if (near_kink(Activation::kRelu, sum[k])) dy[k] = 0.0f;
    expected_y[k] = activated(Activation::kRelu, sum[k]), masked[k] = dy[k] * slope(Activation::kRelu, sum[k]);
  }
  const RepVggBlock block{dense, pointwise, identity};
  repvgg(block, x, weights, saved, y);
  repvgg_gradients(block, x, weights, kept, y, dy, gradients, needs_dx ? static_cast<float*>(dx) : nullptr);
  result.tolerance *= std::max(1.0, amplification / 4.0);
  result.compare("y", y, expected_y);
  if (rows < 16) return result;  // gradients are small differences of large numbers

  Doubles expected_dx(dense.input_size(), 0.0);
  double dx_size = 0.0;
  for (size_t i = 0; i < branches; ++i) {
    Doubles sums(out, 0.0), dots(out, 0.0), squares(out, 0.0), draw(size);
    for (int64_t k = 0; k < size; ++k) {
      sums[k % out] += masked[k], dots[k % out] += masked[k] * hats[i][k], squares[k % out] += masked[k] * masked[k];
    }
    const double norm_size = largest_root(squares);
    for (int64_t k = 0; k < size; ++k) {
      const int64_t c = k % out;
      draw[k] = gamma[i][c] * inverses[i][c] * (masked[k] - sums[c] / rows - hats[i][k] * dots[c] / rows);
    }
    const std::string name = "of branch " + std::to_string(i);
    result.compare(("dgamma " + name).c_str(), dgamma[i], dots, norm_size);
    result.compare(("dbeta " + name).c_str(), dbeta[i], sums, norm_size);
    if (i < 2) {
      const Convolution back = convolution(*shapes[i], x.doubles(), w[i].doubles(), {}, draw);
      result.compare(("dw " + name).c_str(), dw[i], back.dw, back.dw_size);
      draw = back.dx, dx_size += back.dx_size;
    }
    for (int64_t k = 0; k < dense.input_size(); ++k) expected_dx[k] += draw[k];
  }
  if (needs_dx) result.compare("dx", dx, expected_dx, dx_size);
  return result;
}

Case pool_case(Random& random) {
  PoolShape s{};
  s.images = random.chance(0.02) ? 0 : random.integer(1, 3);
  s.height = random.integer(1, 12), s.width = random.integer(1, 12), s.channels = random.integer(1, 40);
  std::string geometry;
  const bool adaptive = random.chance(0.2), inclusive = random.chance(0.5);
  if (adaptive) {
    s.vertical = adaptive_windows(s.height, random.integer(1, 8));
    s.horizontal = adaptive_windows(s.width, random.integer(1, 8));
    geometry = "adaptive ";
  } else {
    const bool ceil_mode = random.chance(0.5);
    const auto windows = [&](int64_t size) {
      const int64_t kernel = random.integer(1, 6), stride = random.integer(1, 4);
      const int64_t before = random.integer(0, kernel + 1), after = random.integer(0, kernel + 1);
      geometry += words({{"kernel", kernel}, {"stride", stride}, {"before", before}, {"after", after}});
      return sliding_windows(size, kernel, stride, before, after, ceil_mode);
    };
    s.vertical = windows(s.height), s.horizontal = windows(s.width);
    geometry += words({{"ceil_mode", ceil_mode}});
  }
  Case result{geometry + words({{"images", s.images},
                                {"height", s.height},
                                {"width", s.width},
                                {"channels", s.channels},
                                {"inclusive", inclusive}})};
  const int64_t rows = s.vertical.begin.size(), columns = s.horizontal.begin.size(), in = s.height * s.width;
  const int64_t size = s.images * rows * columns * s.channels, source = s.images * in * s.channels;
  const Floats x = random.normal(source), dy = random.normal(size);
  Doubles most(size), means(size), dmost(source, 0.0), dmeans(source, 0.0);
  for (int64_t k = 0; k < size; ++k) {
    const int64_t c = k % s.channels, j = k / s.channels % columns, i = k / s.channels / columns % rows;
    const int64_t n = k / s.channels / columns / rows;
    const int64_t top = s.vertical.begin[i], bottom = s.vertical.end[i];
    const int64_t left = s.horizontal.begin[j], right = s.horizontal.end[j];
    const double divisor = inclusive ? s.vertical.span[i] * s.horizontal.span[j] : (bottom - top) * (right - left);
    double sum = 0.0, best = std::numeric_limits<float>::lowest();
    int64_t place = -1;
    for (int64_t h = top; h < bottom; ++h)
      for (int64_t v = left; v < right; ++v) {
        const int64_t from = ((n * s.height + h) * s.width + v) * s.channels + c;
        sum += x[from], dmeans[from] += dy[k] / divisor;
        if (x[from] > best) best = x[from], place = from;
      }
    most[k] = best, means[k] = sum / divisor;
    if (place >= 0) dmost[place] += dy[k];
  }
  Floats y(size), dx(source);
  std::vector<uint8_t> indices(size);
  max_pool(s, x, y, indices.data());
  max_pool_gradient(s, dy, indices.data(), dx);
  for (int64_t k = 0; k < size; ++k) {
    if (y[k] != static_cast<float>(most[k])) result.fail("a maximum differs");
  }
  result.compare("dx of the maximum", dx, dmost);
  std::fill_n(static_cast<float*>(dx), source, std::nanf(""));
  average_pool(s, inclusive, x, y);
  average_pool_gradient(s, inclusive, dy, dx);
  result.compare("mean", y, means);
  result.compare("dx of the mean", dx, dmeans);
  return result;
}

// ---- other kernels

Case linear_case(Random& random) {
  const auto size = [&](int64_t most) { return random.chance(0.03) ? 0 : random.integer(1, most); };
  const int64_t rows = size(70), in = size(random.chance(0.1) ? 2000 : 150), out = size(90);
  const bool biased = random.chance(0.7), needs_dx = random.chance(0.8);
  Case result{words({{"rows", rows}, {"in", in}, {"out", out}, {"bias", biased}, {"dx", needs_dx}})};
  const Floats x = random.normal(rows * in), w = random.normal(in * out), b = random.normal(biased ? out : 0);
  const Floats dy = random.normal(rows * out);
  Doubles y(rows * out, 0.0), dx(rows * in, 0.0), dw(in * out, 0.0), db(out, 0.0);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t o = 0; o < out; ++o) {
      const double gradient = dy[i * out + o];
      y[i * out + o] = biased ? b[o] : 0.0;
      db[o] += gradient;
      for (int64_t k = 0; k < in; ++k) {
        y[i * out + o] += static_cast<double>(x[i * in + k]) * w[k * out + o];
        dx[i * in + k] += gradient * w[k * out + o];
        dw[k * out + o] += gradient * x[i * in + k];
      }
    }
  Floats found(rows * out), to_x(rows * in), to_w(in * out), to_b(out);
  linear(x, w, biased ? static_cast<const float*>(b) : nullptr, rows, in, out, found);
  linear_gradient(x, w, dy, rows, in, out, needs_dx ? static_cast<float*>(to_x) : nullptr, to_w,
                  biased ? static_cast<float*>(to_b) : nullptr);
  result.compare("y", found, y);
  if (needs_dx) result.compare("dx", to_x, dx);
  result.compare("dw", to_w, dw);
  if (biased) result.compare("db", to_b, db, std::sqrt(static_cast<double>(rows)));
  return result;
}

Case elementwise_case(Random& random) {
  const int64_t images = random.chance(0.03) ? 0 : random.integer(1, 4);
  const int64_t pixels = random.integer(1, random.chance(0.1) ? 2000 : 100), channels = random.integer(1, 60);
  const int64_t size = images * pixels * channels;
  const Activation activation = random.activation();
  const bool summed = random.chance(0.5), shuffled = random.chance(0.5);
  Case result{words({{"images", images},
                     {"pixels", pixels},
                     {"channels", channels},
                     {"summed", summed},
                     {"shuffled", shuffled},
                     {"activation", static_cast<int>(activation)}})};
  const float scale = random.chance(0.2) ? 30.0f : 2.0f;
  const Floats x = random.normal(size, scale), z = random.normal(summed ? size : 0);
  const Floats gate = random.normal(images * channels);
  Floats y(size), dx(size), dgate(images * channels), turned(size), dy = random.normal(size);
  const float* term = summed ? static_cast<const float*>(z) : nullptr;
  Doubles activations(size), slopes(size), gated(size), dgated(size), dgates(images * channels, 0.0),
      squares(images * channels, 0.0), swapped(size);
  for (int64_t i = 0; i < size; ++i) {
    const double t = summed ? x[i] + z[i] : x[i];
    if (near_kink(activation, t)) dy[i] = 0.0f;
    const int64_t image = i / channels / pixels, pixel = i / channels % pixels, c = i % channels;
    activations[i] = activated(activation, t), slopes[i] = dy[i] * slope(activation, t);
    gated[i] = static_cast<double>(x[i]) * gate[image * channels + c];
    dgated[i] = static_cast<double>(dy[i]) * gate[image * channels + c];
    const double product = static_cast<double>(dy[i]) * x[i];
    dgates[image * channels + c] += product;
    squares[image * channels + c] += product * product;
    swapped[(image * channels + c) * pixels + pixel] = x[i];
  }
  add_activate<float>(x, term, activation, size, y);
  result.compare("activation", y, activations);
  add_activate_gradient<float>(x, term, dy, activation, size, dx, nullptr);
  result.compare("slope", dx, slopes);
  scale_channels(x, gate, images, pixels, channels, y);
  result.compare("gated", y, gated);
  scale_channels_gradient(x, gate, dy, images, pixels, channels, dx, dgate);
  result.compare("dx of the gate", dx, dgated);
  // The size of a sum of independent terms of either sign, as sums can cancel.
  const double dgate_scale = largest_root(squares);
  result.compare("dgate", dgate, dgates, dgate_scale);
  transpose(x, images, pixels, channels, turned);
  result.compare("transposed", turned, swapped);

  std::vector<Floats> parts, copies;
  std::vector<int64_t> widths;
  std::vector<const float*> from;
  std::vector<float*> to;
  const int64_t count = random.integer(1, 4), common = random.integer(1, 20);
  int64_t all = 0;
  for (int64_t i = 0; i < count; ++i) {
    widths.push_back(shuffled ? common : random.integer(1, 20));
    all += widths[i];
    parts.push_back(random.normal(images * pixels * widths[i])), copies.emplace_back(images * pixels * widths[i]);
  }
  for (int64_t i = 0; i < count; ++i) from.push_back(parts[i]), to.push_back(copies[i]);
  Floats joined(images * pixels * all);
  concat_channels<float>(from, widths, images * pixels, shuffled, joined);
  for (int64_t pixel = 0; pixel < images * pixels; ++pixel) {
    int64_t start = 0;
    for (int64_t i = 0; i < count; start += widths[i++])
      for (int64_t c = 0; c < widths[i]; ++c) {
        const int64_t place = shuffled ? c * count + i : start + c;
        if (joined[pixel * all + place] != parts[i][pixel * widths[i] + c]) result.fail("a concatenated value differs");
      }
  }
  split_channels<float>(joined, widths, images * pixels, shuffled, to);
  for (int64_t i = 0; i < count; ++i) result.compare("part", copies[i], parts[i].doubles());
  return result;
}

Case optimizer_case(Random& random) {
  const int64_t count = random.integer(1, 6);
  const float mu = 0.9f, keep = 0.99f;
  const bool nesterov = random.chance(0.5);
  Case result{words({{"tensors", count}, {"nesterov", nesterov}})};
  std::vector<Floats> parameters, velocities, gradients;
  std::vector<MomentumTensor> parts;
  std::vector<int64_t> counts;
  std::vector<float*> to;
  std::vector<const float*> from;
  std::vector<Doubles> stepped;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t size = random.integer(0, random.chance(0.2) ? 40000 : 300);
    const float rate = 0.1f, decay = random.chance(0.5) ? 0.01f : 0.0f;
    parameters.push_back(random.normal(size)), velocities.push_back(random.normal(size));
    gradients.push_back(random.normal(size));
    counts.push_back(size);
    parts.push_back({parameters[i], velocities[i], gradients[i], size, rate, decay});
    Doubles expected(size);
    for (int64_t k = 0; k < size; ++k) {
      const double step = gradients[i][k] + static_cast<double>(decay) * parameters[i][k];
      const double next = static_cast<double>(mu) * velocities[i][k] + step;
      expected[k] = parameters[i][k] - static_cast<double>(rate) * (nesterov ? step + mu * next : next);
    }
    stepped.push_back(expected);
  }
  momentum_step(parts, mu, nesterov);
  for (int64_t i = 0; i < count; ++i) {
    result.compare("parameter", parameters[i], stepped[i], 1.0);  // a step can leave a small difference
    to.push_back(velocities[i]), from.push_back(gradients[i]);
    for (int64_t k = 0; k < counts[i]; ++k) {
      stepped[i][k] = static_cast<double>(keep) * velocities[i][k] + (1.0 - keep) * gradients[i][k];
    }
  }
  update_ema(to, from, counts, keep, 1.0f - keep);
  for (int64_t i = 0; i < count; ++i) result.compare("average", velocities[i], stepped[i]);
  if (!all_finite(from, counts)) result.fail("finite values are reported as not finite");
  const int64_t chosen = random.integer(0, count - 1);
  if (counts[chosen] > 0) {
    gradients[chosen][random.integer(0, counts[chosen] - 1)] = random.chance(0.5) ? std::nanf("") : HUGE_VALF;
    if (all_finite(from, counts)) result.fail("a non-finite value is not detected");
  }
  return result;
}

// ---- bfloat16: against the float32 kernels on the same values

// An allocation of exactly `count` bfloat16 values.
class Halves {
 public:
  explicit Halves(int64_t count) : count_(count), data_(static_cast<Bfloat16*>(std::malloc(sizeof(Bfloat16) * count))) {
    std::fill_n(data_, count, Bfloat16{0x7fc0});  // NaN
  }
  explicit Halves(const Floats& values) : Halves(values.size()) { round_values(values.data(), count_, data_); }
  Halves(Halves&& other) noexcept : count_(other.count_), data_(other.data_) { other.data_ = nullptr; }
  Halves(const Halves&) = delete;
  ~Halves() { std::free(data_); }
  Bfloat16* data() { return data_; }
  const Bfloat16* data() const { return data_; }
  Floats floats() const {
    Floats values(count_);
    widen_values(data_, count_, values.data());
    return values;
  }

 private:
  int64_t count_;
  Bfloat16* data_;
};

constexpr double kHalfTolerance = 1.0 / 128;

Case bfloat16_convolve_case(Random& random) {
  const ConvShape s = random_convolution(random, Path::kAny);
  const bool adding = random.chance(0.3), biased = random.chance(0.3);
  Case result{words(s) + words({{"add", adding}, {"bias", biased}})};
  result.tolerance = kHalfTolerance;
  const Halves x(random.normal(s.input_size())), dy(random.normal(s.output_size()));
  const Floats offsets = random.normal(s.out_channels);
  const float* bias = biased ? offsets.data() : nullptr;
  const Floats w = Halves(random.normal(s.weight_size())).floats();
  Floats y(s.output_size()), dx(s.input_size()), dw = random.normal(s.weight_size()), expected_dw(s.weight_size());
  std::copy_n(dw.data(), dw.size(), expected_dw.data());
  convolve(s, x.floats(), w, bias, y);
  convolve_input_gradient(s, w, dy.floats(), dx);
  convolve_weight_gradient(s, x.floats(), dy.floats(), adding, expected_dw);
  Halves found_y(s.output_size()), found_dx(s.input_size());
  convolve(s, x.data(), w, bias, found_y.data());
  convolve_input_gradient(s, w, dy.data(), found_dx.data());
  convolve_weight_gradient(s, x.data(), dy.data(), adding, dw);
  result.compare("y", found_y.floats(), y.doubles());
  result.compare("dx", found_dx.floats(), dx.doubles());
  result.compare("dw", dw, expected_dw.doubles());
  return result;
}

Case bfloat16_norm_case(Random& random) {
  const int64_t channels = random.integer(1, 80), rows = random.integer(8, 4000 / channels + 9);
  const bool residual = random.chance(0.4);
  const Activation activation = residual ? static_cast<Activation>(random.integer(0, 1)) : random.activation();
  Case result{words(
      {{"rows", rows}, {"channels", channels}, {"residual", residual}, {"activation", static_cast<int>(activation)}})};
  result.tolerance = kHalfTolerance;
  const int64_t size = rows * channels;
  const Halves x(random.normal(size, 2.0f, 1.0f)), z(random.normal(size)), dy(random.normal(size));
  const Floats gamma = random.normal(channels), beta = random.normal(channels), exact = x.floats();
  Floats mean(channels), inverse(channels), running_mean(channels, 0.0f), running_variance(channels, 1.0f);
  Moments moments(channels, x.data(), rows);
  moments.add(x.data(), rows);
  Halves y(size), dx(size), dz(size);
  finalize_statistics(moments.statistics(), {gamma, beta, running_mean, running_variance, 0.9f, 1e-5f}, activation,
                      mean, inverse)
      .apply(x.data(), residual ? z.data() : nullptr, rows, y.data());
  Floats expected_y(size), expected_dx(size), expected_dz(size), dgamma(channels), dbeta(channels);
  Floats expected_dgamma(channels), expected_dbeta(channels);
  const Floats exact_z = z.floats(), exact_dy = dy.floats(), rounded_y = y.floats();
  NormGradient gradient(channels, rows, gamma, beta, mean, inverse),
      expected(channels, rows, gamma, beta, mean, inverse);
  expected.normalizer(activation).apply(exact.data(), residual ? exact_z.data() : nullptr, rows, expected_y.data());
  gradient.add(x.data(), residual ? y.data() : nullptr, dy.data(), activation, residual ? dz.data() : nullptr);
  expected.add(exact.data(), residual ? rounded_y.data() : nullptr, exact_dy.data(), activation,
               residual ? expected_dz.data() : nullptr);
  gradient.finish(dgamma, dbeta);
  expected.finish(expected_dgamma, expected_dbeta);
  const Activation second = residual ? Activation::kNone : activation;
  gradient.apply(x.data(), static_cast<const Bfloat16*>((residual ? dz : dy).data()), second, rows, dx.data());
  expected.apply(exact.data(), (residual ? expected_dz : exact_dy).data(), second, rows, expected_dx.data());
  result.compare("y", y.floats(), expected_y.doubles());
  result.compare("dx", dx.floats(), expected_dx.doubles());
  if (residual) result.compare("dz", dz.floats(), expected_dz.doubles());
  result.tolerance = kTolerance;
  result.compare("dgamma", dgamma, expected_dgamma.doubles());
  result.compare("dbeta", dbeta, expected_dbeta.doubles());
  return result;
}

// A depthwise convolution between two norms: the input is normalized, and the output's gradient is that of a norm.
Case bfloat16_depthwise_case(Random& random) {
  const ConvShape s = random_convolution(random, Path::kDepthwise);
  const bool normed = random.chance(0.7), adding = random.chance(0.3);
  const Activation before = random.activation(), after = random.activation();
  Case result{words(s) + words({{"normed", normed},
                                {"add", adding},
                                {"before", static_cast<int>(before)},
                                {"after", static_cast<int>(after)}})};
  result.tolerance = kHalfTolerance;
  const int64_t channels = s.channels, rows = s.input_pixels(), outputs = s.output_pixels();
  const Halves x(random.normal(s.input_size())), raw(random.normal(s.output_size())),
      dy(random.normal(s.output_size()));
  const Floats w = random.normal(s.weight_size()), exact = x.floats(), exact_raw = raw.floats(), exact_dy = dy.floats();
  const Floats gamma = random.normal(channels), beta = random.normal(channels), mean = random.normal(channels);
  const Floats inverse(channels, 0.7f);
  const Normalizer norm(channels, gamma, beta, before);
  Floats input(s.input_size()), y(s.output_size()), dx(s.input_size()), dw = random.normal(s.weight_size());
  Floats expected_dw(s.weight_size()), draw(s.output_size()), dgamma(channels), dbeta(channels);
  std::copy_n(dw.data(), dw.size(), expected_dw.data());
  std::copy_n(exact.data(), exact.size(), input.data());
  if (normed) norm.apply(exact.data(), nullptr, rows, input.data());

  NormGradient second(channels, outputs, gamma, beta, mean, inverse);
  second.add(raw.data(), nullptr, dy.data(), after, nullptr);
  second.finish(dgamma, dbeta);
  second.apply(exact_raw.data(), exact_dy.data(), after, outputs, draw.data());
  depthwise_convolve(s, input, w, nullptr, y);
  depthwise_input_gradient(s, w, draw, dx);
  depthwise_weight_gradient(s, input, draw, adding, expected_dw);

  Halves found(s.output_size()), gradient(s.input_size());
  const Bfloat16Input from{x.data(), normed ? &norm : nullptr};
  const Statistics statistics = bfloat16_depthwise_statistics(s, from, w, found.data());
  const Floats rounded = found.floats();
  if (outputs > 0) compare_statistics(result, statistics, statistics_of(rounded.doubles(), outputs, channels));
  result.compare("y", rounded, y.doubles());
  const Bfloat16OutputGradient output{dy.data(), &second, after, raw.data()};
  bfloat16_depthwise_gradients(s, from, w, output, {gradient.data(), dw, adding});
  result.compare("dx", gradient.floats(), dx.doubles());
  result.compare("dw", dw, expected_dw.doubles());

  // The same with the first pass over the norm of the input.
  NormGradient first(channels, rows, gamma, beta, mean, inverse), expected(channels, rows, gamma, beta, mean, inverse);
  Floats masked(s.input_size()), expected_dgamma(channels), expected_dbeta(channels), sizes(channels, 0.0f);
  bfloat16_depthwise_gradients(s, from, w, output, {gradient.data(), nullptr, false, &first, before});
  expected.add(exact.data(), nullptr, dx.data(), before, masked.data());
  first.finish(dgamma, dbeta);
  expected.finish(expected_dgamma, expected_dbeta);
  result.compare("masked", gradient.floats(), masked.doubles());
  Doubles squares(channels, 0.0), products(channels, 0.0);
  for (int64_t k = 0; k < s.input_size(); ++k) {
    const double f = masked[k], product = f * (exact[k] - mean[k % channels]);
    squares[k % channels] += f * f, products[k % channels] += product * product;
  }
  result.compare("dgamma", dgamma, expected_dgamma.doubles(), largest_root(products));
  result.compare("dbeta", dbeta, expected_dbeta.doubles(), largest_root(squares));
  return result;
}

// Outputs are compared with the float32 kernel; gradients only without a discontinuity, which rounding can cross.
Case bfloat16_inverted_residual_case(Random& random) {
  InvertedResidual block = random_block(random);
  const auto& [expand, filter, project] = block.shapes;
  const bool smooth = random.chance(0.5);
  const auto activation = [&] { return smooth ? Activation::kSwish : random.activation(); };
  block.activations = {activation(), activation(), Activation::kNone};
  const bool has_dx = random.chance(0.8);
  Case result{words(expand) + "| " + words(filter) +
              words({{"projected", project.out_channels}, {"shortcut", block.shortcut}, {"smooth", smooth}})};
  result.tolerance = 0.1;  // of the largest value: three roundings, and norms of few values that amplify them

  const Halves x(random.normal(expand.input_size())), dy(random.normal(project.output_size()));
  const Floats exact = x.floats(), exact_dy = dy.floats();
  std::vector<Floats> w, gamma, beta, moving, kept, mean, inverse, dw, dgamma, dbeta, other;
  std::vector<std::unique_ptr<Halves>> halves;
  std::vector<StageWeights> stages;
  std::vector<SavedStage<float>> saved;
  std::vector<SavedStage<const float>> read;
  std::vector<Bfloat16StageToSave> half_saved;
  std::vector<Bfloat16StageToRead> half_read;
  std::vector<StageGradient> gradients, expected;
  for (int i = 0; i < 3; ++i) {
    const ConvShape& s = block.shapes[i];
    w.push_back(Halves(random.normal(s.weight_size())).floats());
    gamma.push_back(random.normal(s.out_channels, 0.2f, 1.0f)), beta.push_back(random.normal(s.out_channels));
    for (int k = 0; k < 2; ++k) {
      moving.push_back(random.normal(s.out_channels));
      mean.emplace_back(s.out_channels), inverse.emplace_back(s.out_channels);
      dw.emplace_back(s.weight_size()), dgamma.emplace_back(s.out_channels), dbeta.emplace_back(s.out_channels);
    }
    kept.emplace_back(saved_elements(block, i));
    halves.push_back(std::make_unique<Halves>(bfloat16_saved_elements(block, i)));
  }
  for (int i = 0; i < 3; ++i) {
    stages.push_back({w[i], {gamma[i], beta[i], moving[2 * i], moving[2 * i + 1], 0.9f, 1e-2f}});
    saved.push_back({kept[i], mean[2 * i], inverse[2 * i]});
    read.push_back({kept[i], mean[2 * i], inverse[2 * i]});
    half_saved.push_back({halves[i]->data(), mean[2 * i + 1], inverse[2 * i + 1]});
    half_read.push_back({halves[i]->data(), mean[2 * i + 1], inverse[2 * i + 1]});
    expected.push_back({dw[2 * i], dgamma[2 * i], dbeta[2 * i]});
    gradients.push_back({dw[2 * i + 1], dgamma[2 * i + 1], dbeta[2 * i + 1]});
  }
  Floats y(project.output_size()), dx(expand.input_size());
  Halves found(project.output_size()), gradient(expand.input_size());
  inverted_residual(block, exact, stages.data(), saved.data(), y);
  inverted_residual_gradients(block, exact, stages.data(), read.data(), exact_dy, expected.data(), dx);
  bfloat16_inverted_residual(block, x.data(), stages.data(), half_saved.data(), found.data());
  bfloat16_inverted_residual_gradients(block, x.data(), stages.data(), half_read.data(), dy.data(), gradients.data(),
                                       has_dx ? gradient.data() : nullptr);
  result.compare("y", found.floats(), y.doubles());
  if (!smooth) return result;
  if (has_dx) result.compare("dx", gradient.floats(), dx.doubles());
  for (int i = 0; i < 3; ++i) {
    // The norm cancels the scale of the weights, so that few weights have a gradient of zero except for rounding.
    const bool few = block.shapes[i].weight_size() < 4 * block.shapes[i].out_channels;
    if (!few) result.compare("dw", dw[2 * i + 1], dw[2 * i].doubles());
  }
  return result;
}

Case bfloat16_pool_case(Random& random) {
  PoolShape s{};
  s.images = random.integer(1, 3), s.height = random.integer(1, 12), s.width = random.integer(1, 12);
  s.channels = random.integer(1, 40);
  // No window is empty, as its maximum has no value in bfloat16.
  const int64_t kernel = random.integer(1, std::min<int64_t>({5, s.height, s.width}));
  const int64_t stride = random.integer(1, 4), padding = random.integer(0, kernel - 1);
  Case result{words({{"kernel", kernel},
                     {"stride", stride},
                     {"padding", padding},
                     {"images", s.images},
                     {"height", s.height},
                     {"width", s.width},
                     {"channels", s.channels}})};
  result.tolerance = kHalfTolerance;
  s.vertical = sliding_windows(s.height, kernel, stride, padding, padding, false);
  s.horizontal = sliding_windows(s.width, kernel, stride, padding, padding, false);
  const int64_t source = s.images * s.height * s.width * s.channels;
  const int64_t size = s.images * s.vertical.begin.size() * s.horizontal.begin.size() * s.channels;
  const Halves x(random.normal(source)), dy(random.normal(size));
  const Floats exact = x.floats(), exact_dy = dy.floats();
  Floats y(size), dx(source);
  Halves found(size), gradient(source);
  std::vector<uint8_t> indices(size), expected_indices(size);
  max_pool(s, exact, y, expected_indices.data());
  max_pool_gradient(s, exact_dy, expected_indices.data(), dx);
  bfloat16_max_pool(s, x.data(), found.data(), indices.data());
  bfloat16_max_pool_gradient(s, dy.data(), indices.data(), gradient.data());
  if (indices != expected_indices) result.fail("the index of a maximum differs");
  result.compare("maximum", found.floats(), y.doubles());
  result.compare("dx of the maximum", gradient.floats(), dx.doubles());
  const bool inclusive = random.chance(0.5);
  average_pool(s, inclusive, exact, y);
  average_pool_gradient(s, inclusive, exact_dy, dx);
  bfloat16_average_pool(s, inclusive, x.data(), found.data());
  bfloat16_average_pool_gradient(s, inclusive, dy.data(), gradient.data());
  result.compare("mean", found.floats(), y.doubles());
  result.compare("dx of the mean", gradient.floats(), dx.doubles());
  return result;
}

Case bfloat16_sum_case(Random& random) {
  const Activation activation = random.activation();
  const int64_t size = random.integer(1, 300);
  const bool summed = random.chance(0.5);
  Case result{words({{"size", size}, {"summed", summed}, {"activation", static_cast<int64_t>(activation)}})};
  result.tolerance = kHalfTolerance;
  const Halves x(random.normal(size)), z(random.normal(size)), dy(random.normal(size));
  Floats y(size), dx(size);
  Halves found(size), first(size), second(size);
  const Floats term = z.floats();
  add_activate<float>(x.floats(), summed ? term.data() : nullptr, activation, size, y);
  add_activate_gradient<float>(x.floats(), summed ? term.data() : nullptr, dy.floats(), activation, size, dx, nullptr);
  add_activate(x.data(), summed ? z.data() : nullptr, activation, size, found.data());
  add_activate_gradient(x.data(), summed ? z.data() : nullptr, dy.data(), activation, size, first.data(),
                        summed ? second.data() : nullptr);
  result.compare("y", found.floats(), y.doubles());
  result.compare("dx", first.floats(), dx.doubles());
  if (summed) result.compare("dz", second.floats(), dx.doubles());
  return result;
}

Case bfloat16_affine_case(Random& random) {
  const int64_t size = random.integer(1, random.chance(0.1) ? 50000 : 600);
  const float multiplier = random.normal(1)[0], addend = random.normal(1)[0];
  Case result{words({{"size", size}})};
  result.tolerance = kHalfTolerance;
  const Halves x(random.normal(size)), dy(random.normal(size));
  Floats y(size), dx(size), numbers(2), found_numbers(2);
  Halves found(size), gradient(size);
  affine<float>(x.floats(), multiplier, addend, size, y);
  affine_gradient<float>(x.floats(), dy.floats(), multiplier, size, dx, numbers, numbers + 1);
  affine(x.data(), multiplier, addend, size, found.data());
  affine_gradient(x.data(), dy.data(), multiplier, size, gradient.data(), found_numbers.data(),
                  found_numbers.data() + 1);
  result.compare("y", found.floats(), y.doubles());
  result.compare("dx", gradient.floats(), dx.doubles());
  result.compare("numbers", found_numbers, numbers.doubles());
  return result;
}

Case scaled_sum_case(Random& random) {
  const int64_t images = random.integer(1, 5), pixels = random.integer(1, random.chance(0.1) ? 5000 : 200);
  const int64_t size = images * pixels;
  Case result{words({{"images", images}, {"size", pixels}})};
  const Halves x(random.normal(size)), z(random.normal(size));
  const Floats factors = random.normal(images), exact_x = x.floats(), exact_z = z.floats();
  Doubles sums(size), products(size);
  for (int64_t i = 0; i < size; ++i) {
    products[i] = static_cast<double>(factors[i / pixels]) * exact_z[i];
    sums[i] = exact_x[i] + products[i];
  }
  Floats sum(size), copy(size), product(size);
  add_scaled<float>(exact_x, exact_z, factors, images, pixels, sum);
  add_scaled_gradient<float>(exact_z, factors, images, pixels, copy, product);
  result.compare("sum", sum, sums);
  result.compare("copy", copy, exact_z.doubles());
  result.compare("product", product, products);
  Halves rounded_sum(size), rounded_copy(size), rounded_product(size);
  add_scaled(x.data(), z.data(), factors, images, pixels, rounded_sum.data());
  add_scaled_gradient(z.data(), factors, images, pixels, rounded_copy.data(), rounded_product.data());
  result.tolerance = kHalfTolerance;
  result.compare("sum in bfloat16", rounded_sum.floats(), sums);
  result.compare("copy in bfloat16", rounded_copy.floats(), exact_z.doubles());
  result.compare("product in bfloat16", rounded_product.floats(), products);
  return result;
}

Case bfloat16_concat_case(Random& random) {
  const int64_t pixels = random.integer(1, 100), count = random.integer(1, 4), common = random.integer(1, 70);
  const bool shuffled = random.chance(0.5);
  Case result{words({{"pixels", pixels}, {"parts", count}, {"common", common}, {"shuffled", shuffled}})};
  std::vector<Halves> parts, copies;
  std::vector<int64_t> widths;
  std::vector<const Bfloat16*> from;
  std::vector<Bfloat16*> to;
  int64_t all = 0;
  for (int64_t i = 0; i < count; ++i) {
    widths.push_back(shuffled ? common : random.integer(1, 70));
    all += widths[i];
    parts.emplace_back(random.normal(pixels * widths[i])), copies.emplace_back(pixels * widths[i]);
  }
  for (int64_t i = 0; i < count; ++i) from.push_back(parts[i].data()), to.push_back(copies[i].data());
  Halves joined(pixels * all);
  concat_channels(from, widths, pixels, shuffled, joined.data());
  const Floats found = joined.floats();
  for (int64_t i = 0, start = 0; i < count; start += widths[i++]) {
    const Floats part = parts[i].floats();
    for (int64_t k = 0; k < part.size(); ++k) {
      const int64_t pixel = k / widths[i], c = k % widths[i];
      const int64_t place = shuffled ? c * count + i : start + c;
      if (found[pixel * all + place] != part[k]) result.fail("a concatenated value differs");
    }
  }
  split_channels<Bfloat16>(joined.data(), widths, pixels, shuffled, to);
  for (int64_t i = 0; i < count; ++i) {
    const Floats part = parts[i].floats();
    result.compare("part", copies[i].floats(), part.doubles());
  }
  return result;
}

Case bfloat16_squeeze_excite_case(Random& random) {
  const SqueezeExcite block = random_gates(random, random.integer(1, 4), random.integer(1, 60), random.integer(1, 70));
  Case result{words({{"images", block.images}, {"channels", block.channels}}) + words(block)};
  result.tolerance = kHalfTolerance;
  const int64_t size = block.images * block.pixels * block.channels;
  const Halves x(random.normal(size, 1.0f, 0.3f)), dy(random.normal(size));
  GateParameters parameters(random, block);
  Floats saved(block.saved_size()), found_saved(block.saved_size()), y(size), dx(size);
  Halves found(size), gradient(size);
  squeeze_excite<float>(block, x.floats(), parameters.layers(), saved, y);
  squeeze_excite_gradients<float>(block, x.floats(), parameters.layers(), saved, dy.floats(), parameters.gradients(),
                                  dx);
  squeeze_excite(block, x.data(), parameters.layers(), found_saved, found.data());
  squeeze_excite_gradients(block, x.data(), parameters.layers(), found_saved, dy.data(), parameters.gradients(),
                           gradient.data());
  result.compare("saved values", found_saved, saved.doubles());
  result.compare("y", found.floats(), y.doubles());
  result.compare("dx", gradient.floats(), dx.doubles());
  return result;
}

const std::vector<std::pair<std::string, std::function<Case(Random&)>>> kKinds = {
    {"convolve", [](Random& random) { return convolve_case(random, Path::kAny); }},
    {"pointwise", [](Random& random) { return convolve_case(random, Path::kPointwise); }},
    {"depthwise", [](Random& random) { return convolve_case(random, Path::kDepthwise); }},
    {"winograd", [](Random& random) { return convolve_case(random, Path::kWinograd); }},
    {"statistics", statistics_case},
    {"norm", norm_case},
    {"convolve_statistics", convolve_statistics_case},
    {"convolve_norm", convolve_norm_case},
    {"covariance", covariance_case},
    {"inverted_residual", [](Random& random) { return inverted_residual_case(random, false); }},
    {"inverted_residual_se", [](Random& random) { return inverted_residual_case(random, true); }},
    {"conv_norm_sequence", conv_norm_sequence_case},
    {"repvgg", repvgg_case},
    {"pool", pool_case},
    {"linear", linear_case},
    {"elementwise", elementwise_case},
    {"optimizer", optimizer_case},
    {"affine", affine_case},
    {"squeeze_excite", squeeze_excite_case},
    {"bfloat16_norm", bfloat16_norm_case},
    {"bfloat16_pool", bfloat16_pool_case},
    {"bfloat16_sum", bfloat16_sum_case},
    {"scaled_sum", scaled_sum_case},
    {"bfloat16_affine", bfloat16_affine_case},
    {"bfloat16_concat", bfloat16_concat_case},
    {"bfloat16_squeeze_excite", bfloat16_squeeze_excite_case},
    {"bfloat16_depthwise", bfloat16_depthwise_case},
#ifdef __AVX512BF16__  // these convolve through oneDNN, which computes bfloat16 only on a processor with AVX-512
    {"bfloat16_convolve", bfloat16_convolve_case},
    {"bfloat16_inverted_residual", bfloat16_inverted_residual_case},
#endif
};

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) {
    std::fprintf(stderr, "usage: %s SEED CASES [KIND]\n", arguments[0]);
    return 2;
  }
  const uint64_t seed = std::strtoull(arguments[1], nullptr, 10), cases = std::strtoull(arguments[2], nullptr, 10);
  const std::string only = count > 3 ? arguments[3] : "";
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_set_death_callback(print_running);
#endif
  uint64_t failed = 0;
  for (size_t kind = 0; kind < kKinds.size(); ++kind) {
    const auto& [name, run] = kKinds[kind];
    if (!only.empty() && only != name) continue;
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < cases; ++i) {
      Random random((seed * 1000003 + kind) * 1000003 + i);
      const int threads = static_cast<int>(random.integer(1, 3));
      omp_set_num_threads(threads);
      running = name + ", seed " + std::to_string(seed) + ", case " + std::to_string(i) + ", " +
                std::to_string(threads) + " threads: ";
      const Case result = run(random);
      if (result.wrong.empty()) continue;
      if (++wrong <= 10) {
        std::printf("%s: %s\n", running.c_str(), result.wrong.c_str());
      }
    }
    std::printf("%s: %llu cases, %llu failed\n", name.c_str(), static_cast<unsigned long long>(cases),
                static_cast<unsigned long long>(wrong));
    std::fflush(stdout);
    failed += wrong;
  }
  return failed > 0 ? 1 : 0;
}
