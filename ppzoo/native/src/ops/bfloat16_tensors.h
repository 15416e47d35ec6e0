// bfloat16 tensors: their data as the kernels' type, and new ones. See common.h.
#pragma once

#include <type_traits>

#include "kernels/bfloat16.h"
#include "ops/common.h"

namespace ppzoo::ops {

constexpr auto kBfloat16 = phi::DataType::BFLOAT16;

inline const Bfloat16* data(const Tensor& tensor) {
  return reinterpret_cast<const Bfloat16*>(tensor.data<phi::dtype::bfloat16>());
}
inline Bfloat16* data(Tensor& tensor) { return reinterpret_cast<Bfloat16*>(tensor.data<phi::dtype::bfloat16>()); }

// For templates of the images' element type T, which is float or Bfloat16.
template <class T>
constexpr phi::DataType kTypeOf = std::is_same_v<T, float> ? kFloat32 : kBfloat16;

template <class T>
const T* elements(const Tensor& tensor) {
  if constexpr (std::is_same_v<T, float>)
    return tensor.data<float>();
  else
    return data(tensor);
}
template <class T>
T* elements(Tensor& tensor) {
  if constexpr (std::is_same_v<T, float>)
    return tensor.data<float>();
  else
    return data(tensor);
}

inline Tensor empty_bfloat16(const Tensor& model, const Shape& shape) {
  return paddle::experimental::empty(shape, kBfloat16, model.place());
}
inline Tensor empty_float32(const Tensor& model, const Shape& shape) {
  return paddle::experimental::empty(shape, kFloat32, model.place());
}

}  // namespace ppzoo::ops
