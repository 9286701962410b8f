// Element-wise kernels of avx2.
#pragma once

#if defined(__x86_64__)
#include "spnet/kernels/elementwise_body.hpp"
#include "spnet/kernels/avx2/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::avx2 {

SPNET_AVX2 inline void moments(const MomentsArgs<float>& a) { body::moments<Lanes>(a); }
SPNET_AVX2 inline void normalize(const NormalizeArgs<float>& a) { body::normalize<Lanes>(a); }
SPNET_AVX2 inline void normalize_sums(const NormalizeSumsArgs<float>& a) { body::normalize_sums<Lanes>(a); }
SPNET_AVX2 inline void normalize_gradient(const NormalizeGradientArgs<float>& a) { body::normalize_gradient<Lanes>(a); }
SPNET_AVX2 inline void add(float* sum, const float* term, std::int64_t count) { body::add<Lanes>(sum, term, count); }
SPNET_AVX2 inline void relu(const float* x, float* y, std::int64_t count) { body::relu<Lanes>(x, y, count); }
SPNET_AVX2 inline void relu_gradient(const float* gradient, const float* y, float* dx, std::int64_t count) {
  body::relu_gradient<Lanes>(gradient, y, dx, count);
}

constexpr ElementwiseKernels elementwise_kernels() {
  return {moments, normalize, normalize_sums, normalize_gradient, add, relu, relu_gradient};
}

}  // namespace kernels::avx2
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
