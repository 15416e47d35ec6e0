// Sums of two tensors, with an activation or with one factor per image.
//
// Loop nest: images (one for the sums with an activation) -> vectors of an image, whose order in memory does not
// matter. The last vector of an image can be shorter. Parallel over the vectors of all images.
#include "kernels/sums.h"

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
void scale_images(const T* x, const float* factors, int64_t images, int64_t size, T* y) {
  for_vectors(images, size,
              [=](auto strip, int64_t i, int64_t image) { strip.store(factors[image] * strip.load(x + i), y + i); });
}

#define PPZOO_SUMS_OF(T)                                                                          \
  template void add_activate(const T*, const T*, Activation, int64_t, T*);                        \
  template void add_activate_gradient(const T*, const T*, const T*, Activation, int64_t, T*, T*); \
  template void add_scaled(const T*, const T*, const float*, int64_t, int64_t, T*);               \
  template void scale_images(const T*, const float*, int64_t, int64_t, T*)
PPZOO_SUMS_OF(float);
PPZOO_SUMS_OF(Bfloat16);

}  // namespace ppzoo
