// The fully connected layer.
#pragma once

#include <cstdint>

namespace ppzoo {

// y (rows x out) = x (rows x in) weights (in x out) + bias. `bias` can be null.
void linear(const float* x, const float* weights, const float* bias, int64_t rows, int64_t in, int64_t out, float* y);
// Writes the gradients from dy (rows x out). `dx` and `dbias` can be null.
void linear_gradient(const float* x, const float* weights, const float* dy, int64_t rows, int64_t in, int64_t out,
                     float* dx, float* dweights, float* dbias);

}  // namespace ppzoo
