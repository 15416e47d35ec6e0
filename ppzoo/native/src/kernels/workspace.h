// Scratch memory that all kernels share.
//
// Each slot is one buffer that grows to the largest size that was requested and is never returned: the pages are
// faulted in once, not in every training step. Slots are not locked. An operator holds a mutex while it runs (see
// OpEntry in ops/common.h), and a kernel that uses a slot while another kernel's data is live needs a separate slot.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ppzoo {

// The content of a slot is valid until the next request for the same slot.
enum class WorkspaceSlot {
  kOnednnScratchpad,        // scratchpad of a oneDNN primitive
  kPackedWeights,           // packed or reordered weights of the running convolution
  kExpansionWeights,        // packed weights of an expansion that is recomputed inside a depthwise kernel
  kScaledExpansionWeights,  // the same weights, scaled by the batch norm, for the input gradient
  kOutputGradient,          // gradient of a convolution's output
  kWeightGradients,         // one weight gradient per thread, or per part of a batch
  kChannelSlice,            // some channels of a tensor, copied densely
  kCroppedInput,            // the rows and columns of the input that a filter covers
  kCoveredRows,             // the rows of the input that a filter covers, once for each row of outputs
  kInputGradient,           // a term of the gradient of a convolution's input
  kSampledGradient,         // the gradient of the pixels that a 1x1 filter with strides covers
  kPartialOutput,           // one term of an output that is summed over slices of channels
  kInputBlocks,             // per thread: a block of input rows, or transformed input tiles
  kOutputBlocks,            // per thread: a block of output rows, or transformed output tiles
  kFloatInput,              // a bfloat16 input of a convolution, converted to float32
  kFloatOutput,             // the output of such a convolution or its gradient, in float32
  kExpansionGradient,       // gradient of an expansion's output, complete or one block per thread
  kGatedGradient,           // gradient of a projection's input, which is scaled by gates
  kCount
};

// Returns at least `bytes` of memory, aligned to 64 bytes.
//
// Throws std::bad_alloc.
void* reserve_workspace(WorkspaceSlot slot, size_t bytes);

// Returns `count` floats.
inline float* workspace(WorkspaceSlot slot, int64_t count) {
  return static_cast<float*>(reserve_workspace(slot, sizeof(float) * count));
}

}  // namespace ppzoo
