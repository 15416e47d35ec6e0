// Code that the files in ops/ share. These files register the kernels as PaddlePaddle operators with gradients. Images
// are NHWC, weights OIHW. All tensors are float32 on the CPU, except the images in bfloat16_ops.cc and
// bfloat16_block_ops.cc.
// The operators serve dynamic graphs only (ppzoo/native/__init__.py), so none of them has an infer-shape function for
// static programs.
//
// Kernels do not check their arguments. An operator (and its gradient) therefore checks every shape, count and option
// that a kernel uses as an index before it calls the kernel, and raises PaddlePaddle's InvalidArgument, in Python a
// ValueError. Tensors must have at least one element; empty ones are computed by PaddlePaddle's operators.
//
// Writing to inputs: the running statistics of a norm, parameters, velocities and averages are updated in place.
// Operator functions receive them as `Tensor&` or `std::vector<Tensor>&`, which PaddlePaddle's interface has for this
// purpose. They are not declared with SetInplaceMap: that would make them outputs, which PaddlePaddle adds to the
// autograd graph (as results of an operation on a leaf) and returns to Python one by one. Python callers must pass
// contiguous tensors, since PaddlePaddle passes a copy of a strided view.
#pragma once

#include <atomic>
#include <exception>
#include <initializer_list>
#include <mutex>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/activation.h"
#include "paddle/phi/api/ext/op_meta_info.h"
#include "paddle/phi/api/include/api.h"
#include "paddle/phi/core/dense_tensor.h"
#include "paddle/phi/core/enforce.h"

namespace ppzoo::ops {

using paddle::Tensor;
using Shape = std::vector<int64_t>;

// ---- checks

template <class Values>
std::string format(const Values& values) {
  std::ostringstream out;
  const char* separator = "[";
  for (const auto value : values) {
    out << separator << value;
    separator = ", ";
  }
  out << (values.size() == 0 ? "[]" : "]");
  return out.str();
}

// Raises InvalidArgument with the message `describe()` unless `holds`.
template <class Describe>
void require(bool holds, const Describe& describe) {
  if (PD_LIKELY(holds)) return;
  PADDLE_THROW(phi::errors::InvalidArgument("%s", std::string(describe())));
}

constexpr phi::DataType kFloat32 = phi::DataType::FLOAT32;

// Requires a dense tensor of this type on the CPU with at least one element. `name` is the tensor's name in messages.
inline void require_readable(const Tensor& tensor, const char* name, phi::DataType type = kFloat32) {
  const auto* dense = tensor.is_dense_tensor() ? static_cast<const phi::DenseTensor*>(tensor.impl().get()) : nullptr;
  require(dense != nullptr && dense->initialized() && dense->place().GetType() == phi::AllocationType::CPU &&
              dense->dtype() == type,
          [&] {
            return std::string(name) + ": expected a dense " + phi::DataTypeToString(type) +
                   " tensor on the CPU with at least one element";
          });
}

// Requires what `require_readable` requires, and the shape `expected`.
inline void require_shape(const Tensor& tensor, const char* name, std::initializer_list<int64_t> expected,
                          phi::DataType type = kFloat32) {
  require_readable(tensor, name, type);
  const auto& actual = tensor.dims();
  bool same = actual.size() == static_cast<int>(expected.size());
  int axis = 0;
  for (int64_t size : expected) same = same && actual[axis++] == size;
  require(same, [&] {
    return std::string(name) + ": expected shape " + format(expected) + ", got " + format(tensor.shape());
  });
}

inline void require_shape_of(const Tensor& tensor, const char* name, const Tensor& model,
                             phi::DataType type = kFloat32) {
  require_readable(tensor, name, type);
  require(tensor.dims() == model.dims(), [&] {
    return std::string(name) + ": expected shape " + format(model.shape()) + ", got " + format(tensor.shape());
  });
}

// Requires the same as `require_readable`, and `axes` axes.
inline void require_axes(const Tensor& tensor, const char* name, int axes, phi::DataType type = kFloat32) {
  require_readable(tensor, name, type);
  require(tensor.dims().size() == axes, [&] {
    return std::string(name) + ": expected " + std::to_string(axes) + " axes, got shape " + format(tensor.shape());
  });
}

inline Activation activation_of(int number, bool with_residual = false) {
  const auto last = with_residual ? Activation::kRelu6 : Activation::kSwish;
  require(number >= 0 && number <= static_cast<int>(last), [&] {
    return "activation: expected a number from 0 to " + std::to_string(static_cast<int>(last)) + ", got " +
           std::to_string(number);
  });
  return static_cast<Activation>(number);
}

// ---- entry points

// Only one operator runs at a time: operators share oneDNN's primitives and the workspace, and each uses all cores.
inline std::mutex& operator_mutex() {
  static std::mutex mutex;
  return mutex;
}

// The number of gradients that operators of this library have computed. If it has changed, `to_nhwc` in operators.py
// does not return an earlier view of a tensor: a backward pass discards the graph of the views that it goes through.
extern "C" std::atomic<int> ppzoo_gradient_count;

// Whether `name` is that of a gradient function. The names of these functions, and no others, end in "_gradient"; those
// of templates are followed by "<".
constexpr bool names_gradient(std::string_view name) {
  constexpr std::string_view kEnd = "_gradient";
  name = name.substr(0, name.find('<'));
  return name.size() > kEnd.size() && name.substr(name.size() - kEnd.size()) == kEnd;
}

// `OpEntry<f, is_gradient>::run` is the function that PaddlePaddle calls for an operator function f. It locks the mutex
// while f runs. It converts exceptions of the C++ standard library, which would terminate the process, to those of
// PaddlePaddle.
template <auto kFunction, bool kIsGradient>
struct OpEntry;
template <class... Arguments, std::vector<Tensor> (*kFunction)(Arguments...), bool kIsGradient>
struct OpEntry<kFunction, kIsGradient> {
  static std::vector<Tensor> run(Arguments... arguments) {
    const std::lock_guard<std::mutex> lock(operator_mutex());
    if (kIsGradient) ++ppzoo_gradient_count;
    std::string problem;
    try {
      return kFunction(arguments...);
    } catch (const std::bad_alloc&) {
      PADDLE_THROW(phi::errors::ResourceExhausted("not enough memory for a native operator"));
    } catch (const std::runtime_error& error) {
      problem = error.what();
    } catch (const std::logic_error& error) {
      problem = error.what();
    }
    PADDLE_THROW(phi::errors::PreconditionNotMet("%s", problem));
  }
};

// ---- second derivatives

// Second derivatives are not implemented. Without an operator for them PaddlePaddle would use zeros.
template <class Input>
std::vector<Tensor> no_second_derivative(Input) {
  PADDLE_THROW(phi::errors::Unimplemented(
      "native operators have no second derivatives; set PPZOO_NATIVE=off, or Global.native to off, to compute them with"
      " PaddlePaddle's operators"));
}

// ---- tensors

inline Tensor empty_like(const Tensor& model, const Shape& shape) {
  return paddle::experimental::empty(shape, model.dtype(), model.place());
}

inline Tensor empty_like(const Tensor& model) { return empty_like(model, model.shape()); }

// Returns a tensor for an output that PaddlePaddle expects but nothing reads, such as the gradient of an input that
// does not require one. Its content is undefined.
inline Tensor placeholder(const Tensor& model) { return empty_like(model, Shape{1}); }

inline int64_t channels_of(const Tensor& x) { return x.shape().back(); }
inline int64_t pixels_of(const Tensor& x) { return x.numel() / channels_of(x); }

}  // namespace ppzoo::ops

// The argument of SetKernelFn for an operator function.
#define PPZOO_KERNEL(function) PD_KERNEL(ppzoo::ops::OpEntry<&function, ppzoo::ops::names_gradient(#function)>::run)

// Registers a second derivative of `op` that raises an error. `input`: an input of the gradient operator.
#define PPZOO_NO_SECOND_DERIVATIVE(op, input)     \
  PD_BUILD_DOUBLE_GRAD_OP(op)                     \
      .Inputs({input})                            \
      .Outputs({paddle::Grad(paddle::Grad("Y"))}) \
      .SetKernelFn(PD_KERNEL(ppzoo::ops::no_second_derivative<const paddle::Tensor&>))
#define PPZOO_NO_SECOND_DERIVATIVE_OF_LIST(op, input) \
  PD_BUILD_DOUBLE_GRAD_OP(op)                         \
      .Inputs({paddle::Vec(input)})                   \
      .Outputs({paddle::Grad(paddle::Grad("Y"))})     \
      .SetKernelFn(PD_KERNEL(ppzoo::ops::no_second_derivative<const std::vector<paddle::Tensor>&>))
