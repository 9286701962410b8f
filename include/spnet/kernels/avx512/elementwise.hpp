// Element-wise kernels of avx512.
#pragma once

#if defined(__x86_64__)
#include "spnet/kernels/elementwise.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::avx512 {

constexpr ElementwiseKernels elementwise_kernels() { return {}; }

}  // namespace kernels::avx512
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
