// What the files *_operators.cc share, in which the kernels become PaddlePaddle operators with their gradients. Images
// are NHWC, weights OIHW, all float32 on the CPU. They serve dygraph only (see ppzoo/native/__init__.py), so shapes are
// inferred where PaddlePaddle asks for a function but never take part in a static program.
//
// The kernels trust their arguments, so an operator compares every shape, count and option that a kernel indexes by
// before it calls one, its gradient's included, and raises PaddlePaddle's InvalidArgument: in Python a ValueError.
// Operators compute on tensors that hold at least one element; empty ones are left to PaddlePaddle's operators.
#pragma once

#include <exception>
#include <initializer_list>
#include <mutex>
#include <new>
#include <sstream>
#include <string>

#include "kernels.h"
#include "paddle/phi/api/ext/op_meta_info.h"
#include "paddle/phi/api/include/api.h"
#include "paddle/phi/core/dense_tensor.h"
#include "paddle/phi/core/enforce.h"

namespace ppzoo::glue {

using paddle::Tensor;
using Shape = std::vector<int64_t>;

// ---- checks

template <class Values>
std::string text(const Values& values) {
  std::ostringstream out;
  const char* separator = "[";
  for (const auto value : values) out << separator << value, separator = ", ";
  out << (values.size() == 0 ? "[]" : "]");
  return out.str();
}

// Raises InvalidArgument with the message that `describe()` returns unless `holds`.
template <class Describe>
void require(bool holds, const Describe& describe) {
  if (PD_LIKELY(holds)) return;
  PADDLE_THROW(phi::errors::InvalidArgument("%s", std::string(describe())));
}

// What `tensor`, called `name` in messages, must be for its data to be read: dense float32 values on the CPU, one at least.
inline void require_readable(const Tensor& tensor, const char* name) {
  require(tensor.is_dense_tensor() && tensor.initialized() && tensor.is_cpu() &&
              tensor.dtype() == paddle::DataType::FLOAT32,
          [&] { return std::string(name) + ": expected a dense float32 tensor on the CPU that holds elements"; });
}

// The same, and that it has the shape `expected`.
inline void require_shape(const Tensor& tensor, const char* name, std::initializer_list<int64_t> expected) {
  require_readable(tensor, name);
  const auto& received = tensor.dims();
  bool same = received.size() == static_cast<int>(expected.size());
  int axis = 0;
  for (int64_t size : expected) same = same && received[axis++] == size;
  require(same, [&] {
    return std::string(name) + ": expected shape " + text(expected) + ", got " + text(tensor.shape());
  });
}

inline void require_shape_of(const Tensor& tensor, const char* name, const Tensor& model) {
  require_readable(tensor, name);
  require(tensor.dims() == model.dims(), [&] {
    return std::string(name) + ": expected shape " + text(model.shape()) + ", got " + text(tensor.shape());
  });
}

// The same as `require_readable`, and that it has `axes` axes.
inline void require_axes(const Tensor& tensor, const char* name, int axes) {
  require_readable(tensor, name);
  require(tensor.dims().size() == axes, [&] {
    return std::string(name) + ": expected " + std::to_string(axes) + " axes, got shape " + text(tensor.shape());
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

// ---- entry

// Primitives and workspaces are shared, and an operator uses all cores: one at a time.
inline std::mutex& operator_mutex() {
  static std::mutex mutex;
  return mutex;
}

// `Entry<f>::run` is what PaddlePaddle calls of an operator function f: it holds the mutex, and turns the exceptions of
// the C++ library, which would end the process, into those of PaddlePaddle.
template <auto kFunction>
struct Entry;
template <class... Arguments, std::vector<Tensor> (*kFunction)(Arguments...)>
struct Entry<kFunction> {
  static std::vector<Tensor> run(Arguments... arguments) {
    const std::lock_guard<std::mutex> lock(operator_mutex());
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

// The gradients' own gradients are not computed. Without an operator for them PaddlePaddle would take them for zero.
template <class Input>
std::vector<Tensor> no_second_derivative(Input) {
  PADDLE_THROW(phi::errors::Unimplemented(
      "native operators have no second derivatives; set PPZOO_NATIVE=off, or Global.native to off, to compute them with"
      " PaddlePaddle's operators"));
}

// ---- tensors

inline Tensor like(const Tensor& model, const Shape& shape) {
  return paddle::experimental::empty(shape, model.dtype(), model.place());
}

inline Tensor like(const Tensor& model) { return like(model, model.shape()); }

// Gradient of an input that needs none.
inline Tensor nothing(const Tensor& model) { return like(model, Shape{1}); }

inline int64_t channels_of(const Tensor& x) { return x.shape().back(); }
inline int64_t pixels_of(const Tensor& x) { return x.numel() / channels_of(x); }

}  // namespace ppzoo::glue

// An operator's function, as PD_KERNEL takes it.
#define PPZOO_KERNEL(function) PD_KERNEL(ppzoo::glue::Entry<&function>::run)

// The operator for the second derivative of `op`, whose gradient reads `input`, which raises an error.
#define PPZOO_NO_SECOND_DERIVATIVE(op, input)       \
  PD_BUILD_DOUBLE_GRAD_OP(op)                       \
      .Inputs({input})                              \
      .Outputs({paddle::Grad(paddle::Grad("Y"))})   \
      .SetKernelFn(PD_KERNEL(ppzoo::glue::no_second_derivative<const paddle::Tensor&>))
#define PPZOO_NO_SECOND_DERIVATIVE_OF_LIST(op, input) \
  PD_BUILD_DOUBLE_GRAD_OP(op)                         \
      .Inputs({paddle::Vec(input)})                   \
      .Outputs({paddle::Grad(paddle::Grad("Y"))})     \
      .SetKernelFn(PD_KERNEL(ppzoo::glue::no_second_derivative<const std::vector<paddle::Tensor>&>))
