// The tables of neon.
#pragma once

#if defined(__aarch64__)
#include "spnet/kernels/neon/conv.hpp"
#include "spnet/kernels/neon/integer.hpp"
#include "spnet/kernels/simd/elementwise.hpp"
#include "spnet/kernels/simd/quantize.hpp"
#include "spnet/kernels/table.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::neon {

// The portable tier's element-wise vectors are those of neon here.
constexpr KernelTable table(const char* name, const CodeKernels& codes) {
  return {name, conv_kernels(), simd::elementwise_kernels(), simd::quantize_kernels(), codes};
}
inline constexpr KernelTable kTable = table("neon", code_kernels());
inline constexpr KernelTable kDotprodTable = table("neon_dotprod", dotprod_code_kernels());
inline constexpr KernelTable kI8mmTable = table("neon_i8mm", i8mm_code_kernels());

}  // namespace kernels::neon
}  // namespace v0
}  // namespace spnet
#endif  // __aarch64__
