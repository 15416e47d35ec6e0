// The kernels as PaddlePaddle operators with their gradients. Images are NHWC, weights OIHW, all float32 on the CPU.
//
// They serve dygraph only (see ppzoo/native/__init__.py), so shapes are inferred where PaddlePaddle asks for a function
// but never take part in a static program.
#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>

#include "kernels.h"
#include "onednn.h"
#include "paddle/phi/api/ext/op_meta_info.h"
#include "paddle/phi/api/include/api.h"

namespace {

using paddle::Tensor;
using ppzoo::Activation;
using ppzoo::ConvShape;
using Shape = std::vector<int64_t>;

// Primitives and buffers are shared, and an operator uses all cores: one at a time.
std::lock_guard<std::mutex> alone() {
  static std::mutex mutex;
  return std::lock_guard<std::mutex>(mutex);
}

Tensor like(const Tensor& model, const Shape& shape) {
  return paddle::experimental::empty(shape, model.dtype(), model.place());
}

Tensor like(const Tensor& model) { return like(model, model.shape()); }

// Gradient of an input that needs none.
Tensor nothing(const Tensor& model) { return like(model, Shape{1}); }

// `geometry`: strides, paddings (top, bottom, left, right), dilations, groups.
ConvShape conv_shape(const Shape& x, const Shape& weights, const std::vector<int>& geometry) {
  ConvShape s;
  s.images = x[0], s.height = x[1], s.width = x[2], s.channels = x[3];
  s.out_channels = weights[0], s.kernel_h = weights[2], s.kernel_w = weights[3];
  s.stride_h = geometry[0], s.stride_w = geometry[1];
  s.top = geometry[2], s.bottom = geometry[3], s.left = geometry[4], s.right = geometry[5];
  s.dilation_h = geometry[6], s.dilation_w = geometry[7], s.groups = geometry[8];
  return s;
}

Shape output_shape(const ConvShape& s) { return {s.images, s.out_height(), s.out_width(), s.out_channels}; }

int64_t channels_of(const Tensor& x) { return x.shape().back(); }
int64_t pixels_of(const Tensor& x) { return x.numel() / channels_of(x); }

// ---- convolution

std::vector<Tensor> convolution(const Tensor& x, const Tensor& weights, const float* bias,
                                const std::vector<int>& geometry) {
  const auto lock = alone();
  const ConvShape s = conv_shape(x.shape(), weights.shape(), geometry);
  Tensor y = like(x, output_shape(s));
  ppzoo::convolve(s, x.data<float>(), weights.data<float>(), bias, y.data<float>());
  return {y};
}

std::vector<Tensor> conv(const Tensor& x, const Tensor& weights, const std::vector<int>& geometry, bool) {
  return convolution(x, weights, nullptr, geometry);
}

std::vector<Tensor> conv_bias(const Tensor& x, const Tensor& weights, const Tensor& bias,
                              const std::vector<int>& geometry, bool) {
  return convolution(x, weights, bias.data<float>(), geometry);
}

std::vector<Tensor> conv_gradient(const Tensor& x, const Tensor& weights, const Tensor& dy,
                                  const std::vector<int>& geometry, bool need_dx) {
  const auto lock = alone();
  const ConvShape s = conv_shape(x.shape(), weights.shape(), geometry);
  Tensor dx = need_dx ? like(x) : nothing(x), dweights = like(weights);
  if (need_dx) ppzoo::convolve_input_gradient(s, weights.data<float>(), dy.data<float>(), dx.data<float>());
  ppzoo::convolve_weight_gradient(s, x.data<float>(), dy.data<float>(), false, dweights.data<float>(), nullptr);
  return {dx, dweights};
}

std::vector<Tensor> conv_bias_gradient(const Tensor& x, const Tensor& weights, const Tensor& bias, const Tensor& dy,
                                       const std::vector<int>& geometry, bool need_dx) {
  const auto lock = alone();
  const ConvShape s = conv_shape(x.shape(), weights.shape(), geometry);
  Tensor dx = need_dx ? like(x) : nothing(x), dweights = like(weights), dbias = like(bias);
  if (need_dx) ppzoo::convolve_input_gradient(s, weights.data<float>(), dy.data<float>(), dx.data<float>());
  ppzoo::convolve_weight_gradient(s, x.data<float>(), dy.data<float>(), false, dweights.data<float>(),
                                  dbias.data<float>());
  return {dx, dweights, dbias};
}

// ---- linear

std::vector<Tensor> linear(const Tensor& x, const Tensor& weights, const Tensor& bias, bool) {
  const auto lock = alone();
  const int64_t rows = pixels_of(x), out = channels_of(weights);
  Tensor y = like(x, {rows, out});
  ppzoo::linear(x.data<float>(), weights.data<float>(), bias.data<float>(), rows, channels_of(x), out,
                y.data<float>());
  return {y};
}

std::vector<Tensor> linear_gradient(const Tensor& x, const Tensor& weights, const Tensor& bias, const Tensor& dy,
                                    bool need_dx) {
  const auto lock = alone();
  Tensor dx = need_dx ? like(x) : nothing(x), dweights = like(weights), dbias = like(bias);
  ppzoo::linear_gradient(x.data<float>(), weights.data<float>(), dy.data<float>(), pixels_of(x), channels_of(x),
                         channels_of(weights), need_dx ? dx.data<float>() : nullptr, dweights.data<float>(),
                         dbias.data<float>());
  return {dx, dweights, dbias};
}

// ---- batch norm in training, after a convolution or alone

// Bytes of a convolution's output that are worked on at a time, so that they are still in the cache when batch norm
// reads them: that much for each thread.
constexpr int64_t kPartBytes = 4 << 20;

int64_t images_at_a_time(int64_t images, int64_t elements_of_one) {
  const int64_t elements = kPartBytes * ppzoo::threads() / static_cast<int64_t>(sizeof(float));
  return ppzoo::equal_parts(images, elements / elements_of_one);
}

// The moving statistics are written to although the operators do not declare it: an operator's in-place outputs become
// part of the gradient's graph, where buffers that outlive the step must not be.
ppzoo::NormParameters norm_parameters(const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                                      const Tensor& variance, float momentum, float epsilon) {
  return {gamma.data<float>(),
          beta.data<float>(),
          const_cast<float*>(mean.data<float>()),
          const_cast<float*>(variance.data<float>()),
          momentum,
          epsilon};
}

std::vector<Tensor> norm_forward(const Tensor& x, const Tensor* z, const Tensor& gamma, const Tensor& beta,
                                 const Tensor& running_mean, const Tensor& running_variance, float momentum,
                                 float epsilon, int activation) {
  const auto lock = alone();
  const float* from = x.data<float>();
  ppzoo::Moments moments(channels_of(x), from, pixels_of(x));
  moments.add(from, pixels_of(x));
  Tensor y = like(x), mean = like(gamma), inverse_std = like(gamma);
  ppzoo::settle(moments, norm_parameters(gamma, beta, running_mean, running_variance, momentum, epsilon),
                static_cast<Activation>(activation), mean.data<float>(), inverse_std.data<float>())
      .all(from, z ? z->data<float>() : nullptr, pixels_of(x), y.data<float>());
  return {y, mean, inverse_std};
}

std::vector<Tensor> norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
                         const Tensor& running_variance, float momentum, float epsilon, int activation) {
  return norm_forward(x, nullptr, gamma, beta, running_mean, running_variance, momentum, epsilon, activation);
}

std::vector<Tensor> norm_add(const Tensor& x, const Tensor& z, const Tensor& gamma, const Tensor& beta,
                             const Tensor& running_mean, const Tensor& running_variance, float momentum, float epsilon,
                             int activation) {
  return norm_forward(x, &z, gamma, beta, running_mean, running_variance, momentum, epsilon, activation);
}

std::vector<Tensor> norm_gradient(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                                  const Tensor& inverse_std, const Tensor& dy, float, float, int activation) {
  const auto lock = alone();
  const auto kind = static_cast<Activation>(activation);
  const int64_t rows = pixels_of(x);
  Tensor dx = like(x), dgamma = like(gamma), dbeta = like(beta);
  ppzoo::NormGradient gradient(channels_of(x), rows, gamma.data<float>(), beta.data<float>(), mean.data<float>(),
                               inverse_std.data<float>());
  gradient.add(x.data<float>(), nullptr, dy.data<float>(), kind, nullptr);
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  gradient.apply(x.data<float>(), dy.data<float>(), kind, rows, dx.data<float>());
  return {dx, dgamma, dbeta};
}

std::vector<Tensor> norm_add_gradient(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& y,
                                      const Tensor& mean, const Tensor& inverse_std, const Tensor& dy, float, float,
                                      int activation) {
  const auto lock = alone();
  const int64_t rows = pixels_of(x);
  Tensor dx = like(x), dz = like(x), dgamma = like(gamma), dbeta = like(beta);
  ppzoo::NormGradient gradient(channels_of(x), rows, gamma.data<float>(), beta.data<float>(), mean.data<float>(),
                               inverse_std.data<float>());
  gradient.add(x.data<float>(), y.data<float>(), dy.data<float>(), static_cast<Activation>(activation),
               dz.data<float>());
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  gradient.apply(x.data<float>(), dz.data<float>(), Activation::kNone, rows, dx.data<float>());
  return {dx, dz, dgamma, dbeta};
}

std::vector<Tensor> conv_norm_forward(const Tensor& x, const Tensor& weights, const Tensor* z, const Tensor& gamma,
                                      const Tensor& beta, const Tensor& running_mean, const Tensor& running_variance,
                                      const std::vector<int>& geometry, float momentum, float epsilon,
                                      int activation) {
  const auto lock = alone();
  const ConvShape s = conv_shape(x.shape(), weights.shape(), geometry);
  Tensor raw = like(x, output_shape(s)), y = like(raw);
  const int64_t in = s.source_size() / s.images, out = s.output_size() / s.images;
  const int64_t part = images_at_a_time(s.images, out);

  std::unique_ptr<ppzoo::Moments> moments;
  const bool row_by_row = ppzoo::pointwise(s) || ppzoo::depthwise(s);
  if (row_by_row) {
    const auto run = ppzoo::pointwise(s) ? ppzoo::pointwise_convolve_moments : ppzoo::depthwise_convolve_moments;
    moments = std::make_unique<ppzoo::Moments>(run(s, x.data<float>(), weights.data<float>(), raw.data<float>()));
  }
  for (int64_t image = 0; !row_by_row && image < s.images; image += part) {
    const int64_t count = std::min(part, s.images - image);
    float* to = raw.data<float>() + image * out;
    ppzoo::convolve(s.with_images(count), x.data<float>() + image * in, weights.data<float>(), nullptr, to);
    if (!moments) moments = std::make_unique<ppzoo::Moments>(s.out_channels, to, pixels_of(raw));
    moments->add(to, count * out / s.out_channels);
  }
  Tensor mean = like(gamma), inverse_std = like(gamma);
  ppzoo::settle(*moments, norm_parameters(gamma, beta, running_mean, running_variance, momentum, epsilon),
                static_cast<Activation>(activation), mean.data<float>(), inverse_std.data<float>())
      .all(raw.data<float>(), z ? z->data<float>() : nullptr, pixels_of(raw), y.data<float>());
  return {y, raw, mean, inverse_std};
}

std::vector<Tensor> conv_norm(const Tensor& x, const Tensor& weights, const Tensor& gamma, const Tensor& beta,
                              const Tensor& running_mean, const Tensor& running_variance,
                              const std::vector<int>& geometry, bool, float momentum, float epsilon, int activation) {
  return conv_norm_forward(x, weights, nullptr, gamma, beta, running_mean, running_variance, geometry, momentum,
                           epsilon, activation);
}

std::vector<Tensor> conv_norm_add(const Tensor& x, const Tensor& weights, const Tensor& z, const Tensor& gamma,
                                  const Tensor& beta, const Tensor& running_mean, const Tensor& running_variance,
                                  const std::vector<int>& geometry, bool, float momentum, float epsilon,
                                  int activation) {
  return conv_norm_forward(x, weights, &z, gamma, beta, running_mean, running_variance, geometry, momentum, epsilon,
                           activation);
}

// From the gradient of batch norm's output to those of the convolution's input and weights. The gradient in between
// is made part by part in a shared buffer.
void conv_norm_second_pass(const ConvShape& s, const ppzoo::NormGradient& gradient, const float* x,
                           const float* weights, const float* raw, const float* dy, Activation activation, float* dx,
                           float* dweights) {
  if (ppzoo::pointwise(s)) {
    return ppzoo::pointwise_gradients(s, gradient, activation, x, weights, raw, dy, dx, dweights);
  }
  if (ppzoo::depthwise(s)) {
    return ppzoo::depthwise_gradients(s, gradient, activation, x, weights, raw, dy, dx, dweights);
  }
  const int64_t in = s.source_size() / s.images, out = s.output_size() / s.images;
  const int64_t part = images_at_a_time(s.images, out);
  auto* draw = static_cast<float*>(ppzoo::shared_buffer(ppzoo::Purpose::kGradient, sizeof(float) * part * out));
  for (int64_t image = 0; image < s.images; image += part) {
    const int64_t count = std::min(part, s.images - image);
    const ConvShape piece = s.with_images(count);
    gradient.apply(raw + image * out, dy + image * out, activation, count * out / s.out_channels, draw);
    if (dx != nullptr) ppzoo::convolve_input_gradient(piece, weights, draw, dx + image * in);
    ppzoo::convolve_weight_gradient(piece, x + image * in, draw, image > 0, dweights, nullptr);
  }
}

std::vector<Tensor> conv_norm_gradient(const Tensor& x, const Tensor& weights, const Tensor& gamma, const Tensor& beta,
                                       const Tensor& raw, const Tensor& mean, const Tensor& inverse_std,
                                       const Tensor& dy, const std::vector<int>& geometry, bool need_dx, float, float,
                                       int activation) {
  const auto lock = alone();
  const ConvShape s = conv_shape(x.shape(), weights.shape(), geometry);
  const auto kind = static_cast<Activation>(activation);
  Tensor dx = need_dx ? like(x) : nothing(x), dweights = like(weights), dgamma = like(gamma), dbeta = like(beta);
  ppzoo::NormGradient gradient(s.out_channels, pixels_of(raw), gamma.data<float>(), beta.data<float>(),
                               mean.data<float>(), inverse_std.data<float>());
  gradient.add(raw.data<float>(), nullptr, dy.data<float>(), kind, nullptr);
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  conv_norm_second_pass(s, gradient, x.data<float>(), weights.data<float>(), raw.data<float>(), dy.data<float>(), kind,
                        need_dx ? dx.data<float>() : nullptr, dweights.data<float>());
  return {dx, dweights, dgamma, dbeta};
}

std::vector<Tensor> conv_norm_add_gradient(const Tensor& x, const Tensor& weights, const Tensor& gamma,
                                           const Tensor& beta, const Tensor& y, const Tensor& raw, const Tensor& mean,
                                           const Tensor& inverse_std, const Tensor& dy,
                                           const std::vector<int>& geometry, bool need_dx, float, float,
                                           int activation) {
  const auto lock = alone();
  const ConvShape s = conv_shape(x.shape(), weights.shape(), geometry);
  Tensor dx = need_dx ? like(x) : nothing(x), dweights = like(weights), dgamma = like(gamma), dbeta = like(beta);
  Tensor dz = like(raw);
  ppzoo::NormGradient gradient(s.out_channels, pixels_of(raw), gamma.data<float>(), beta.data<float>(),
                               mean.data<float>(), inverse_std.data<float>());
  gradient.add(raw.data<float>(), y.data<float>(), dy.data<float>(), static_cast<Activation>(activation),
               dz.data<float>());
  gradient.finish(dgamma.data<float>(), dbeta.data<float>());
  conv_norm_second_pass(s, gradient, x.data<float>(), weights.data<float>(), raw.data<float>(), dz.data<float>(),
                        Activation::kNone, need_dx ? dx.data<float>() : nullptr, dweights.data<float>());
  return {dx, dweights, dz, dgamma, dbeta};
}

// ---- inverted residual

// `geometry`: that of the convolution in the middle.
ppzoo::InvertedResidual inverted_residual_of(const Tensor& x, const std::vector<Tensor>& weights,
                                             const std::vector<int>& geometry, const std::vector<int>& activations,
                                             bool shortcut) {
  const std::vector<int> pointwise{1, 1, 0, 0, 0, 0, 1, 1, 1};
  ppzoo::InvertedResidual block;
  Shape shape = x.shape();
  for (int stage = 0; stage < 3; ++stage) {
    block.shapes[stage] = conv_shape(shape, weights[stage].shape(), stage == 1 ? geometry : pointwise);
    block.activations[stage] = static_cast<Activation>(activations[stage]);
    shape = output_shape(block.shapes[stage]);
  }
  block.shortcut = shortcut;
  return block;
}

std::vector<Tensor> inverted_residual(const Tensor& x, const std::vector<Tensor>& weights,
                                      const std::vector<Tensor>& gammas, const std::vector<Tensor>& betas,
                                      const std::vector<Tensor>& means, const std::vector<Tensor>& variances,
                                      const std::vector<int>& geometry, const std::vector<int>& activations,
                                      bool shortcut, bool, const std::vector<float>& momenta,
                                      const std::vector<float>& epsilons) {
  const auto lock = alone();
  const ppzoo::InvertedResidual block = inverted_residual_of(x, weights, geometry, activations, shortcut);
  std::vector<Tensor> results{like(x, output_shape(block.shapes[2]))};
  std::vector<ppzoo::NormedWeights> stages;
  std::vector<ppzoo::StageResult> kept;
  for (int stage = 0; stage < 3; ++stage) {
    Tensor raw = like(x, output_shape(block.shapes[stage]));
    Tensor mean = like(gammas[stage]), inverse_std = like(gammas[stage]);
    stages.push_back({weights[stage].data<float>(), norm_parameters(gammas[stage], betas[stage], means[stage],
                                                                    variances[stage], momenta[stage],
                                                                    epsilons[stage])});
    kept.push_back({raw.data<float>(), mean.data<float>(), inverse_std.data<float>()});
    results.insert(results.end(), {raw, mean, inverse_std});
  }
  ppzoo::inverted_residual(block, x.data<float>(), stages, kept, results[0].data<float>());
  return results;
}

std::vector<Tensor> inverted_residual_gradient(
    const Tensor& x, const std::vector<Tensor>& weights, const std::vector<Tensor>& gammas,
    const std::vector<Tensor>& betas, const Tensor& raw1, const Tensor& mean1, const Tensor& inverse1,
    const Tensor& raw2, const Tensor& mean2, const Tensor& inverse2, const Tensor& raw3, const Tensor& mean3,
    const Tensor& inverse3, const Tensor& dy, const std::vector<int>& geometry, const std::vector<int>& activations,
    bool shortcut, bool need_dx, const std::vector<float>&, const std::vector<float>&) {
  const auto lock = alone();
  const ppzoo::InvertedResidual block = inverted_residual_of(x, weights, geometry, activations, shortcut);
  const Tensor* results[] = {&raw1, &mean1, &inverse1, &raw2, &mean2, &inverse2, &raw3, &mean3, &inverse3};
  const auto result = [&](int number) { return const_cast<float*>(results[number]->data<float>()); };
  Tensor dx = need_dx ? like(x) : nothing(x);
  std::vector<Tensor> dweights, dgammas, dbetas;
  std::vector<ppzoo::NormedWeights> stages;
  std::vector<ppzoo::StageResult> kept;
  std::vector<ppzoo::StageGradient> to;
  for (int stage = 0; stage < 3; ++stage) {
    const Tensor &weight = weights[stage], &gamma = gammas[stage];
    Tensor dweight = like(weight), dgamma = like(gamma), dbeta = like(gamma);
    stages.push_back({weight.data<float>(), {gamma.data<float>(), betas[stage].data<float>()}});
    kept.push_back({result(3 * stage), result(3 * stage + 1), result(3 * stage + 2)});
    to.push_back({dweight.data<float>(), dgamma.data<float>(), dbeta.data<float>()});
    dweights.push_back(dweight), dgammas.push_back(dgamma), dbetas.push_back(dbeta);
  }
  ppzoo::inverted_residual_gradients(block, x.data<float>(), stages, kept, dy.data<float>(), to,
                                     need_dx ? dx.data<float>() : nullptr);
  std::vector<Tensor> gradients{dx};
  for (const auto* group : {&dweights, &dgammas, &dbetas}) {
    gradients.insert(gradients.end(), group->begin(), group->end());
  }
  return gradients;
}

// ---- batch norm in evaluation, without a gradient

std::vector<Tensor> affine(const Tensor& x, const paddle::optional<Tensor>& z, const Tensor& gamma, const Tensor& beta,
                           const Tensor& mean, const Tensor& variance, float epsilon, int activation) {
  const auto lock = alone();
  const int64_t channels = channels_of(x);
  const float *g = gamma.data<float>(), *b = beta.data<float>(), *m = mean.data<float>();
  const float* v = variance.data<float>();
  std::vector<float> scale(channels), offset(channels);
  for (int64_t c = 0; c < channels; ++c) {
    const double factor = g[c] / std::sqrt(static_cast<double>(v[c]) + epsilon);
    scale[c] = static_cast<float>(factor);
    offset[c] = static_cast<float>(b[c] - m[c] * factor);
  }
  Tensor y = like(x);
  const ppzoo::Normaliser normaliser(channels, scale.data(), offset.data(), static_cast<Activation>(activation));
  normaliser.all(x.data<float>(), z ? z->data<float>() : nullptr, pixels_of(x), y.data<float>());
  return {y};
}

// ---- pooling

// `geometry`: kernel, strides, paddings (top, bottom, left, right), ceil_mode; or, for adaptive pooling, output sizes.
ppzoo::PoolShape pool_shape(const Shape& x, const std::vector<int>& geometry) {
  ppzoo::PoolShape s{x[0], x[1], x[2], x[3], {}, {}};
  if (geometry.size() == 2) {
    s.vertical = ppzoo::adaptive_windows(s.height, geometry[0]);
    s.horizontal = ppzoo::adaptive_windows(s.width, geometry[1]);
  } else {
    s.vertical = ppzoo::sliding_windows(s.height, geometry[0], geometry[2], geometry[4], geometry[5], geometry[8]);
    s.horizontal = ppzoo::sliding_windows(s.width, geometry[1], geometry[3], geometry[6], geometry[7], geometry[8]);
  }
  return s;
}

Shape output_shape(const ppzoo::PoolShape& s) {
  return {s.images, static_cast<int64_t>(s.vertical.begin.size()), static_cast<int64_t>(s.horizontal.begin.size()),
          s.channels};
}

std::vector<Tensor> max_pool(const Tensor& x, const std::vector<int>& geometry) {
  const auto lock = alone();
  const ppzoo::PoolShape s = pool_shape(x.shape(), geometry);
  Tensor y = like(x, output_shape(s));
  Tensor places = paddle::experimental::empty(output_shape(s), paddle::DataType::UINT8, x.place());
  ppzoo::max_pool(s, x.data<float>(), y.data<float>(), places.data<uint8_t>());
  return {y, places};
}

std::vector<Tensor> max_pool_gradient(const Tensor& x, const Tensor& places, const Tensor& dy,
                                      const std::vector<int>& geometry) {
  const auto lock = alone();
  Tensor dx = like(x);
  ppzoo::max_pool_gradient(pool_shape(x.shape(), geometry), dy.data<float>(), places.data<uint8_t>(),
                           dx.data<float>());
  return {dx};
}

std::vector<Tensor> average_pool(const Tensor& x, const std::vector<int>& geometry, bool padded) {
  const auto lock = alone();
  const ppzoo::PoolShape s = pool_shape(x.shape(), geometry);
  Tensor y = like(x, output_shape(s));
  ppzoo::average_pool(s, padded, x.data<float>(), y.data<float>());
  return {y};
}

std::vector<Tensor> average_pool_gradient(const Tensor& x, const Tensor& dy, const std::vector<int>& geometry,
                                          bool padded) {
  const auto lock = alone();
  Tensor dx = like(x);
  ppzoo::average_pool_gradient(pool_shape(x.shape(), geometry), padded, dy.data<float>(), dx.data<float>());
  return {dx};
}

// ---- between convolutions

std::vector<Tensor> to_channels_last(const Tensor& x) {
  const auto lock = alone();
  const Shape s = x.shape();
  Tensor y = like(x, {s[0], s[2], s[3], s[1]});
  ppzoo::transpose(x.data<float>(), s[0], s[1], s[2] * s[3], y.data<float>());
  return {y};
}

std::vector<Tensor> to_channels_last_gradient(const Tensor& dy) {
  const auto lock = alone();
  const Shape s = dy.shape();
  Tensor dx = like(dy, {s[0], s[3], s[1], s[2]});
  ppzoo::transpose(dy.data<float>(), s[0], s[1] * s[2], s[3], dx.data<float>());
  return {dx};
}

std::vector<Tensor> activate(const Tensor& x, int activation) {
  const auto lock = alone();
  Tensor y = like(x);
  ppzoo::add_activate(x.data<float>(), nullptr, static_cast<Activation>(activation), x.numel(), y.data<float>());
  return {y};
}

std::vector<Tensor> activate_gradient(const Tensor& x, const Tensor& dy, int activation) {
  const auto lock = alone();
  Tensor dx = like(x);
  ppzoo::add_activate_gradient(x.data<float>(), nullptr, dy.data<float>(), static_cast<Activation>(activation),
                               x.numel(), dx.data<float>());
  return {dx};
}

std::vector<Tensor> add_activate(const Tensor& x, const Tensor& z, int activation) {
  const auto lock = alone();
  Tensor y = like(x);
  ppzoo::add_activate(x.data<float>(), z.data<float>(), static_cast<Activation>(activation), x.numel(),
                      y.data<float>());
  return {y};
}

std::vector<Tensor> add_activate_gradient(const Tensor& x, const Tensor& z, const Tensor& dy, int activation) {
  const auto lock = alone();
  Tensor dx = like(x), dz = like(x);
  const auto kind = static_cast<Activation>(activation);
  ppzoo::add_activate_gradient(x.data<float>(), z.data<float>(), dy.data<float>(), kind, x.numel(), dx.data<float>());
  ppzoo::add_activate(dx.data<float>(), nullptr, Activation::kNone, x.numel(), dz.data<float>());
  return {dx, dz};
}

std::vector<Tensor> scale_channels(const Tensor& x, const Tensor& gate) {
  const auto lock = alone();
  Tensor y = like(x);
  ppzoo::scale_channels(x.data<float>(), gate.data<float>(), x.shape()[0], pixels_of(x) / x.shape()[0], channels_of(x),
                        y.data<float>());
  return {y};
}

std::vector<Tensor> scale_channels_gradient(const Tensor& x, const Tensor& gate, const Tensor& dy) {
  const auto lock = alone();
  Tensor dx = like(x), dgate = like(gate);
  ppzoo::scale_channels_gradient(x.data<float>(), gate.data<float>(), dy.data<float>(), x.shape()[0],
                                 pixels_of(x) / x.shape()[0], channels_of(x), dx.data<float>(), dgate.data<float>());
  return {dx, dgate};
}

std::vector<Tensor> join(const std::vector<Tensor>& parts, bool shuffled) {
  const auto lock = alone();
  std::vector<const float*> data;
  std::vector<int64_t> widths;
  Shape shape = parts[0].shape();
  shape.back() = 0;
  for (const Tensor& part : parts) {
    data.push_back(part.data<float>());
    widths.push_back(channels_of(part));
    shape.back() += widths.back();
  }
  Tensor whole = like(parts[0], shape);
  ppzoo::join_channels(data, widths, pixels_of(whole), shuffled, whole.data<float>());
  return {whole};
}

std::vector<Tensor> separate(const Tensor& whole, const std::vector<int64_t>& widths, bool shuffled) {
  std::vector<Tensor> parts;
  std::vector<float*> data;
  Shape shape = whole.shape();
  for (int64_t width : widths) {
    shape.back() = width;
    parts.push_back(like(whole, shape));
    data.push_back(parts.back().data<float>());
  }
  ppzoo::part_channels(whole.data<float>(), widths, pixels_of(whole), shuffled, data);
  return parts;
}

std::vector<Tensor> join_gradient(const std::vector<Tensor>& parts, const Tensor& dwhole, bool shuffled) {
  const auto lock = alone();
  std::vector<int64_t> widths;
  for (const Tensor& part : parts) widths.push_back(channels_of(part));
  return separate(dwhole, widths, shuffled);
}

std::vector<Tensor> halve(const Tensor& whole) {
  const auto lock = alone();
  const int64_t half = channels_of(whole) / 2;
  return separate(whole, {half, half}, false);
}

// A half that nothing was computed from has no gradient.
std::vector<Tensor> halve_gradient(const Tensor& first, const Tensor& second) {
  const Tensor left = first.initialized() ? first : paddle::experimental::zeros_like(second);
  const Tensor right = second.initialized() ? second : paddle::experimental::zeros_like(first);
  return join({left, right}, false);
}

// ---- all parameters at once

std::vector<int64_t> counts_of(const std::vector<Tensor>& tensors) {
  std::vector<int64_t> counts;
  for (const Tensor& tensor : tensors) counts.push_back(tensor.numel());
  return counts;
}

std::vector<const float*> data_of(const std::vector<Tensor>& tensors) {
  std::vector<const float*> data;
  for (const Tensor& tensor : tensors) data.push_back(tensor.data<float>());
  return data;
}

// Parameters and velocities are written to; the answer is a tensor without meaning, since an operator must have one.
std::vector<Tensor> momentum(const std::vector<Tensor>& parameters, const std::vector<Tensor>& gradients,
                             const std::vector<Tensor>& velocities, const std::vector<float>& rates,
                             const std::vector<float>& decays, float mu, bool nesterov) {
  const auto lock = alone();
  std::vector<ppzoo::MomentumPart> parts;
  for (size_t i = 0; i < parameters.size(); ++i) {
    parts.push_back({const_cast<float*>(parameters[i].data<float>()), const_cast<float*>(velocities[i].data<float>()),
                     gradients[i].data<float>(), parameters[i].numel(), rates[i], decays[i]});
  }
  ppzoo::momentum_step(parts, mu, nesterov);
  return {nothing(parameters[0])};
}

// The averages are written to.
std::vector<Tensor> blend(const std::vector<Tensor>& averages, const std::vector<Tensor>& values, float keep,
                          float take) {
  const auto lock = alone();
  std::vector<float*> to;
  for (const float* data : data_of(averages)) to.push_back(const_cast<float*>(data));
  ppzoo::blend(to, data_of(values), counts_of(values), keep, take);
  return {nothing(values[0])};
}

std::vector<Tensor> all_finite(const std::vector<Tensor>& values) {
  const auto lock = alone();
  Tensor answer = nothing(values[0]);
  answer.data<float>()[0] = ppzoo::all_finite(data_of(values), counts_of(values)) ? 1.0f : 0.0f;
  return {answer};
}

}  // namespace

// Version of oneDNN in use, as 10000 major + 100 minor + patch.
extern "C" int ppzoo_onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return 10000 * version->major + 100 * version->minor + version->patch;
}

PD_BUILD_OP(ppzoo_conv)
    .Inputs({"X", "W"})
    .Outputs({"Y"})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool"})
    .SetKernelFn(PD_KERNEL(conv));
PD_BUILD_GRAD_OP(ppzoo_conv)
    .Inputs({"X", "W", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W")})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool"})
    .SetKernelFn(PD_KERNEL(conv_gradient));

PD_BUILD_OP(ppzoo_conv_bias)
    .Inputs({"X", "W", "B"})
    .Outputs({"Y"})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool"})
    .SetKernelFn(PD_KERNEL(conv_bias));
PD_BUILD_GRAD_OP(ppzoo_conv_bias)
    .Inputs({"X", "W", "B", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("B")})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool"})
    .SetKernelFn(PD_KERNEL(conv_bias_gradient));

PD_BUILD_OP(ppzoo_linear)
    .Inputs({"X", "W", "B"})
    .Outputs({"Y"})
    .Attrs({"need_dx: bool"})
    .SetKernelFn(PD_KERNEL(linear));
PD_BUILD_GRAD_OP(ppzoo_linear)
    .Inputs({"X", "W", "B", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("B")})
    .Attrs({"need_dx: bool"})
    .SetKernelFn(PD_KERNEL(linear_gradient));

PD_BUILD_OP(ppzoo_norm)
    .Inputs({"X", "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y", "BatchMean", "BatchInverse"})
    .Attrs({"momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PD_KERNEL(norm));
PD_BUILD_GRAD_OP(ppzoo_norm)
    .Inputs({"X", "Gamma", "Beta", "BatchMean", "BatchInverse", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PD_KERNEL(norm_gradient));

PD_BUILD_OP(ppzoo_norm_add)
    .Inputs({"X", "Z", "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y", "BatchMean", "BatchInverse"})
    .Attrs({"momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PD_KERNEL(norm_add));
PD_BUILD_GRAD_OP(ppzoo_norm_add)
    .Inputs({"X", "Gamma", "Beta", "Y", "BatchMean", "BatchInverse", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Z"), paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PD_KERNEL(norm_add_gradient));

PD_BUILD_OP(ppzoo_conv_norm)
    .Inputs({"X", "W", "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y", "Raw", "BatchMean", "BatchInverse"})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PD_KERNEL(conv_norm));
PD_BUILD_GRAD_OP(ppzoo_conv_norm)
    .Inputs({"X", "W", "Gamma", "Beta", "Raw", "BatchMean", "BatchInverse", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PD_KERNEL(conv_norm_gradient));

PD_BUILD_OP(ppzoo_conv_norm_add)
    .Inputs({"X", "W", "Z", "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y", "Raw", "BatchMean", "BatchInverse"})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PD_KERNEL(conv_norm_add));
PD_BUILD_GRAD_OP(ppzoo_conv_norm_add)
    .Inputs({"X", "W", "Gamma", "Beta", "Y", "Raw", "BatchMean", "BatchInverse", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("W"), paddle::Grad("Z"), paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"geometry: std::vector<int>", "need_dx: bool", "momentum: float", "epsilon: float", "activation: int"})
    .SetKernelFn(PD_KERNEL(conv_norm_add_gradient));

PD_BUILD_OP(ppzoo_inverted_residual)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), paddle::Vec("Mean"),
             paddle::Vec("Variance")})
    .Outputs({"Y", "Raw1", "Mean1", "Inverse1", "Raw2", "Mean2", "Inverse2", "Raw3", "Mean3", "Inverse3"})
    .Attrs({"geometry: std::vector<int>", "activations: std::vector<int>", "shortcut: bool", "need_dx: bool",
            "momenta: std::vector<float>", "epsilons: std::vector<float>"})
    .SetKernelFn(PD_KERNEL(inverted_residual));
PD_BUILD_GRAD_OP(ppzoo_inverted_residual)
    .Inputs({"X", paddle::Vec("W"), paddle::Vec("Gamma"), paddle::Vec("Beta"), "Raw1", "Mean1", "Inverse1", "Raw2",
             "Mean2", "Inverse2", "Raw3", "Mean3", "Inverse3", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad(paddle::Vec("W")), paddle::Grad(paddle::Vec("Gamma")),
              paddle::Grad(paddle::Vec("Beta"))})
    .Attrs({"geometry: std::vector<int>", "activations: std::vector<int>", "shortcut: bool", "need_dx: bool",
            "momenta: std::vector<float>", "epsilons: std::vector<float>"})
    .SetKernelFn(PD_KERNEL(inverted_residual_gradient));

PD_BUILD_OP(ppzoo_affine)
    .Inputs({"X", paddle::Optional("Z"), "Gamma", "Beta", "Mean", "Variance"})
    .Outputs({"Y"})
    .Attrs({"epsilon: float", "activation: int"})
    .SetKernelFn(PD_KERNEL(affine));

PD_BUILD_OP(ppzoo_max_pool)
    .Inputs({"X"})
    .Outputs({"Y", "Places"})
    .Attrs({"geometry: std::vector<int>"})
    .SetKernelFn(PD_KERNEL(max_pool));
PD_BUILD_GRAD_OP(ppzoo_max_pool)
    .Inputs({"X", "Places", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"geometry: std::vector<int>"})
    .SetKernelFn(PD_KERNEL(max_pool_gradient));

PD_BUILD_OP(ppzoo_average_pool)
    .Inputs({"X"})
    .Outputs({"Y"})
    .Attrs({"geometry: std::vector<int>", "padded: bool"})
    .SetKernelFn(PD_KERNEL(average_pool));
PD_BUILD_GRAD_OP(ppzoo_average_pool)
    .Inputs({"X", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"geometry: std::vector<int>", "padded: bool"})
    .SetKernelFn(PD_KERNEL(average_pool_gradient));

PD_BUILD_OP(ppzoo_channels_last).Inputs({"X"}).Outputs({"Y"}).SetKernelFn(PD_KERNEL(to_channels_last));
PD_BUILD_GRAD_OP(ppzoo_channels_last)
    .Inputs({paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .SetKernelFn(PD_KERNEL(to_channels_last_gradient));

PD_BUILD_OP(ppzoo_activate)
    .Inputs({"X"})
    .Outputs({"Y"})
    .Attrs({"activation: int"})
    .SetKernelFn(PD_KERNEL(activate));
PD_BUILD_GRAD_OP(ppzoo_activate)
    .Inputs({"X", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"activation: int"})
    .SetKernelFn(PD_KERNEL(activate_gradient));

PD_BUILD_OP(ppzoo_add_activate)
    .Inputs({"X", "Z"})
    .Outputs({"Y"})
    .Attrs({"activation: int"})
    .SetKernelFn(PD_KERNEL(add_activate));
PD_BUILD_GRAD_OP(ppzoo_add_activate)
    .Inputs({"X", "Z", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Z")})
    .Attrs({"activation: int"})
    .SetKernelFn(PD_KERNEL(add_activate_gradient));

PD_BUILD_OP(ppzoo_scale_channels)
    .Inputs({"X", "Gate"})
    .Outputs({"Y"})
    .SetKernelFn(PD_KERNEL(scale_channels));
PD_BUILD_GRAD_OP(ppzoo_scale_channels)
    .Inputs({"X", "Gate", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Gate")})
    .SetKernelFn(PD_KERNEL(scale_channels_gradient));

PD_BUILD_OP(ppzoo_join)
    .Inputs({paddle::Vec("X")})
    .Outputs({"Y"})
    .Attrs({"shuffled: bool"})
    .SetKernelFn(PD_KERNEL(join));
PD_BUILD_GRAD_OP(ppzoo_join)
    .Inputs({paddle::Vec("X"), paddle::Grad("Y")})
    .Outputs({paddle::Grad(paddle::Vec("X"))})
    .Attrs({"shuffled: bool"})
    .SetKernelFn(PD_KERNEL(join_gradient));

PD_BUILD_OP(ppzoo_halve).Inputs({"X"}).Outputs({"A", "B"}).SetKernelFn(PD_KERNEL(halve));
PD_BUILD_GRAD_OP(ppzoo_halve)
    .Inputs({paddle::Grad("A"), paddle::Grad("B")})
    .Outputs({paddle::Grad("X")})
    .SetKernelFn(PD_KERNEL(halve_gradient));

PD_BUILD_OP(ppzoo_momentum)
    .Inputs({paddle::Vec("Parameter"), paddle::Vec("Gradient"), paddle::Vec("Velocity")})
    .Outputs({"Done"})
    .Attrs({"rates: std::vector<float>", "decays: std::vector<float>", "mu: float", "nesterov: bool"})
    .SetKernelFn(PD_KERNEL(momentum));

PD_BUILD_OP(ppzoo_blend)
    .Inputs({paddle::Vec("Average"), paddle::Vec("Value")})
    .Outputs({"Done"})
    .Attrs({"keep: float", "take: float"})
    .SetKernelFn(PD_KERNEL(blend));

PD_BUILD_OP(ppzoo_all_finite).Inputs({paddle::Vec("Value")}).Outputs({"Answer"}).SetKernelFn(PD_KERNEL(all_finite));
