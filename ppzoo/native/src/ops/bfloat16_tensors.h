// bfloat16 tensors: their data as the kernels' type, and new ones. See common.h.
#pragma once

#include "kernels/bfloat16.h"
#include "ops/common.h"

namespace ppzoo::ops {

constexpr auto kBfloat16 = phi::DataType::BFLOAT16;

inline const Bfloat16* data(const Tensor& tensor) {
  return reinterpret_cast<const Bfloat16*>(tensor.data<phi::dtype::bfloat16>());
}
inline Bfloat16* data(Tensor& tensor) { return reinterpret_cast<Bfloat16*>(tensor.data<phi::dtype::bfloat16>()); }

inline Tensor empty_bfloat16(const Tensor& model, const Shape& shape) {
  return paddle::experimental::empty(shape, kBfloat16, model.place());
}
inline Tensor empty_float32(const Tensor& model, const Shape& shape) {
  return paddle::experimental::empty(shape, kFloat32, model.place());
}

}  // namespace ppzoo::ops
