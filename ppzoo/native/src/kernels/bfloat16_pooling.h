// Max and average pooling of bfloat16 images. Arguments as in pooling.h.
#pragma once

#include "kernels/bfloat16.h"
#include "kernels/pooling.h"

namespace ppzoo {

void bfloat16_max_pool(const PoolShape& shape, const Bfloat16* x, Bfloat16* y, uint8_t* arg);
void bfloat16_max_pool_gradient(const PoolShape& shape, const Bfloat16* dy, const uint8_t* arg, Bfloat16* dx);
void bfloat16_average_pool(const PoolShape& shape, bool padded, const Bfloat16* x, Bfloat16* y);
void bfloat16_average_pool_gradient(const PoolShape& shape, bool padded, const Bfloat16* dy, Bfloat16* dx);

}  // namespace ppzoo
