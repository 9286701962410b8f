// Element-wise kernels of the portable tier.
#pragma once

#include "spnet/kernels/elementwise.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::simd {

constexpr ElementwiseKernels elementwise_kernels() { return {}; }

}  // namespace kernels::simd
}  // namespace v0
}  // namespace spnet
