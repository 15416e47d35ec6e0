// What the files *_operators.cc share, in which the kernels become PaddlePaddle operators with their gradients. Images
// are NHWC, weights OIHW, all float32 on the CPU. They serve dygraph only (see ppzoo/native/__init__.py), so shapes are
// inferred where PaddlePaddle asks for a function but never take part in a static program.
#pragma once

#include <mutex>

#include "kernels.h"
#include "paddle/phi/api/ext/op_meta_info.h"
#include "paddle/phi/api/include/api.h"

namespace ppzoo::glue {

using paddle::Tensor;
using Shape = std::vector<int64_t>;

// Primitives and buffers are shared, and an operator uses all cores: one at a time.
inline std::lock_guard<std::mutex> alone() {
  static std::mutex mutex;
  return std::lock_guard<std::mutex>(mutex);
}

inline Tensor like(const Tensor& model, const Shape& shape) {
  return paddle::experimental::empty(shape, model.dtype(), model.place());
}

inline Tensor like(const Tensor& model) { return like(model, model.shape()); }

// Gradient of an input that needs none.
inline Tensor nothing(const Tensor& model) { return like(model, Shape{1}); }

inline int64_t channels_of(const Tensor& x) { return x.shape().back(); }
inline int64_t pixels_of(const Tensor& x) { return x.numel() / channels_of(x); }

}  // namespace ppzoo::glue
