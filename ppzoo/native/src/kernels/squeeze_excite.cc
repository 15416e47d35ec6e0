// Squeeze-and-excitation in as few passes over the images as possible. Layout: images are NHWC, gates are images x
// channels.
//
// Forward, two passes: the means; the product. Backward, two passes: the gradients of the gates, which are sums over
// the pixels of dy x; then dx = dy gate + (gradient of the mean) / pixels. Between the passes are the dense layers,
// with one row per image. All passes are parallel over images; for the loops within an image see wide_rows.h.
//
// The layers' products are small: matrices with one row per image. They are computed by gemm (see pointwise_blocks.h).
#include "kernels/squeeze_excite.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/activation_simd.h"
#include "kernels/batch_norm.h"
#include "kernels/parallel.h"
#include "kernels/pointwise_blocks.h"
#include "kernels/sums.h"
#include "kernels/wide_rows.h"

namespace ppzoo {
namespace {

// A layer y = x weights^T + bias, with the weights stored as in `SqueezeExcite::inputs_first`.
struct DenseLayer {
  const float *weights, *bias;
  int64_t in, out;
  bool inputs_first;

  void forward(const float* x, int64_t rows, float* y) const {
    const PackedWeights packed =
        inputs_first ? PackedWeights::backward(weights, out, in) : PackedWeights::forward(weights, in, out);
    for_blocks(rows, in, out, [&](int, int64_t first, int64_t count) {
      packed.multiply(x + first * in, count, y + first * out);
      for (int64_t row = first; row < first + count; ++row) {
        for (int64_t c = 0; c < out; ++c) y[row * out + c] += bias[c];
      }
    });
  }

  void input_gradient(const float* dy, int64_t rows, float* dx) const {
    const PackedWeights packed =
        inputs_first ? PackedWeights::forward(weights, out, in) : PackedWeights::backward(weights, in, out);
    for_blocks(rows, in, out,
               [&](int, int64_t first, int64_t count) { packed.multiply(dy + first * out, count, dx + first * in); });
  }

  void parameter_gradients(const float* x, const float* dy, int64_t rows, float* dweights, float* dbias) const {
    WeightGradientSums sums(inputs_first ? out : in, inputs_first ? in : out);
    for_blocks(rows, in, out, [&](int thread, int64_t first, int64_t count) {
      const float *from = x + first * in, *gradient = dy + first * out;
      sums.add(thread, inputs_first ? gradient : from, inputs_first ? from : gradient, count);
    });
    sums.finish(false, dweights);
    sum_rows(dy, rows, out, false, dbias);
  }
};

DenseLayer first_layer(const SqueezeExcite& block, const SqueezeExciteLayers<const float>& layers) {
  return {layers.squeeze, layers.squeeze_bias, block.channels, block.hidden, block.inputs_first};
}

DenseLayer second_layer(const SqueezeExcite& block, const SqueezeExciteLayers<const float>& layers) {
  return {layers.excite, layers.excite_bias, block.hidden, block.channels, block.inputs_first};
}

template <class Value>
struct Saved {
  Value *means, *hidden, *gates;  // `hidden` and `gates`: before the activation and the gate's function

  Saved(const SqueezeExcite& block, Value* start)
      : means(start), hidden(start + block.images * block.channels), gates(hidden + block.images * block.hidden) {}
};

std::vector<float> gates_of(const SqueezeExcite& block, const float* t) {
  std::vector<float> gates(block.images * block.channels);
  for (size_t i = 0; i < gates.size(); ++i) {
    gates[i] = block.gate == GateFunction::kSigmoid
                   ? sigmoid(t[i])
                   : clamp_max(clamp_min(block.slope * t[i] + block.offset, 0.0f), 1.0f);
  }
  return gates;
}

// Multiplies `gradients` by the derivative of the gates at t.
void multiply_by_gate_slope(const SqueezeExcite& block, const float* t, std::vector<float>& gradients) {
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (block.gate == GateFunction::kSigmoid) {
      const float value = sigmoid(t[i]);
      gradients[i] *= value * (1.0f - value);
      continue;
    }
    const float value = block.slope * t[i] + block.offset;
    const bool inside =
        block.gate == GateFunction::kClip ? value >= 0.0f && value <= 1.0f : value > 0.0f && value < 1.0f;
    gradients[i] *= inside ? block.slope : 0.0f;
  }
}

// Writes factor times the sums over each image's pixels of value(strip, index), one per channel. `index` is that of the
// strip's first element in the images.
template <class Function>
void sum_pixels(const SqueezeExcite& block, double factor, const Function& value, float* sums) {
  const int64_t image_size = block.pixels * block.channels;
  parallel_for(block.images, block.images * image_size, [&](int, int64_t begin, int64_t end) {
    const WideRows wide(block.pixels, block.channels);
    std::vector<double> totals(wide.width);
    for (int64_t image = begin; image < end; ++image) {
      std::fill(totals.begin(), totals.end(), 0.0);
      for_strips(wide, [&](auto strip, int64_t first, int64_t from, int64_t to) {
        constexpr int kCount = decltype(strip)::kCount;
        Vector sum[kCount] = {};
        for (int64_t row = from; row < to; ++row) {
          const int64_t start = image * image_size + row * wide.width + first;
#pragma GCC unroll 2
          for (int v = 0; v < kCount; ++v) sum[v] += value(strip, start + v * kLanes);
        }
        for (int v = 0; v < kCount; ++v) add_to(&totals[first + v * kLanes], to_doubles(sum[v]));
      });
      for (int64_t c = 0; c < block.channels; ++c) {
        double sum = 0.0;
        for (int64_t i = c; i < wide.width; i += block.channels) sum += totals[i];
        sums[image * block.channels + c] = static_cast<float>(sum * factor);
      }
    }
  });
}

// y = x factors + offsets, with one factor and one offset for each channel of an image (images x channels).
template <class T>
void scale_and_shift(const SqueezeExcite& block, const T* x, const std::vector<float>& factors,
                     const std::vector<float>& offsets, T* y) {
  const int64_t image_size = block.pixels * block.channels;
  parallel_for(block.images, block.images * image_size, [&](int, int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      const int64_t row = image * block.channels;
      const Normalizer line(block.channels, &factors[row], &offsets[row], Activation::kNone);
      line.apply_rows(x + image * image_size, nullptr, block.pixels, y + image * image_size);
    }
  });
}

}  // namespace

std::vector<float> compute_gates(const SqueezeExcite& block, const SqueezeExciteLayers<const float>& layers,
                                 float* saved) {
  const Saved<float> to(block, saved);
  first_layer(block, layers).forward(to.means, block.images, to.hidden);
  std::vector<float> active(block.images * block.hidden);
  add_activate(to.hidden, nullptr, block.activation, block.images * block.hidden, active.data());
  second_layer(block, layers).forward(active.data(), block.images, to.gates);
  return gates_of(block, to.gates);
}

std::vector<float> saved_gates(const SqueezeExcite& block, const float* saved) {
  return gates_of(block, Saved<const float>(block, saved).gates);
}

std::vector<float> gate_gradients(const SqueezeExcite& block, const SqueezeExciteLayers<const float>& layers,
                                  const float* saved, std::vector<float> dgates,
                                  const SqueezeExciteLayers<float>& gradients) {
  const Saved<const float> from(block, saved);
  const DenseLayer first = first_layer(block, layers), second = second_layer(block, layers);
  const int64_t images = block.images, hidden_size = images * block.hidden;
  std::vector<float> active(hidden_size), dhidden(hidden_size), dmeans(images * block.channels);
  multiply_by_gate_slope(block, from.gates, dgates);
  add_activate(from.hidden, nullptr, block.activation, hidden_size, active.data());
  second.parameter_gradients(active.data(), dgates.data(), images, gradients.excite, gradients.excite_bias);
  second.input_gradient(dgates.data(), images, dhidden.data());
  add_activate_gradient(from.hidden, nullptr, dhidden.data(), block.activation, hidden_size, dhidden.data(), nullptr);
  first.parameter_gradients(from.means, dhidden.data(), images, gradients.squeeze, gradients.squeeze_bias);
  first.input_gradient(dhidden.data(), images, dmeans.data());
  for (float& gradient : dmeans) gradient /= static_cast<float>(block.pixels);
  return dmeans;
}

template <class T>
void squeeze_excite(const SqueezeExcite& block, const T* x, const SqueezeExciteLayers<const float>& layers,
                    float* saved, T* y) {
  const auto element = [x](auto strip, int64_t index) { return strip.load(x + index); };
  sum_pixels(block, 1.0 / static_cast<double>(block.pixels), element, Saved<float>(block, saved).means);
  const std::vector<float> gates = compute_gates(block, layers, saved);
  scale_and_shift(block, x, gates, std::vector<float>(gates.size()), y);
}

template <class T>
void squeeze_excite_gradients(const SqueezeExcite& block, const T* x, const SqueezeExciteLayers<const float>& layers,
                              const float* saved, const T* dy, const SqueezeExciteLayers<float>& gradients, T* dx) {
  std::vector<float> dgates(block.images * block.channels);
  const auto product = [x, dy](auto strip, int64_t index) { return strip.load(x + index) * strip.load(dy + index); };
  sum_pixels(block, 1.0, product, dgates.data());
  const std::vector<float> dmeans = gate_gradients(block, layers, saved, std::move(dgates), gradients);
  if (dx != nullptr) scale_and_shift(block, dy, saved_gates(block, saved), dmeans, dx);
}

template void squeeze_excite(const SqueezeExcite&, const float*, const SqueezeExciteLayers<const float>&, float*,
                             float*);
template void squeeze_excite(const SqueezeExcite&, const Bfloat16*, const SqueezeExciteLayers<const float>&, float*,
                             Bfloat16*);
template void squeeze_excite_gradients(const SqueezeExcite&, const float*, const SqueezeExciteLayers<const float>&,
                                       const float*, const float*, const SqueezeExciteLayers<float>&, float*);
template void squeeze_excite_gradients(const SqueezeExcite&, const Bfloat16*, const SqueezeExciteLayers<const float>&,
                                       const float*, const Bfloat16*, const SqueezeExciteLayers<float>&, Bfloat16*);

}  // namespace ppzoo
