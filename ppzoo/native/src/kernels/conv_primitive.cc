// Convolutions through the oneDNN library of PaddlePaddle's wheel.
//
// A primitive is created for each shape, pass, precision and number of threads, and is kept in an LRU cache.
//
// Layout: inputs and outputs are NHWC. oneDNN chooses a blocked layout for the weights, which are reordered from and to
// OIHW in slot kPackedWeights; in bfloat16, reordering also rounds them. Products are added in float32. oneDNN chooses
// the loop nest and the blocking, and parallelizes.
#include "kernels/conv_primitive.h"

#include <list>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/onednn.h"
#include "kernels/parallel.h"
#include "kernels/workspace.h"

namespace ppzoo {
namespace {

enum class Pass { kForward, kInputGradient, kWeightGradient };

using namespace onednn;

void check(int status, const char* action) {
  if (status != kSuccess) {
    throw std::runtime_error(std::string("oneDNN cannot ") + action + " (status " + std::to_string(status) + ")");
  }
}

dnnl_engine* engine() {
  static dnnl_engine* cpu = [] {
    dnnl_engine* created = nullptr;
    check(dnnl_engine_create(&created, kCpu, 0), "create an engine");
    return created;
  }();
  return cpu;
}

dnnl_stream* stream() {
  static dnnl_stream* queue = [] {
    dnnl_stream* created = nullptr;
    check(dnnl_stream_create(&created, engine(), kInOrder), "create a stream");
    return created;
  }();
  return queue;
}

// Owns a oneDNN object.
template <class T, int (*kDestroy)(T*)>
class Handle {
 public:
  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  Handle(Handle&& other) noexcept : object_(other.object_) { other.object_ = nullptr; }
  Handle& operator=(Handle&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Handle() {
    if (object_ != nullptr) kDestroy(object_);
  }
  T** out() { return &object_; }
  T* get() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  T* object_ = nullptr;
};

using MemoryDesc = Handle<dnnl_memory_desc, dnnl_memory_desc_destroy>;
using Memory = Handle<dnnl_memory, dnnl_memory_destroy>;
using PrimitiveDesc = Handle<dnnl_primitive_desc, dnnl_primitive_desc_destroy>;
using Primitive = Handle<dnnl_primitive, dnnl_primitive_destroy>;
using Attributes = Handle<dnnl_primitive_attr, dnnl_primitive_attr_destroy>;

int data_type(Precision precision) { return precision == Precision::kBfloat16 ? onednn::kBfloat16 : onednn::kFloat32; }

MemoryDesc strided(std::vector<int64_t> sizes, std::vector<int64_t> strides, int type) {
  MemoryDesc layout;
  check(dnnl_memory_desc_create_with_strides(layout.out(), static_cast<int>(sizes.size()), sizes.data(), type,
                                             strides.data()),
        "describe a tensor");
  return layout;
}

MemoryDesc nhwc(int64_t images, int64_t channels, int64_t height, int64_t width, int type) {
  return strided({images, channels, height, width}, {height * width * channels, 1, width * channels, channels}, type);
}

std::vector<int64_t> weight_sizes(const ConvShape& s) {
  std::vector<int64_t> sizes{s.out_channels / s.groups, s.channels / s.groups, s.kernel_h, s.kernel_w};
  if (s.groups > 1) sizes.insert(sizes.begin(), s.groups);
  return sizes;
}

MemoryDesc plain_weights(const ConvShape& s) {
  std::vector<int64_t> sizes = weight_sizes(s), strides(sizes.size(), 1);
  for (size_t axis = sizes.size() - 1; axis > 0; --axis) strides[axis - 1] = strides[axis] * sizes[axis];
  if (s.weight_stride > 0) strides[0] = s.weight_stride;
  return strided(sizes, strides, onednn::kFloat32);
}

MemoryDesc chosen_weights(const ConvShape& s, int type) {
  std::vector<int64_t> sizes = weight_sizes(s);
  MemoryDesc layout;
  check(dnnl_memory_desc_create_with_tag(layout.out(), static_cast<int>(sizes.size()), sizes.data(), type, kAnyLayout),
        "describe weights");
  return layout;
}

Attributes user_scratchpad() {
  Attributes attributes;
  check(dnnl_primitive_attr_create(attributes.out()), "create attributes");
  check(dnnl_primitive_attr_set_scratchpad_mode(attributes.get(), kUserScratchpad), "set the scratchpad's mode");
  return attributes;
}

// A primitive with its argument objects, whose data pointers are set for each run. `reorder` converts the weights
// between float32 in OIHW and the type and layout of the primitive; it is empty if they are the same.
struct CachedPrimitive {
  Primitive primitive, reorder;
  std::vector<int> argument_ids;
  std::vector<Memory> arguments;
  Memory scratchpad, plain;
  size_t scratchpad_bytes = 0, weight_bytes = 0;
};

PrimitiveDesc describe(const ConvShape& s, Pass pass, Precision precision, bool bias) {
  const int type = data_type(precision);
  MemoryDesc x = nhwc(s.images, s.channels, s.height, s.width, type);
  MemoryDesc y = nhwc(s.images, s.out_channels, s.out_height(), s.out_width(), type);
  MemoryDesc weights = chosen_weights(s, type);
  MemoryDesc offsets = bias ? strided({s.out_channels}, {1}, onednn::kFloat32) : MemoryDesc();
  const int64_t strides[] = {s.stride_h, s.stride_w}, dilates[] = {s.dilation_h - 1, s.dilation_w - 1};
  const int64_t before[] = {s.top, s.left}, after[] = {s.bottom, s.right};
  Attributes attributes = user_scratchpad();

  PrimitiveDesc forward;
  check(dnnl_convolution_forward_primitive_desc_create(forward.out(), engine(), kForwardTraining, kDirectConvolution,
                                                       x.get(), weights.get(), offsets.get(), y.get(), strides, dilates,
                                                       before, after, attributes.get()),
        "describe a convolution");
  if (pass == Pass::kForward) return forward;
  PrimitiveDesc backward;
  if (pass == Pass::kInputGradient) {
    check(dnnl_convolution_backward_data_primitive_desc_create(backward.out(), engine(), kDirectConvolution, x.get(),
                                                               weights.get(), y.get(), strides, dilates, before, after,
                                                               forward.get(), attributes.get()),
          "describe a convolution's input gradient");
  } else {
    MemoryDesc gradient = chosen_weights(s, onednn::kFloat32);
    check(dnnl_convolution_backward_weights_primitive_desc_create(backward.out(), engine(), kDirectConvolution, x.get(),
                                                                  gradient.get(), nullptr, y.get(), strides, dilates,
                                                                  before, after, forward.get(), attributes.get()),
          "describe a convolution's weight gradient");
  }
  return backward;
}

std::vector<int> arguments_of(Pass pass, bool bias) {
  // The weights are always second: the argument that can need a reorder.
  switch (pass) {
    case Pass::kForward:
      return bias ? std::vector<int>{kSource, kWeights, kDestination, kBias}
                  : std::vector<int>{kSource, kWeights, kDestination};
    case Pass::kInputGradient: return {kSourceGradient, kWeights, kDestinationGradient};
    default: return {kSource, kWeightsGradient, kDestinationGradient};
  }
}

Memory memory(const dnnl_memory_desc* layout) {
  Memory created;
  check(dnnl_memory_create(created.out(), layout, engine(), nullptr), "create a memory object");
  return created;
}

CachedPrimitive create_primitive(const ConvShape& shape, Pass pass, Precision precision, bool bias) {
  CachedPrimitive cached;
  PrimitiveDesc description = describe(shape, pass, precision, bias);
  check(dnnl_primitive_create(cached.primitive.out(), description.get()), "create a convolution");
  cached.argument_ids = arguments_of(pass, bias);
  for (int id : cached.argument_ids) {
    cached.arguments.push_back(memory(dnnl_primitive_desc_query_md(description.get(), kQueryArgument, id)));
  }
  const dnnl_memory_desc* scratchpad = dnnl_primitive_desc_query_md(description.get(), kQueryArgument, kScratchpad);
  cached.scratchpad_bytes = dnnl_memory_desc_get_size(scratchpad);
  cached.scratchpad = memory(scratchpad);

  MemoryDesc plain = plain_weights(shape);
  const dnnl_memory_desc* chosen =
      dnnl_primitive_desc_query_md(description.get(), kQueryArgument, cached.argument_ids[1]);
  if (!dnnl_memory_desc_equal(plain.get(), chosen)) {
    cached.weight_bytes = dnnl_memory_desc_get_size(chosen);
    cached.plain = memory(plain.get());
    const bool writes_weights = pass == Pass::kWeightGradient;
    PrimitiveDesc reorder;
    check(dnnl_reorder_primitive_desc_create(reorder.out(), writes_weights ? chosen : plain.get(), engine(),
                                             writes_weights ? plain.get() : chosen, engine(), nullptr),
          "describe a reorder of weights");
    check(dnnl_primitive_create(cached.reorder.out(), reorder.get()), "create a reorder of weights");
  }
  return cached;
}

using Key = std::tuple<int, int, bool, int, std::vector<int64_t>>;

Key key_of(const ConvShape& s, Pass pass, Precision precision, bool bias, int threads) {
  return {static_cast<int>(pass),
          static_cast<int>(precision),
          bias,
          threads,
          {s.images, s.height, s.width, s.channels, s.out_channels, s.kernel_h, s.kernel_w, s.stride_h, s.stride_w,
           s.top, s.bottom, s.left, s.right, s.dilation_h, s.dilation_w, s.groups, s.weight_stride}};
}

// Returns the primitive of this shape from the LRU cache, or creates it. A primitive can only run with the number of
// threads that it was created with.
CachedPrimitive& cached_primitive(const ConvShape& shape, Pass pass, Precision precision, bool bias, int threads) {
  constexpr size_t kCapacity = 2048;
  static std::list<std::pair<Key, CachedPrimitive>> recent;
  static std::map<Key, std::list<std::pair<Key, CachedPrimitive>>::iterator> positions;

  Key key = key_of(shape, pass, precision, bias, threads);
  auto found = positions.find(key);
  if (found != positions.end()) {
    recent.splice(recent.begin(), recent, found->second);
    return found->second->second;
  }
  recent.emplace_front(key, create_primitive(shape, pass, precision, bias));
  positions[key] = recent.begin();
  if (recent.size() > kCapacity) {
    positions.erase(recent.back().first);
    recent.pop_back();
  }
  return recent.front().second;
}

void set(const Memory& memory, void* data) { check(dnnl_memory_set_data_handle(memory.get(), data), "use a tensor"); }

// oneDNN takes void* also for memory that it only reads.
void* read_only(const void* data) { return const_cast<void*>(data); }

void execute(const Primitive& primitive, const std::vector<dnnl_exec_arg_t>& arguments) {
  check(dnnl_primitive_execute(primitive.get(), stream(), static_cast<int>(arguments.size()), arguments.data()),
        "run a primitive");
}

// Runs one pass. `data`: the tensors in the order of `arguments_of`.
void run(const ConvShape& shape, Pass pass, Precision precision, bool bias, const std::vector<void*>& data) {
  const AvailableThreads threads;
  CachedPrimitive& cached = cached_primitive(shape, pass, precision, bias, threads.count());
  const bool writes_weights = pass == Pass::kWeightGradient;
  std::vector<dnnl_exec_arg_t> arguments;
  for (size_t i = 0; i < cached.argument_ids.size(); ++i) {
    set(cached.arguments[i], data[i]);
    arguments.push_back({cached.argument_ids[i], cached.arguments[i].get()});
  }
  if (cached.scratchpad_bytes > 0) {
    set(cached.scratchpad, reserve_workspace(WorkspaceSlot::kOnednnScratchpad, cached.scratchpad_bytes));
  }
  arguments.push_back({kScratchpad, cached.scratchpad.get()});

  if (cached.reorder) {
    set(cached.arguments[1], reserve_workspace(WorkspaceSlot::kPackedWeights, cached.weight_bytes));
    set(cached.plain, data[1]);
  }
  if (cached.reorder && !writes_weights) {
    execute(cached.reorder, {{kSource, cached.plain.get()}, {kDestination, cached.arguments[1].get()}});
  }
  execute(cached.primitive, arguments);
  if (cached.reorder && writes_weights) {
    execute(cached.reorder, {{kSource, cached.arguments[1].get()}, {kDestination, cached.plain.get()}});
  }
  check(dnnl_stream_wait(stream()), "finish a stream");
}

}  // namespace

void onednn_convolve(const ConvShape& shape, Precision precision, const void* x, const float* weights,
                     const float* bias, void* y) {
  run(shape, Pass::kForward, precision, bias != nullptr, {read_only(x), read_only(weights), y, read_only(bias)});
}

void onednn_input_gradient(const ConvShape& shape, Precision precision, const float* weights, const void* dy,
                           void* dx) {
  run(shape, Pass::kInputGradient, precision, false, {dx, read_only(weights), read_only(dy)});
}

void onednn_weight_gradient(const ConvShape& shape, Precision precision, const void* x, const void* dy,
                            float* dweights) {
  run(shape, Pass::kWeightGradient, precision, false, {read_only(x), dweights, read_only(dy)});
}

}  // namespace ppzoo
