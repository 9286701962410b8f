// The table of avx2.
#pragma once

#if defined(__x86_64__)
#include "spnet/kernels/avx2/conv.hpp"
#include "spnet/kernels/avx2/elementwise.hpp"
#include "spnet/kernels/avx2/integer.hpp"
#include "spnet/kernels/avx2/quantize.hpp"
#include "spnet/kernels/table.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::avx2 {

inline constexpr KernelTable kTable{"avx2", conv_kernels(), elementwise_kernels(), quantize_kernels(), code_kernels()};

}  // namespace kernels::avx2
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
