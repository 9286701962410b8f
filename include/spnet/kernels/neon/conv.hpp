// Convolution kernels of neon.
#pragma once

#if defined(__aarch64__)
#include "spnet/kernels/conv_body.hpp"
#include "spnet/kernels/depthwise_body.hpp"
#include "spnet/kernels/neon/vector.hpp"
#include "spnet/kernels/winograd_body.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::neon {

// The largest tiles whose sums, weights and values fit 32 registers.
template <int N>
SPNET_INLINE void product_panel(const ProductArgs& a) {
  constexpr int kPixels = 24 / N < 8 ? 24 / N : 8;
  if (a.x_step != kBlock) return body::even_product_tiles<Float, kPixels, N>(a);
  std::int64_t pixel = 0;
  body::product_tiles<Float, kPixels, N, true>(a, pixel);
  if constexpr (kPixels > 4) body::product_tiles<Float, 4, N, true>(a, pixel);
  body::product_tiles<Float, 2, N, true>(a, pixel);
  body::product_tiles<Float, 1, N, true>(a, pixel);
}

inline void product(const ProductArgs& a) {
  switch (a.width / Float::kLanes) {
    case 4: return product_panel<4>(a);
    case 3: return product_panel<3>(a);
    case 2: return product_panel<2>(a);
    default: return product_panel<1>(a);
  }
}

inline void weight_grad(const WeightGradArgs& a) {
  std::int64_t vector = 0;
  body::weight_grad_tiles<Float, 4, 4>(a, vector);
}

inline void gather(const GatherArgs& a) { body::gather<Float>(a); }
inline void depthwise(const DepthwiseArgs& a) { body::depthwise<body::DepthwiseFloats<Float>, 8>(a); }
inline void depthwise_grad(const DepthwiseGradArgs& a) { body::depthwise_grad<Float, 6>(a); }
inline void winograd_input(const WinogradInputArgs& a) { body::winograd_input<Float>(a); }
inline void winograd_output(const WinogradOutputArgs& a) { body::winograd_output<Float>(a); }
inline void winograd_gradient(const WinogradGradientArgs& a) { body::winograd_gradient<Float>(a); }
inline void winograd_weights(const WinogradWeightsArgs& a) { body::winograd_weights<Float>(a); }
inline void winograd_weight_grad(const WinogradWeightGradArgs& a) { body::winograd_weight_grad<Float>(a); }

constexpr ConvKernels conv_kernels() {
  return {Float::kLanes, 4 * Float::kLanes, gather, product, weight_grad, depthwise, depthwise_grad,
          winograd_input, winograd_output, winograd_gradient, winograd_weights, winograd_weight_grad};
}

}  // namespace kernels::neon
}  // namespace v0
}  // namespace spnet
#endif  // __aarch64__
