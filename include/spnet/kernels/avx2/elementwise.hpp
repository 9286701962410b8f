// Element-wise kernels of avx2.
#pragma once

#if defined(__x86_64__)
#include "spnet/kernels/elementwise_body.hpp"
#include "spnet/kernels/avx2/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::avx2 {

SPNET_AVX2 inline void moments(const MomentsArgs<float>& a) {
  body::moments<Lanes>(a);
}
template <class X>
SPNET_AVX2 inline void normalize(const NormalizeArgs<float, X>& a) {
  body::normalize<Lanes>(a);
}
template <class X>
SPNET_AVX2 inline bool normalize_codes(const NormalizeCodesArgs<float, X>& a) {
  return body::normalize_codes<Lanes>(a);
}
template <class X>
SPNET_AVX2 inline void normalize_sums(const NormalizeSumsArgs<float, X>& a) {
  body::normalize_sums<Lanes>(a);
}
template <class X>
SPNET_AVX2 inline void normalize_gradient(const NormalizeGradientArgs<float, X>& a) {
  body::normalize_gradient<Lanes>(a);
}
SPNET_AVX2 inline void maximum(float* largest, const float* x, std::int64_t count) {
  body::maximum<Lanes>(largest, x, count);
}
SPNET_AVX2 inline void add(float* sum, const float* term, std::int64_t count) { body::add<Lanes>(sum, term, count); }
SPNET_AVX2 inline void relu(const float* x, float* y, std::int64_t count) { body::relu<Lanes>(x, y, count); }
SPNET_AVX2 inline void relu_gradient(const float* gradient, const float* y, float* dx, std::int64_t count) {
  body::relu_gradient<Lanes>(gradient, y, dx, count);
}

template <class X>
constexpr NormalizeFunctions<float, X> normalize_functions() {
  return {normalize<X>, normalize_codes<X>, normalize_sums<X>, normalize_gradient<X>};
}
constexpr ElementwiseKernels elementwise_kernels() {
  return {moments, normalize_functions<float>(), normalize_functions<std::int32_t>(), maximum, add, relu, relu_gradient};
}

}  // namespace kernels::avx2
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
