// The arguments of the operators that compute inverted residuals, and their checks. See common.h.
#pragma once

#include <vector>

#include "kernels/depthwise.h"
#include "kernels/inverted_residual.h"
#include "kernels/pointwise.h"
#include "ops/common.h"
#include "ops/layer_arguments.h"
#include "ops/stage_arguments.h"

namespace ppzoo::ops {

constexpr size_t kStages = 3;  // convolutions of a block

// `weights`, `geometry` (of the depthwise convolution) and `activations` are those of one block.
inline InvertedResidual block_of(Shape shape, const Tensor* weights, const Integers& geometry, const int* activations,
                                 bool shortcut) {
  const Integers pointwise{1, 1, 0, 0, 0, 0, 1, 1, 1};
  const Shape input = shape;
  InvertedResidual block;
  for (size_t stage = 0; stage < kStages; ++stage) {
    block.shapes[stage] = conv_shape(shape, weights[stage], stage == 1 ? geometry : pointwise);
    block.activations[stage] = activation_of(activations[stage]);
    shape = output_shape(block.shapes[stage]);
  }
  block.shortcut = shortcut;
  require(ppzoo::pointwise(block.shapes[0]) && depthwise(block.shapes[1]) && ppzoo::pointwise(block.shapes[2]),
          [] { return "inverted residual: expected convolutions that are 1x1, depthwise and 1x1"; });
  const ConvShape& filter = block.shapes[1];
  require(filter.dilation_h * (filter.kernel_h - 1) < filter.height + filter.top + filter.bottom &&
              filter.dilation_w * (filter.kernel_w - 1) < filter.width + filter.left + filter.right,
          [&] { return "inverted residual: expected an input at least as large as the filter, got " + format(input); });
  require(!shortcut || (shape == input && block.activations[2] == Activation::kNone), [&] {
    return "inverted residual: expected equal input and output shapes and no last activation with a shortcut, got " +
           format(input) + " and " + format(shape);
  });
  return block;
}

inline std::vector<InvertedResidual> blocks_of(const Tensor& x, const Tensors& weights, const Integers& geometries,
                                               const Integers& activations, const Integers& shortcuts,
                                               phi::DataType type = kFloat32) {
  const size_t count = shortcuts.size();
  require(count > 0, [] { return "inverted residuals: expected at least one block"; });
  require_count(weights.size(), kStages * count, "weights");
  require_count(activations.size(), kStages * count, "activations");
  require_count(geometries.size(), kGeometry * count, "numbers in the geometries");
  require_axes(x, "input", 4, type);
  std::vector<InvertedResidual> blocks;
  Shape shape = x.shape();
  for (size_t i = 0; i < count; ++i) {
    require(shortcuts[i] == 0 || shortcuts[i] == 1,
            [&] { return "inverted residuals: expected 0 or 1 for a shortcut, got " + std::to_string(shortcuts[i]); });
    const auto geometry = geometries.begin() + static_cast<int64_t>(kGeometry * i);
    blocks.push_back(block_of(shape, &weights[kStages * i], Integers(geometry, geometry + kGeometry),
                              &activations[kStages * i], shortcuts[i] == 1));
    shape = output_shape(blocks.back().shapes[2]);
  }
  return blocks;
}

// The convolutions of all blocks in sequence.
inline std::vector<ConvShape> shapes_of(const std::vector<InvertedResidual>& blocks) {
  std::vector<ConvShape> shapes;
  for (const InvertedResidual& block : blocks) shapes.insert(shapes.end(), block.shapes.begin(), block.shapes.end());
  return shapes;
}

}  // namespace ppzoo::ops
