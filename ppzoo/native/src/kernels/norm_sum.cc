// The sum of the batch norms of two or three tensors and its gradient. wide_rows.h describes the layout, the loop nest,
// the blocking, and what is parallel.
//
// Each pass reads all tensors once. The forward pass adds normalized values, not offsets, so that large means of
// different branches do not cause cancellation. The backward passes read the ReLU's mask from y: that is faster than
// writing the masked gradient in the first pass and reading it in the second.
#include "kernels/norm_sum.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "kernels/activation_simd.h"
#include "kernels/wide_rows.h"

namespace ppzoo {
namespace {

// Calls body(tag) with the number of branches as a compile-time constant: decltype(tag)::value.
template <class Body>
void dispatch_branches(size_t branches, const Body& body) {
  if (branches == kMinBranches) return body(std::integral_constant<int, kMinBranches>());
  body(std::integral_constant<int, kMaxBranches>());
}

// The same pointers, `offset` elements further on; null pointers stay null.
template <class T>
std::array<T*, kMaxBranches> advanced(const std::vector<T*>& pointers, int64_t offset) {
  std::array<T*, kMaxBranches> moved{};
  for (size_t i = 0; i < pointers.size(); ++i) moved[i] = pointers[i] != nullptr ? pointers[i] + offset : nullptr;
  return moved;
}

template <int kBranches, class T>
std::array<T*, kBranches> copied(T* const* pointers) {
  std::array<T*, kBranches> copies;
  std::copy_n(pointers, kBranches, copies.begin());
  return copies;
}

// The constants of a strip for each branch.
template <int kBranches, class Strip, class Values>
auto branch_constants(const Strip& strip, int64_t first, const Values& values_of) {
  struct {
    Vector values[kBranches][Strip::kCount];
  } constants;
  for (int b = 0; b < kBranches; ++b) {
    const Constants loaded(strip, values_of(b), first);
    for (int v = 0; v < Strip::kCount; ++v) constants.values[b][v] = loaded[v];
  }
  return constants;
}

}  // namespace

void NormSum::apply(const std::vector<const float*>& x, int64_t rows, float* y) const {
  const int64_t channels = norms_[0].channels_, width = static_cast<int64_t>(norms_[0].scale_.size());
  dispatch_branches(x.size(), [&](auto branches) {
    parallel_rows(rows, channels, width, [&](int, int64_t first, int64_t count) {
      const int64_t start = first * channels;
      apply_rows<decltype(branches)::value>(advanced(x, start).data(), count, y + start);
    });
  });
}

template <int kBranches>
void NormSum::apply_rows(const float* const* x, int64_t rows, float* y) const {
  const WideRows wide(rows, norms_[0].channels_);
  for_strips(wide, [&](auto strip, int64_t first, int64_t begin, int64_t end) {
    constexpr int kCount = decltype(strip)::kCount;
    const auto scales =
        branch_constants<kBranches>(strip, first, [&](int b) -> const auto& { return norms_[b].scale_; });
    const auto offsets =
        branch_constants<kBranches>(strip, first, [&](int b) -> const auto& { return norms_[b].offset_; });
    const auto from = copied<kBranches>(x);  // copies of captured variables: see Normalizer::apply_rows_as
    float* const to = y;
    const int64_t width = wide.width;
    for (int64_t row = begin; row < end; ++row) {
#pragma GCC unroll 2
      for (int v = 0; v < kCount; ++v) {
        const int64_t index = row * width + first + v * kLanes;
        Vector sum{};
#pragma GCC unroll 3
        for (int b = 0; b < kBranches; ++b)
          sum += strip.load(from[b] + index) * scales.values[b][v] + offsets.values[b][v];
        strip.store(activate<Activation::kRelu>(sum), to + index);
      }
    }
  });
}

void NormSumGradient::add(const std::vector<const float*>& x, const float* y, const float* dy) {
  const int64_t channels = norms_[0].channels_, rows = norms_[0].rows_;
  dispatch_branches(x.size(), [&](auto branches) {
    constexpr int kBranches = decltype(branches)::value;
    parallel_rows(rows, channels, norms_[0].width_, [&](int thread, int64_t first, int64_t count) {
      const int64_t start = first * channels;
      const auto from = advanced(x, start);
      if (rows * channels <= kDoubleSumElements) {
        add_rows<ppzoo::Doubles, kBranches>(thread, from.data(), y + start, dy + start, count);
      } else {
        add_rows<Vector, kBranches>(thread, from.data(), y + start, dy + start, count);
      }
    });
  });
}

template <class Sum, int kBranches>
void NormSumGradient::add_rows(int thread, const float* const* x, const float* y, const float* dy, int64_t rows) {
  const int64_t width = norms_[0].width_;
  for_strips(WideRows(rows, norms_[0].channels_), [&](auto strip, int64_t first, int64_t begin, int64_t end) {
    constexpr int kCount = decltype(strip)::kCount;
    const auto means =
        branch_constants<kBranches>(strip, first, [&](int b) -> const auto& { return norms_[b].center_; });
    Sum sum[kCount] = {}, product[kBranches][kCount] = {};
    for (int64_t row = begin; row < end; ++row) {
#pragma GCC unroll 2
      for (int v = 0; v < kCount; ++v) {
        const int64_t index = row * width + first + v * kLanes;
        const Vector f = activation_gradient<Activation::kRelu>(strip.load(y + index), strip.load(dy + index));
        sum[v] += convert<Sum>(f);
#pragma GCC unroll 3
        for (int b = 0; b < kBranches; ++b) {
          product[b][v] +=
              convert<Sum>(f) * (convert<Sum>(strip.load(x[b] + index)) - convert<Sum>(means.values[b][v]));
        }
      }
    }
    for (int b = 0; b < kBranches; ++b) {
      double* totals = &norms_[b].totals_[2 * width * thread];
      for (int v = 0; v < kCount; ++v) {
        add_to(totals + first + v * kLanes, to_doubles(sum[v]));
        add_to(totals + width + first + v * kLanes, to_doubles(product[b][v]));
      }
    }
  });
}

void NormSumGradient::apply_rows(const std::vector<const float*>& x, const float* y, const float* dy, int64_t rows,
                                 const std::vector<float*>& dx) const {
  dispatch_branches(x.size(),
                    [&](auto branches) { apply_rows_of<decltype(branches)::value>(x.data(), y, dy, rows, dx.data()); });
}

template <int kBranches>
void NormSumGradient::apply_rows_of(const float* const* x, const float* y, const float* dy, int64_t rows,
                                    float* const* dx) const {
  const int64_t width = norms_[0].width_;
  for_strips(WideRows(rows, norms_[0].channels_), [&](auto strip, int64_t first, int64_t begin, int64_t end) {
    constexpr int kCount = decltype(strip)::kCount;
    const auto constants = [&](std::vector<float> NormGradient::* member) {
      return branch_constants<kBranches>(strip, first, [&](int b) -> const auto& { return norms_[b].*member; });
    };
    const auto k = constants(&NormGradient::scale_), mean = constants(&NormGradient::center_);
    const auto p = constants(&NormGradient::slope_), q = constants(&NormGradient::constant_);
    const auto from = copied<kBranches>(x);
    const auto to = copied<kBranches>(dx);
    const float *const outputs = y, *const gradients = dy;
    const int64_t row_size = width;
    for (int64_t row = begin; row < end; ++row) {
#pragma GCC unroll 2
      for (int v = 0; v < kCount; ++v) {
        const int64_t index = row * row_size + first + v * kLanes;
        const Vector f =
            activation_gradient<Activation::kRelu>(strip.load(outputs + index), strip.load(gradients + index));
#pragma GCC unroll 3
        for (int b = 0; b < kBranches; ++b) {
          if (to[b] == nullptr) continue;
          const Vector centered = strip.load(from[b] + index) - mean.values[b][v];
          strip.store(k.values[b][v] * f + (p.values[b][v] * centered + q.values[b][v]), to[b] + index);
        }
      }
    }
  });
}

}  // namespace ppzoo
