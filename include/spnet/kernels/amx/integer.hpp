// Integer convolution kernels of AMX: products of bytes on tiles, all else as avx512.
#pragma once

#if defined(__x86_64__)
#include "spnet/kernels/amx/tiles.hpp"
#include "spnet/kernels/avx512/integer.hpp"

#define SPNET_AMX_INT8 __attribute__((target("amx-tile,amx-int8,avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")))

namespace spnet {
inline namespace v0 {
namespace kernels::amx {

// Sums are the same on vectors and on tiles.
SPNET_AMX_INT8 inline void code_product(const IntegerProductArgs& a) {
  using Codes = body::TileCodes<Tiles, avx512::Units>;
  if (body::tile_product<Codes>(a)) return;
  for (std::int64_t line = 0; line < a.lines.count; ++line) avx512::vnni_product(Codes::line_of(a, line));
}
// Tiles in use are saved whenever threads take turns, and keep a core from its deeper sleep.
SPNET_AMX_INT8 inline void release_tiles() { Tiles::release(); }

constexpr CodeKernels code_kernels() {
  CodeKernels kernels = avx512::popcnt_code_kernels(2);
  kernels.small = kernels.exact = {
      "amx int8",   avx512::Units::kLanes, 2 * avx512::Units::kLanes, 1, 1, 255, 0, avx512::byte_elements,
      code_product, release_tiles,         true};
  kernels.many_pixels = 32;
  return kernels;
}

}  // namespace kernels::amx
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
