// The table of AMX.
#pragma once

#if defined(__x86_64__)
#include "spnet/kernels/amx/bf16.hpp"
#include "spnet/kernels/amx/integer.hpp"
#include "spnet/kernels/avx512/table.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::amx {

inline constexpr KernelTable kTable{
    "amx",          avx512::conv_kernels(), avx512::elementwise_kernels(), avx512::quantize_kernels(),
    code_kernels(), bf16_kernels()};

}  // namespace kernels::amx
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
