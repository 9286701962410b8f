// Convolution kernels of avx2.
#pragma once

#if defined(__x86_64__)
#include "spnet/kernels/conv_body.hpp"
#include "spnet/kernels/depthwise_body.hpp"
#include "spnet/kernels/avx2/vector.hpp"
#include "spnet/kernels/winograd_body.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::avx2 {

SPNET_AVX2 inline void product(const ProductArgs& a) {
  std::int64_t pixel = 0;
  if (a.width == 2 * Float::kLanes) {
    if (a.x_step == kBlock) {
      body::product_tiles<Float, 6, 2, true>(a, pixel);
      body::product_tiles<Float, 4, 2, true>(a, pixel);
      body::product_tiles<Float, 2, 2, true>(a, pixel);
      body::product_tiles<Float, 1, 2, true>(a, pixel);
    } else {
      body::even_product_tiles<Float, 6, 2>(a);
    }
  } else {
    if (a.x_step == kBlock) {
      body::product_tiles<Float, 8, 1, true>(a, pixel);
      body::product_tiles<Float, 4, 1, true>(a, pixel);
      body::product_tiles<Float, 2, 1, true>(a, pixel);
      body::product_tiles<Float, 1, 1, true>(a, pixel);
    } else {
      body::even_product_tiles<Float, 10, 1>(a);
    }
  }
}

SPNET_AVX2 inline void weight_grad(const WeightGradArgs& a) {
  std::int64_t vector = 0;
  body::weight_grad_tiles<Float, 4, 3>(a, vector);
  body::weight_grad_tiles<Float, 4, 2>(a, vector);
  body::weight_grad_tiles<Float, 4, 1>(a, vector);
}

SPNET_AVX2 inline void gather(const GatherArgs& a) { body::gather<Float>(a); }
SPNET_AVX2 inline void depthwise(const DepthwiseArgs& a) { body::depthwise<body::DepthwiseFloats<Float>, 4>(a); }
SPNET_AVX2 inline void depthwise_grad(const DepthwiseGradArgs& a) { body::depthwise_grad<Float, 2>(a); }
SPNET_AVX2 inline void winograd_input(const WinogradInputArgs& a) { body::winograd_input<Float>(a); }
SPNET_AVX2 inline void winograd_output(const WinogradOutputArgs& a) { body::winograd_output<Float>(a); }
SPNET_AVX2 inline void winograd_gradient(const WinogradGradientArgs& a) { body::winograd_gradient<Float>(a); }
SPNET_AVX2 inline void winograd_weights(const WinogradWeightsArgs& a) { body::winograd_weights<Float>(a); }
SPNET_AVX2 inline void winograd_weight_grad(const WinogradWeightGradArgs& a) { body::winograd_weight_grad<Float>(a); }

constexpr ConvKernels conv_kernels() {
  return {Float::kLanes, 2 * Float::kLanes, gather, product, weight_grad, depthwise, depthwise_grad,
          winograd_input, winograd_output, winograd_gradient, winograd_weights, winograd_weight_grad};
}

}  // namespace kernels::avx2
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
