// Convolution with arbitrary geometry, through the oneDNN library of PaddlePaddle's wheel.
//
// Geometries with a dedicated kernel (1x1, depthwise, Winograd) are passed on to it. For the others a oneDNN
// primitive is created per shape, pass and number of threads, and kept in an LRU cache. Images are NHWC in and out.
// oneDNN chooses a blocked layout for the weights, which are reordered from and to OIHW in slot kPackedWeights. oneDNN
// parallelizes.
//
// Long sums are split for accuracy: over slices of at most kMaxSumTerms / (kernel_h kernel_w) channels for outputs and
// input gradients, over parts of the batch for weight gradients.
#include "kernels/convolution.h"

#include <algorithm>
#include <list>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/depthwise.h"
#include "kernels/elementwise.h"
#include "kernels/integer_math.h"
#include "kernels/onednn.h"
#include "kernels/parallel.h"
#include "kernels/pointwise.h"
#include "kernels/winograd.h"
#include "kernels/workspace.h"

namespace ppzoo {
namespace {

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

MemoryDesc strided(std::vector<int64_t> sizes, std::vector<int64_t> strides) {
  MemoryDesc layout;
  check(dnnl_memory_desc_create_with_strides(layout.out(), static_cast<int>(sizes.size()), sizes.data(), kFloat32,
                                             strides.data()),
        "describe a tensor");
  return layout;
}

MemoryDesc nhwc(int64_t images, int64_t channels, int64_t height, int64_t width) {
  return strided({images, channels, height, width}, {height * width * channels, 1, width * channels, channels});
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
  return strided(sizes, strides);
}

MemoryDesc chosen_weights(const ConvShape& s) {
  std::vector<int64_t> sizes = weight_sizes(s);
  MemoryDesc layout;
  check(dnnl_memory_desc_create_with_tag(layout.out(), static_cast<int>(sizes.size()), sizes.data(), kFloat32,
                                         kAnyLayout),
        "describe weights");
  return layout;
}

Attributes user_scratchpad() {
  Attributes attributes;
  check(dnnl_primitive_attr_create(attributes.out()), "create attributes");
  check(dnnl_primitive_attr_set_scratchpad_mode(attributes.get(), kUserScratchpad), "set the scratchpad's mode");
  return attributes;
}

enum class Pass { kForward, kInputGradient, kWeightGradient };

// A primitive with its argument objects, whose data pointers are set for each run. `reorder` converts the weights
// between OIHW and the layout that oneDNN chose; it is empty if they are the same.
struct CachedPrimitive {
  Primitive primitive, reorder;
  std::vector<int> argument_ids;
  std::vector<Memory> arguments;
  Memory scratchpad, plain;
  size_t scratchpad_bytes = 0, weight_bytes = 0;
};

PrimitiveDesc describe(const ConvShape& s, Pass pass, bool bias) {
  MemoryDesc x = nhwc(s.images, s.channels, s.height, s.width);
  MemoryDesc y = nhwc(s.images, s.out_channels, s.out_height(), s.out_width());
  MemoryDesc weights = chosen_weights(s);
  MemoryDesc offsets = bias ? strided({s.out_channels}, {1}) : MemoryDesc();
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
    check(dnnl_convolution_backward_weights_primitive_desc_create(backward.out(), engine(), kDirectConvolution, x.get(),
                                                                  weights.get(), nullptr, y.get(), strides, dilates,
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

CachedPrimitive create_primitive(const ConvShape& shape, Pass pass, bool bias) {
  CachedPrimitive cached;
  PrimitiveDesc description = describe(shape, pass, bias);
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

using Key = std::tuple<int, bool, int, std::vector<int64_t>>;

Key key_of(const ConvShape& s, Pass pass, bool bias, int threads) {
  return {static_cast<int>(pass),
          bias,
          threads,
          {s.images, s.height, s.width, s.channels, s.out_channels, s.kernel_h, s.kernel_w, s.stride_h, s.stride_w,
           s.top, s.bottom, s.left, s.right, s.dilation_h, s.dilation_w, s.groups, s.weight_stride}};
}

// Returns the primitive of this shape from the LRU cache, or creates it. A primitive can only run with the number of
// threads that it was created with.
CachedPrimitive& cached_primitive(const ConvShape& shape, Pass pass, bool bias, int threads) {
  constexpr size_t kCapacity = 2048;
  static std::list<std::pair<Key, CachedPrimitive>> recent;
  static std::map<Key, std::list<std::pair<Key, CachedPrimitive>>::iterator> positions;

  Key key = key_of(shape, pass, bias, threads);
  auto found = positions.find(key);
  if (found != positions.end()) {
    recent.splice(recent.begin(), recent, found->second);
    return found->second->second;
  }
  recent.emplace_front(key, create_primitive(shape, pass, bias));
  positions[key] = recent.begin();
  if (recent.size() > kCapacity) {
    positions.erase(recent.back().first);
    recent.pop_back();
  }
  return recent.front().second;
}

void set(const Memory& memory, const void* data) {
  check(dnnl_memory_set_data_handle(memory.get(), const_cast<void*>(data)), "use a tensor");
}

void execute(const Primitive& primitive, const std::vector<dnnl_exec_arg_t>& arguments) {
  check(dnnl_primitive_execute(primitive.get(), stream(), static_cast<int>(arguments.size()), arguments.data()),
        "run a primitive");
}

// Runs one pass. `data` is in the order of `arguments_of`.
void run(const ConvShape& shape, Pass pass, bool bias, const std::vector<const void*>& data) {
  const AvailableThreads threads;
  CachedPrimitive& cached = cached_primitive(shape, pass, bias, threads.count());
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

// The length of the sums that oneDNN computes in one run. More than twice as many terms would lose one decimal digit of
// accuracy; such convolutions are computed as a sum over slices of channels.
constexpr int64_t kMaxSumTerms = 1152;

bool needs_channel_slices(const ConvShape& s, int64_t channels) {
  return s.groups == 1 && channels * s.kernel_h * s.kernel_w > 2 * kMaxSumTerms;
}

// Calls body(first, slice, count, to) for slices of the channels of `values` (pixels x channels). `slice` has a dense
// copy of the channels [first, first + count); what the body writes to `to` is added to `sum`.
template <class Body>
void sum_over_channel_slices(const ConvShape& s, const float* values, int64_t pixels, int64_t channels, float* sum,
                             int64_t sum_size, const Body& body) {
  const int64_t part = (equal_part_size(channels, kMaxSumTerms / (s.kernel_h * s.kernel_w)) + 15) / 16 * 16;
  float* slice = workspace(WorkspaceSlot::kChannelSlice, pixels * part);
  float* term = workspace(WorkspaceSlot::kPartialOutput, sum_size);
  for (int64_t first = 0; first < channels; first += part) {
    const int64_t count = std::min(part, channels - first);
    parallel_for(pixels, pixels * count, [&](int, int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        std::copy_n(values + pixel * channels + first, count, slice + pixel * count);
      }
    });
    body(first, slice, count, first == 0 ? sum : term);
    if (first > 0) accumulate(term, sum_size, sum);
  }
}

// Writes `rows` copies of `row`, or zeros if it is null.
void repeat(const float* row, int64_t rows, int64_t width, float* to) {
  for (int64_t i = 0; i < rows; ++i, to += width) {
    if (row != nullptr) {
      std::copy_n(row, width, to);
    } else {
      std::fill_n(to, width, 0.0f);
    }
  }
}

// Whether oneDNN (3.6 at least) crashes or returns wrong results for this shape. It dereferences a null pointer if a
// filter covers only padding or reaches beyond the padding. It mixes up channels if there is one channel, one column of
// outputs and a horizontal stride, since the strides of axes of size one do not determine the layout.
bool onednn_miscomputes(const ConvShape& s) {
  const int64_t rows = s.dilation_h * (s.kernel_h - 1) + 1, columns = s.dilation_w * (s.kernel_w - 1) + 1;
  const bool only_padding = s.top >= rows || s.left >= columns || s.receptive_rows() - rows - s.top >= s.height ||
                            s.receptive_columns() - columns - s.left >= s.width;
  const bool beyond = rows > s.height + s.top + s.bottom || columns > s.width + s.left + s.right;
  const bool ambiguous =
      s.channels == 1 && ((s.out_width() == 1 && s.stride_w > 1) || (s.out_height() == 1 && s.stride_h > 1));
  return only_padding || beyond || ambiguous;
}

// The same convolution without padding, on the rows and columns that the filter covers.
ConvShape crop_to_receptive_field(const ConvShape& s) {
  ConvShape cropped = s;
  cropped.height = s.receptive_rows(), cropped.width = s.receptive_columns();
  cropped.top = cropped.bottom = cropped.left = cropped.right = 0;
  if (s.out_height() == 1) cropped.stride_h = 1;
  if (s.out_width() == 1) cropped.stride_w = 1;
  return cropped;
}

// Calls body(offset in the input, offset in the cropped input, elements) for the rows that are in both.
template <class Body>
void for_cropped_rows(const ConvShape& s, const ConvShape& cropped, const Body& body) {
  const int64_t last = std::min(s.width, cropped.width - s.left);
  for (int64_t image = 0; last > 0 && image < s.images; ++image) {
    for (int64_t row = 0; row < std::min(s.height, cropped.height - s.top); ++row) {
      body((image * s.height + row) * s.width * s.channels,
           ((image * cropped.height + row + s.top) * cropped.width + s.left) * s.channels, last * s.channels);
    }
  }
}

const float* copy_cropped(const ConvShape& s, const ConvShape& cropped, const float* x) {
  float* copy = workspace(WorkspaceSlot::kCroppedInput, cropped.input_size());
  std::fill_n(copy, cropped.input_size(), 0.0f);
  for_cropped_rows(s, cropped,
                   [&](int64_t from, int64_t to, int64_t count) { std::copy_n(x + from, count, copy + to); });
  return copy;
}

// Whether a 1x1 filter skips pixels or covers padding. oneDNN (3.6 at least) writes behind its own buffer in the weight
// gradient of such convolutions if the number of channels is not a multiple of 16. They are computed without it: as 1x1
// convolutions of a copy of the pixels that the filter covers.
bool samples_pixels(const ConvShape& s) {
  const bool dense = s.stride_h == 1 && s.stride_w == 1 && s.top + s.bottom + s.left + s.right == 0;
  return s.kernel_h == 1 && s.kernel_w == 1 && !dense;
}

// The same convolution of a copy of the pixels.
ConvShape sample_shape(const ConvShape& s) {
  ConvShape sampled = s;
  sampled.height = s.out_height(), sampled.width = s.out_width();
  sampled.stride_h = sampled.stride_w = sampled.dilation_h = sampled.dilation_w = 1;
  sampled.top = sampled.bottom = sampled.left = sampled.right = 0;
  return sampled;
}

// Calls body(offset in the input, offset in the copy) for each covered pixel outside of the padding.
template <class Body>
void for_sampled_pixels(const ConvShape& s, const Body& body) {
  const int64_t rows = s.out_height(), columns = s.out_width();
  parallel_for(s.images * rows, s.output_pixels() * s.channels, [&](int, int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t image = line / rows, row = line % rows * s.stride_h - s.top;
      if (row < 0 || row >= s.height) continue;
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t column = j * s.stride_w - s.left;
        if (column < 0 || column >= s.width) continue;
        body(((image * s.height + row) * s.width + column) * s.channels, (line * columns + j) * s.channels);
      }
    }
  });
}

const float* copy_sampled(const ConvShape& s, const float* x) {
  const int64_t size = s.output_pixels() * s.channels;
  float* copy = workspace(WorkspaceSlot::kCroppedInput, size);
  std::fill_n(copy, size, 0.0f);
  for_sampled_pixels(s, [&](int64_t from, int64_t to) { std::copy_n(x + from, s.channels, copy + to); });
  return copy;
}

}  // namespace

void convolve(const ConvShape& shape, const float* x, const float* weights, const float* bias, float* y) {
  if (shape.empty()) return repeat(bias, shape.output_pixels(), shape.out_channels, y);
  if (pointwise(shape)) return pointwise_convolve(shape, x, weights, bias, y);
  if (depthwise(shape)) return depthwise_convolve(shape, x, weights, bias, y);
  if (winograd(shape)) return winograd_convolve(shape, x, weights, bias, y);
  if (samples_pixels(shape)) return convolve(sample_shape(shape), copy_sampled(shape, x), weights, bias, y);
  if (onednn_miscomputes(shape)) {
    const ConvShape cropped = crop_to_receptive_field(shape);
    return convolve(cropped, copy_cropped(shape, cropped, x), weights, bias, y);
  }
  if (needs_channel_slices(shape, shape.channels)) {
    const int64_t taps = shape.kernel_h * shape.kernel_w, pixels = shape.images * shape.height * shape.width;
    const auto add = [&](int64_t first, const float* slice, int64_t count, float* to) {
      ConvShape piece = shape;
      piece.channels = count, piece.weight_stride = shape.channels * taps;
      const bool has_bias = bias != nullptr && first == 0;
      run(piece, Pass::kForward, has_bias, {slice, weights + first * taps, to, bias});
    };
    return sum_over_channel_slices(shape, x, pixels, shape.channels, y, shape.output_size(), add);
  }
  run(shape, Pass::kForward, bias != nullptr, {x, weights, y, bias});
}

void convolve_input_gradient(const ConvShape& shape, const float* weights, const float* dy, float* dx) {
  if (shape.empty()) return repeat(nullptr, shape.input_pixels(), shape.channels, dx);
  if (pointwise(shape)) return pointwise_input_gradient(shape, weights, dy, dx);
  if (depthwise(shape)) return depthwise_input_gradient(shape, weights, dy, dx);
  if (winograd(shape)) return winograd_input_gradient(shape, weights, dy, dx);
  if (samples_pixels(shape)) {
    float* gradient = workspace(WorkspaceSlot::kCroppedInput, shape.output_pixels() * shape.channels);
    convolve_input_gradient(sample_shape(shape), weights, dy, gradient);
    std::fill_n(dx, shape.input_size(), 0.0f);
    return for_sampled_pixels(
        shape, [&](int64_t to, int64_t from) { std::copy_n(gradient + from, shape.channels, dx + to); });
  }
  if (onednn_miscomputes(shape)) {
    const ConvShape cropped = crop_to_receptive_field(shape);
    float* gradient = workspace(WorkspaceSlot::kCroppedInput, cropped.input_size());
    convolve_input_gradient(cropped, weights, dy, gradient);
    std::fill_n(dx, shape.input_size(), 0.0f);
    return for_cropped_rows(
        shape, cropped, [&](int64_t to, int64_t from, int64_t count) { std::copy_n(gradient + from, count, dx + to); });
  }
  if (needs_channel_slices(shape, shape.out_channels)) {
    const int64_t filter = shape.weight_size() / shape.out_channels;
    const auto add = [&](int64_t first, const float* slice, int64_t count, float* to) {
      ConvShape piece = shape;
      piece.out_channels = count;
      run(piece, Pass::kInputGradient, false, {to, weights + first * filter, slice});
    };
    const int64_t pixels = shape.output_size() / shape.out_channels;
    return sum_over_channel_slices(shape, dy, pixels, shape.out_channels, dx, shape.input_size(), add);
  }
  run(shape, Pass::kInputGradient, false, {dx, weights, dy});
}

void convolve_weight_gradient(const ConvShape& shape, const float* x, const float* dy, bool add, float* dweights,
                              float* dbias) {
  if (dbias != nullptr) sum_rows(dy, shape.output_pixels(), shape.out_channels, add, dbias);
  if (shape.empty()) {
    if (!add) repeat(nullptr, 1, shape.weight_size(), dweights);
    return;
  }
  if (pointwise(shape)) return pointwise_weight_gradient(shape, x, dy, add, dweights);
  if (depthwise(shape)) return depthwise_weight_gradient(shape, x, dy, add, dweights);
  if (winograd(shape)) return winograd_weight_gradient(shape, x, dy, add, dweights);
  if (samples_pixels(shape)) {
    return convolve_weight_gradient(sample_shape(shape), copy_sampled(shape, x), dy, add, dweights, nullptr);
  }
  if (onednn_miscomputes(shape)) {
    const ConvShape cropped = crop_to_receptive_field(shape);
    return convolve_weight_gradient(cropped, copy_cropped(shape, cropped, x), dy, add, dweights, nullptr);
  }
  // oneDNN sums over all pixels of a thread in float. Parts of the batch keep these sums short.
  constexpr int64_t kPixels = 4096;
  const int64_t in = shape.input_size() / shape.images, out = shape.output_size() / shape.images;
  const int64_t part = equal_part_size(shape.images, kPixels * max_threads() * shape.out_channels / out);
  for (int64_t image = 0; image < shape.images; image += part) {
    const ConvShape piece = shape.with_images(std::min(part, shape.images - image));
    const bool adding = add || image > 0;
    float* to = dweights;
    if (adding) to = workspace(WorkspaceSlot::kWeightGradients, shape.weight_size());
    run(piece, Pass::kWeightGradient, false, {x + image * in, to, dy + image * out});
    if (adding) accumulate(to, shape.weight_size(), dweights);
  }
}

}  // namespace ppzoo
