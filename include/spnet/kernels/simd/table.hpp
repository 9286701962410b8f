// The table of the portable tier.
#pragma once

#include "spnet/kernels/simd/conv.hpp"
#include "spnet/kernels/simd/elementwise.hpp"
#include "spnet/kernels/simd/integer.hpp"
#include "spnet/kernels/simd/quantize.hpp"
#include "spnet/kernels/table.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::simd {

inline constexpr KernelTable kTable{"simd", conv_kernels(), elementwise_kernels(), quantize_kernels(), code_kernels()};

}  // namespace kernels::simd
}  // namespace v0
}  // namespace spnet
