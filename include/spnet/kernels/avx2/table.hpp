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
constexpr KernelTable vnni_table(void (*product)(const IntegerProductArgs&)) {
  return {"avx2_vnni", conv_kernels(), elementwise_kernels(), quantize_kernels(), vnni_code_kernels(product)};
}
inline constexpr KernelTable kVnniTable = vnni_table(vnni_product);
inline constexpr KernelTable kVnniEvexTable = vnni_table(vnni_evex_product);

}  // namespace kernels::avx2
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
