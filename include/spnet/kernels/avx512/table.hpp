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
constexpr KernelTable popcnt_table(std::int64_t plane_pairs) {
  return {"avx512_vpopcnt", conv_kernels(), elementwise_kernels(), quantize_kernels(),
          popcnt_code_kernels(plane_pairs)};
}
inline constexpr KernelTable kPopcntTable = popcnt_table(2);
// AMD's cores count the bits of as many vectors as they multiply bytes of, Intel's of half as many; and they multiply
// vectors of bf16 faster than floats.
inline constexpr KernelTable kAmdPopcntTable = popcnt_table(4);
inline constexpr KernelTable kBf16Table{
    "avx512_bf16", conv_kernels(), elementwise_kernels(), quantize_kernels(), popcnt_code_kernels(4), bf16_kernels()};

}  // namespace kernels::avx512
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
