// The activations that can be fused into other kernels. activation_simd.h computes them.
#pragma once

namespace ppzoo {

// The numbers are `ACTIVATION_CODES` in ppzoo/native/operators.py.
enum class Activation { kNone, kRelu, kRelu6, kHardSwish, kSwish };

}  // namespace ppzoo
