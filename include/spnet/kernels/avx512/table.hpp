// The table of avx512.
#pragma once

#if defined(__x86_64__)
#include "spnet/kernels/avx512/bf16.hpp"
#include "spnet/kernels/avx512/conv.hpp"
#include "spnet/kernels/avx512/elementwise.hpp"
#include "spnet/kernels/avx512/integer.hpp"
#include "spnet/kernels/avx512/quantize.hpp"
#include "spnet/kernels/table.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::avx512 {

inline constexpr KernelTable kTable{"avx512", conv_kernels(), elementwise_kernels(), quantize_kernels(), code_kernels()};
inline constexpr KernelTable kVnniTable{"avx512_vnni", conv_kernels(), elementwise_kernels(), quantize_kernels(),
                                        vnni_code_kernels()};
inline constexpr KernelTable kPopcntTable{"avx512_vpopcnt", conv_kernels(), elementwise_kernels(), quantize_kernels(),
                                          popcnt_code_kernels()};
inline constexpr KernelTable kBf16Table{"avx512_bf16",       conv_kernels(),        elementwise_kernels(),
                                        quantize_kernels(), popcnt_code_kernels(), bf16_kernels()};

}  // namespace kernels::avx512
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
