// Convolution through the oneDNN that PaddlePaddle's wheel carries.
//
// A primitive is made for one shape and kept; the least recently used ones are dropped. oneDNN chooses the layout of
// the weights, which are reordered on the way in and out; images stay NHWC.
#include <algorithm>
#include <list>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>

#include "kernels.h"
#include "onednn.h"
#include "parallel.h"

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
    dnnl_engine* made = nullptr;
    check(dnnl_engine_create(&made, kCpu, 0), "make an engine");
    return made;
  }();
  return cpu;
}

dnnl_stream* stream() {
  static dnnl_stream* queue = [] {
    dnnl_stream* made = nullptr;
    check(dnnl_stream_create(&made, engine(), kInOrder), "make a stream");
    return made;
  }();
  return queue;
}

// Owner of one of oneDNN's objects.
template <class T, int (*kDestroy)(T*)>
class Owned {
 public:
  Owned() = default;
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  Owned(Owned&& other) noexcept : object_(other.object_) { other.object_ = nullptr; }
  Owned& operator=(Owned&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Owned() {
    if (object_ != nullptr) kDestroy(object_);
  }
  T** out() { return &object_; }
  T* get() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  T* object_ = nullptr;
};

using Layout = Owned<dnnl_memory_desc, dnnl_memory_desc_destroy>;
using Memory = Owned<dnnl_memory, dnnl_memory_destroy>;
using Description = Owned<dnnl_primitive_desc, dnnl_primitive_desc_destroy>;
using Primitive = Owned<dnnl_primitive, dnnl_primitive_destroy>;
using Attributes = Owned<dnnl_primitive_attr, dnnl_primitive_attr_destroy>;

Layout strided(std::vector<int64_t> sizes, std::vector<int64_t> strides) {
  Layout layout;
  check(dnnl_memory_desc_create_with_strides(layout.out(), static_cast<int>(sizes.size()), sizes.data(), kFloat32,
                                             strides.data()),
        "describe a tensor");
  return layout;
}

Layout nhwc(int64_t images, int64_t channels, int64_t height, int64_t width) {
  return strided({images, channels, height, width}, {height * width * channels, 1, width * channels, channels});
}

std::vector<int64_t> weight_sizes(const ConvShape& s) {
  std::vector<int64_t> sizes{s.out_channels / s.groups, s.channels / s.groups, s.kernel_h, s.kernel_w};
  if (s.groups > 1) sizes.insert(sizes.begin(), s.groups);
  return sizes;
}

Layout plain_weights(const ConvShape& s) {
  std::vector<int64_t> sizes = weight_sizes(s), strides(sizes.size(), 1);
  for (size_t axis = sizes.size() - 1; axis > 0; --axis) strides[axis - 1] = strides[axis] * sizes[axis];
  if (s.weight_step > 0) strides[0] = s.weight_step;
  return strided(sizes, strides);
}

Layout chosen_weights(const ConvShape& s) {
  std::vector<int64_t> sizes = weight_sizes(s);
  Layout layout;
  check(dnnl_memory_desc_create_with_tag(layout.out(), static_cast<int>(sizes.size()), sizes.data(), kFloat32,
                                         kAnyLayout),
        "describe weights");
  return layout;
}

Attributes own_scratchpad() {
  Attributes attributes;
  check(dnnl_primitive_attr_create(attributes.out()), "make attributes");
  check(dnnl_primitive_attr_set_scratchpad_mode(attributes.get(), kUserScratchpad), "set the scratchpad's mode");
  return attributes;
}

enum class Pass { kForward, kInputGradient, kWeightGradient };

// A primitive with its arguments, ready to be run on other pointers.
struct Task {
  Primitive primitive, reorder;
  std::vector<int> numbers;
  std::vector<Memory> arguments;
  Memory scratchpad, plain;
  size_t scratchpad_bytes = 0, weight_bytes = 0;
};

Description describe(const ConvShape& s, Pass pass, bool bias) {
  Layout x = nhwc(s.images, s.channels, s.height, s.width);
  Layout y = nhwc(s.images, s.out_channels, s.out_height(), s.out_width());
  Layout weights = chosen_weights(s);
  Layout offsets = bias ? strided({s.out_channels}, {1}) : Layout();
  const int64_t strides[] = {s.stride_h, s.stride_w}, dilates[] = {s.dilation_h - 1, s.dilation_w - 1};
  const int64_t before[] = {s.top, s.left}, after[] = {s.bottom, s.right};
  Attributes attributes = own_scratchpad();

  Description forward;
  check(dnnl_convolution_forward_primitive_desc_create(forward.out(), engine(), kForwardTraining, kDirectConvolution,
                                                       x.get(), weights.get(), offsets.get(), y.get(), strides,
                                                       dilates, before, after, attributes.get()),
        "describe a convolution");
  if (pass == Pass::kForward) return forward;
  Description backward;
  if (pass == Pass::kInputGradient) {
    check(dnnl_convolution_backward_data_primitive_desc_create(backward.out(), engine(), kDirectConvolution, x.get(),
                                                               weights.get(), y.get(), strides, dilates, before, after,
                                                               forward.get(), attributes.get()),
          "describe a convolution's input gradient");
  } else {
    check(dnnl_convolution_backward_weights_primitive_desc_create(
              backward.out(), engine(), kDirectConvolution, x.get(), weights.get(), nullptr, y.get(), strides, dilates,
              before, after, forward.get(), attributes.get()),
          "describe a convolution's weight gradient");
  }
  return backward;
}

std::vector<int> arguments_of(Pass pass, bool bias) {
  // The weights are always second: they are the argument that may need reordering.
  switch (pass) {
    case Pass::kForward:
      return bias ? std::vector<int>{kSource, kWeights, kDestination, kBias}
                  : std::vector<int>{kSource, kWeights, kDestination};
    case Pass::kInputGradient:
      return {kSourceGradient, kWeights, kDestinationGradient};
    default:
      return {kSource, kWeightsGradient, kDestinationGradient};
  }
}

Memory memory(const dnnl_memory_desc* layout) {
  Memory made;
  check(dnnl_memory_create(made.out(), layout, engine(), nullptr), "make a memory object");
  return made;
}

Task make_task(const ConvShape& shape, Pass pass, bool bias) {
  Task task;
  Description description = describe(shape, pass, bias);
  check(dnnl_primitive_create(task.primitive.out(), description.get()), "make a convolution");
  task.numbers = arguments_of(pass, bias);
  for (int number : task.numbers) {
    task.arguments.push_back(memory(dnnl_primitive_desc_query_md(description.get(), kQueryArgument, number)));
  }
  const dnnl_memory_desc* scratchpad = dnnl_primitive_desc_query_md(description.get(), kQueryArgument, kScratchpad);
  task.scratchpad_bytes = dnnl_memory_desc_get_size(scratchpad);
  task.scratchpad = memory(scratchpad);

  Layout plain = plain_weights(shape);
  const dnnl_memory_desc* chosen = dnnl_primitive_desc_query_md(description.get(), kQueryArgument, task.numbers[1]);
  if (!dnnl_memory_desc_equal(plain.get(), chosen)) {
    task.weight_bytes = dnnl_memory_desc_get_size(chosen);
    task.plain = memory(plain.get());
    const bool outwards = pass == Pass::kWeightGradient;
    Description reorder;
    check(dnnl_reorder_primitive_desc_create(reorder.out(), outwards ? chosen : plain.get(), engine(),
                                             outwards ? plain.get() : chosen, engine(), nullptr),
          "describe a reordering of weights");
    check(dnnl_primitive_create(task.reorder.out(), reorder.get()), "make a reordering of weights");
  }
  return task;
}

using Key = std::tuple<int, bool, int, std::vector<int64_t>>;

Key key_of(const ConvShape& s, Pass pass, bool bias, int threads) {
  return {static_cast<int>(pass),
          bias,
          threads,
          {s.images, s.height, s.width, s.channels, s.out_channels, s.kernel_h, s.kernel_w, s.stride_h, s.stride_w,
           s.top, s.bottom, s.left, s.right, s.dilation_h, s.dilation_w, s.groups, s.weight_step}};
}

// The tasks of the shapes seen last; each is for the number of threads that it was made with.
Task& task_for(const ConvShape& shape, Pass pass, bool bias, int threads) {
  constexpr size_t kCapacity = 2048;
  static std::list<std::pair<Key, Task>> recent;
  static std::map<Key, std::list<std::pair<Key, Task>>::iterator> places;

  Key key = key_of(shape, pass, bias, threads);
  auto found = places.find(key);
  if (found != places.end()) {
    recent.splice(recent.begin(), recent, found->second);
    return found->second->second;
  }
  recent.emplace_front(key, make_task(shape, pass, bias));
  places[key] = recent.begin();
  if (recent.size() > kCapacity) {
    places.erase(recent.back().first);
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

// Runs one pass; `data` in the order of `arguments_of`.
void run(const ConvShape& shape, Pass pass, bool bias, const std::vector<const void*>& data) {
  const AvailableThreads threads;
  Task& task = task_for(shape, pass, bias, threads.count());
  const bool outwards = pass == Pass::kWeightGradient;
  std::vector<dnnl_exec_arg_t> arguments;
  for (size_t i = 0; i < task.numbers.size(); ++i) {
    set(task.arguments[i], data[i]);
    arguments.push_back({task.numbers[i], task.arguments[i].get()});
  }
  if (task.scratchpad_bytes > 0) {
    set(task.scratchpad, shared_buffer(Purpose::kScratchpad, task.scratchpad_bytes));
  }
  arguments.push_back({kScratchpad, task.scratchpad.get()});

  if (task.reorder) {
    set(task.arguments[1], shared_buffer(Purpose::kWeights, task.weight_bytes));
    set(task.plain, data[1]);
  }
  if (task.reorder && !outwards) {
    execute(task.reorder, {{kSource, task.plain.get()}, {kDestination, task.arguments[1].get()}});
  }
  execute(task.primitive, arguments);
  if (task.reorder && outwards) {
    execute(task.reorder, {{kSource, task.arguments[1].get()}, {kDestination, task.plain.get()}});
  }
  check(dnnl_stream_wait(stream()), "finish");
}

// Terms of a sum that oneDNN may add up one after the other: more than twice as many cost a digit, and are made part by
// part of the summed channels.
constexpr int64_t kTerms = 1152;

bool long_sums(const ConvShape& s, int64_t channels) {
  return s.groups == 1 && channels * s.kernel_h * s.kernel_w > 2 * kTerms;
}

// Calls body(first, slice, count, to) for parts of the channels of `whole` (pixels x channels): `slice` holds a part,
// and what is written to `to` becomes a term of `sum`.
template <class Body>
void sum_over_channels(const ConvShape& s, const float* whole, int64_t pixels, int64_t channels, float* sum,
                       int64_t sum_size, const Body& body) {
  const int64_t part = (equal_parts(channels, kTerms / (s.kernel_h * s.kernel_w)) + 15) / 16 * 16;
  float* slice = buffer(Purpose::kSlice, pixels * part);
  float* term = buffer(Purpose::kPartialSum, sum_size);
  for (int64_t first = 0; first < channels; first += part) {
    const int64_t count = std::min(part, channels - first);
    parallel(pixels, pixels * count, [&](int, int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        std::copy_n(whole + pixel * channels + first, count, slice + pixel * count);
      }
    });
    body(first, slice, count, first == 0 ? sum : term);
    if (first > 0) accumulate(term, sum_size, sum);
  }
}

// Writes `rows` copies of `row`, or of zeros where it is null.
void repeat(const float* row, int64_t rows, int64_t width, float* to) {
  for (int64_t i = 0; i < rows; ++i, to += width) {
    if (row != nullptr) {
      std::copy_n(row, width, to);
    } else {
      std::fill_n(to, width, 0.0f);
    }
  }
}

// Shapes that oneDNN (3.6 at least) does not compute: it reads through a null pointer where the filter sees nothing but
// padding, and where it reaches beyond the padding; and takes one channel for another where there is one channel, one
// column of outputs and a horizontal stride, for the strides of axes of size one do not tell it the layout.
bool misunderstood(const ConvShape& s) {
  const int64_t rows = s.dilation_h * (s.kernel_h - 1) + 1, columns = s.dilation_w * (s.kernel_w - 1) + 1;
  const bool only_padding = s.top >= rows || s.left >= columns || s.seen_rows() - rows - s.top >= s.height ||
                            s.seen_columns() - columns - s.left >= s.width;
  const bool beyond = rows > s.height + s.top + s.bottom || columns > s.width + s.left + s.right;
  const bool ambiguous = s.channels == 1 && ((s.out_width() == 1 && s.stride_w > 1) ||
                                             (s.out_height() == 1 && s.stride_h > 1));
  return only_padding || beyond || ambiguous;
}

// The same convolution of just the rows and columns that the filter sees, without padding.
ConvShape seen_alone(const ConvShape& s) {
  ConvShape seen = s;
  seen.height = s.seen_rows(), seen.width = s.seen_columns();
  seen.top = seen.bottom = seen.left = seen.right = 0;
  if (s.out_height() == 1) seen.stride_h = 1;
  if (s.out_width() == 1) seen.stride_w = 1;
  return seen;
}

// Calls body(place in the input, place in what is seen, elements) for the rows that lie in both.
template <class Body>
void for_seen_rows(const ConvShape& s, const ConvShape& seen, const Body& body) {
  const int64_t last = std::min(s.width, seen.width - s.left);
  for (int64_t image = 0; last > 0 && image < s.images; ++image) {
    for (int64_t row = 0; row < std::min(s.height, seen.height - s.top); ++row) {
      body((image * s.height + row) * s.width * s.channels,
           ((image * seen.height + row + s.top) * seen.width + s.left) * s.channels, last * s.channels);
    }
  }
}

const float* copy_seen(const ConvShape& s, const ConvShape& seen, const float* x) {
  float* copy = buffer(Purpose::kSeen, seen.source_size());
  std::fill_n(copy, seen.source_size(), 0.0f);
  for_seen_rows(s, seen, [&](int64_t from, int64_t to, int64_t count) { std::copy_n(x + from, count, copy + to); });
  return copy;
}

}  // namespace

void convolve(const ConvShape& shape, const float* x, const float* weights, const float* bias, float* y) {
  if (shape.empty()) return repeat(bias, shape.output_pixels(), shape.out_channels, y);
  if (pointwise(shape)) return pointwise_convolve(shape, x, weights, bias, y);
  if (depthwise(shape)) return depthwise_convolve(shape, x, weights, bias, y);
  if (winograd(shape)) return winograd_convolve(shape, x, weights, bias, y);
  if (misunderstood(shape)) {
    const ConvShape seen = seen_alone(shape);
    return convolve(seen, copy_seen(shape, seen, x), weights, bias, y);
  }
  if (long_sums(shape, shape.channels)) {
    const int64_t taps = shape.kernel_h * shape.kernel_w, pixels = shape.images * shape.height * shape.width;
    const auto add = [&](int64_t first, const float* slice, int64_t count, float* to) {
      ConvShape piece = shape;
      piece.channels = count, piece.weight_step = shape.channels * taps;
      const bool biased = bias != nullptr && first == 0;
      run(piece, Pass::kForward, biased, {slice, weights + first * taps, to, bias});
    };
    return sum_over_channels(shape, x, pixels, shape.channels, y, shape.output_size(), add);
  }
  run(shape, Pass::kForward, bias != nullptr, {x, weights, y, bias});
}

void convolve_input_gradient(const ConvShape& shape, const float* weights, const float* dy, float* dx) {
  if (shape.empty()) return repeat(nullptr, shape.source_pixels(), shape.channels, dx);
  if (pointwise(shape)) return pointwise_input_gradient(shape, weights, dy, dx);
  if (depthwise(shape)) return depthwise_input_gradient(shape, weights, dy, dx);
  if (winograd(shape)) return winograd_input_gradient(shape, weights, dy, dx);
  if (misunderstood(shape)) {
    const ConvShape seen = seen_alone(shape);
    float* gradient = buffer(Purpose::kSeen, seen.source_size());
    convolve_input_gradient(seen, weights, dy, gradient);
    std::fill_n(dx, shape.source_size(), 0.0f);
    return for_seen_rows(shape, seen, [&](int64_t to, int64_t from, int64_t count) {
      std::copy_n(gradient + from, count, dx + to);
    });
  }
  if (long_sums(shape, shape.out_channels)) {
    const int64_t filter = shape.weight_size() / shape.out_channels;
    const auto add = [&](int64_t first, const float* slice, int64_t count, float* to) {
      ConvShape piece = shape;
      piece.out_channels = count;
      run(piece, Pass::kInputGradient, false, {to, weights + first * filter, slice});
    };
    const int64_t pixels = shape.output_size() / shape.out_channels;
    return sum_over_channels(shape, dy, pixels, shape.out_channels, dx, shape.source_size(), add);
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
  if (misunderstood(shape)) {
    const ConvShape seen = seen_alone(shape);
    return convolve_weight_gradient(seen, copy_seen(shape, seen, x), dy, add, dweights, nullptr);
  }
  // oneDNN adds all pixels of a thread up in float, one after the other: over a large batch that costs a digit.
  constexpr int64_t kPixels = 4096;
  const int64_t in = shape.source_size() / shape.images, out = shape.output_size() / shape.images;
  const int64_t part = equal_parts(shape.images, kPixels * threads() * shape.out_channels / out);
  for (int64_t image = 0; image < shape.images; image += part) {
    const ConvShape piece = shape.with_images(std::min(part, shape.images - image));
    const bool adding = add || image > 0;
    float* to = dweights;
    if (adding) to = buffer(Purpose::kPartialWeights, shape.weight_size());
    run(piece, Pass::kWeightGradient, false, {x + image * in, to, dy + image * out});
    if (adding) accumulate(to, shape.weight_size(), dweights);
  }
}

}  // namespace ppzoo
