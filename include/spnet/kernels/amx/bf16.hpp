// bf16 kernels of AMX: products on tiles, all else as avx512.
#pragma once

#if defined(__x86_64__)
#include "spnet/kernels/amx/integer.hpp"
#include "spnet/kernels/amx/tiles.hpp"
#include "spnet/kernels/avx512/bf16.hpp"

#define SPNET_AMX_BF16 __attribute__((target("amx-tile,amx-bf16,avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")))

namespace spnet {
inline namespace v0 {
namespace kernels::amx {

// Which of the two sums a product depends on its segments alone.
SPNET_AMX_BF16 inline void bf16_product(const Bf16ProductArgs& a) {
  if (!body::tile_product<body::TileBf16<Tiles, avx512::Float>>(a)) avx512::bf16_product(a);
}

constexpr Bf16Kernels bf16_kernels() {
  Bf16Kernels kernels = avx512::bf16_kernels();
  kernels.name = "amx bf16";
  kernels.panel = 2 * kernels.lanes;  // wider ones fall into few sets of the first-level cache
  kernels.product = bf16_product;
  kernels.most_products = 3;
  kernels.release = release_tiles;
  return kernels;
}

}  // namespace kernels::amx
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
