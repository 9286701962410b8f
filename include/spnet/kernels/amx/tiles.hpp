// The tiles of the processor. The compilers' intrinsics differ, and neither knows what memory a load reads.
#pragma once

#if defined(__x86_64__)
#include <cstdint>

#include "spnet/kernels/amx_body.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::amx {

struct Tiles {
  SPNET_INLINE static void configure(const body::TileConfig& config) { asm volatile("ldtilecfg %0" : : "m"(config)); }
  SPNET_INLINE static void read_config(body::TileConfig& config) { asm volatile("sttilecfg %0" : "=m"(config)); }
  SPNET_INLINE static void release() { asm volatile("tilerelease"); }

  template <int kTile>
  SPNET_INLINE static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  SPNET_INLINE static void load(const void* from, std::int64_t step) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(step), "i"(kTile) : "memory");
  }
  template <int kTile>
  SPNET_INLINE static void store(void* to, std::int64_t step) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(step), "i"(kTile) : "memory");
  }
  /// sums += x · w, of bytes unsigned and signed.
  template <int kSums, int kX, int kW>
  SPNET_INLINE static void dot_codes() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kX), "i"(kW));
  }
  /// sums += x · w, of bf16.
  template <int kSums, int kX, int kW>
  SPNET_INLINE static void dot_bf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kX), "i"(kW));
  }
};

}  // namespace kernels::amx
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
