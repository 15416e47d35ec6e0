// Sums of two tensors, with an activation or with one factor per image, and column sums.
//
// Loop nest: images (one for the sums with an activation) -> vectors of an image, whose order in memory does not
// matter. The last vector of an image can be shorter. Parallel over the vectors of all images. For column sums: rows ->
// vectors of a row. Parallel over rows, with one sum per thread, in double.
#include "kernels/sums.h"

#include <vector>

#include "kernels/activation_simd.h"
#include "kernels/vector_loop.h"

namespace ppzoo {
template <class T>
void add_activate(const T* x, const Exactly<T>* z, Activation activation, int64_t count, T* y) {
  dispatch_activation(activation, [&](auto tag) {
    for_vectors(1, count, [=](auto strip, int64_t i, int64_t) {
      const Vector sum = z == nullptr ? strip.load(x + i) : strip.load(x + i) + strip.load(z + i);
      strip.store(activate<decltype(tag)::value>(sum), y + i);
    });
  });
}

template <class T>
void add_activate_gradient(const T* x, const Exactly<T>* z, const T* dy, Activation activation, int64_t count, T* dx,
                           Exactly<T>* dz) {
  dispatch_activation(activation, [&](auto tag) {
    for_vectors(1, count, [=](auto strip, int64_t i, int64_t) {
      const Vector sum = z == nullptr ? strip.load(x + i) : strip.load(x + i) + strip.load(z + i);
      const Vector gradient = activation_gradient<decltype(tag)::value>(sum, strip.load(dy + i));
      strip.store(gradient, dx + i);
      if (dz != nullptr) strip.store(gradient, dz + i);
    });
  });
}

template <class T>
void add_scaled(const T* x, const T* z, const float* factors, int64_t images, int64_t size, T* y) {
  for_vectors(images, size, [=](auto strip, int64_t i, int64_t image) {
    strip.store(strip.load(x + i) + factors[image] * strip.load(z + i), y + i);
  });
}

template <class T>
void add_scaled_gradient(const T* dy, const float* factors, int64_t images, int64_t size, T* dx, T* dz) {
  for_vectors(images, size, [=](auto strip, int64_t i, int64_t image) {
    const Vector gradient = strip.load(dy + i);
    strip.store(gradient, dx + i);
    strip.store(factors[image] * gradient, dz + i);
  });
}

template <class T>
void sum_rows(const T* x, int64_t rows, int64_t columns, bool add, float* sums) {
  const int64_t width = (columns + kLanes - 1) / kLanes * kLanes;
  std::vector<double> totals(max_threads() * width, 0.0);
  parallel_for(rows, rows * columns, [&](int thread, int64_t begin, int64_t end) {
    double* total = totals.data() + thread * width;
    for (const T *row = x + begin * columns, *last = x + end * columns; row < last; row += columns) {
      int64_t c = 0;
      for (; c + kLanes <= columns; c += kLanes) add_to(total + c, to_doubles(load(row + c)));
      if (c < columns) add_to(total + c, to_doubles(load_partial(columns - c, row + c)));
    }
  });
  for (int64_t c = 0; c < columns; ++c) {
    double sum = add ? sums[c] : 0.0;
    for (size_t index = c; index < totals.size(); index += width) sum += totals[index];
    sums[c] = static_cast<float>(sum);
  }
}

#define PPZOO_SUMS_OF(T)                                                                          \
  template void add_activate(const T*, const T*, Activation, int64_t, T*);                        \
  template void add_activate_gradient(const T*, const T*, const T*, Activation, int64_t, T*, T*); \
  template void add_scaled(const T*, const T*, const float*, int64_t, int64_t, T*);               \
  template void add_scaled_gradient(const T*, const float*, int64_t, int64_t, T*, T*);            \
  template void sum_rows(const T*, int64_t, int64_t, bool, float*)
PPZOO_SUMS_OF(float);
PPZOO_SUMS_OF(Bfloat16);

}  // namespace ppzoo
