// What runs here: the only file that asks the CPU what it can do, and that includes every instruction set's kernels.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <span>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "spnet/kernels/amx/table.hpp"
#include "spnet/kernels/avx2/table.hpp"
#include "spnet/kernels/avx512/table.hpp"
#include "spnet/kernels/neon/table.hpp"
#include "spnet/kernels/simd/table.hpp"
#include "spnet/kernels/table.hpp"

// A function that one translation unit compiles for all of them must not be inline.
#ifdef SPNET_SHARED_KERNELS
#define SPNET_KERNELS_INLINE
#else
#define SPNET_KERNELS_INLINE inline
#endif

namespace spnet {
inline namespace v0 {
namespace kernels {

namespace detail {

#if defined(__x86_64__)
// Not every compiler's __builtin_cpu_supports knows it.
inline bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
// Linux keeps the contents of tiles for programs that ask for it once, and for good: signal stacks must have room for them
// then (8 KB more, see sigaltstack). Elsewhere nothing is known of them.
inline bool has_amx() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1) && (d >> 25 & 1) &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

// Filled once, best first; `simd` runs wherever the program itself does.
struct Available {
  std::array<const KernelTable*, 8> tables{};
  std::size_t count = 0;

  Available() {
#if defined(__x86_64__)
    // __builtin_cpu_supports also asks whether the operating system saves the wide registers.
    __builtin_cpu_init();
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    const bool has_vnni = has_avx512 && __builtin_cpu_supports("avx512vnni");
    const bool has_vpopcnt = has_vnni && __builtin_cpu_supports("avx512vpopcntdq");
    const bool has_bf16 = has_vpopcnt && __builtin_cpu_supports("avx512bf16");
    if (has_bf16 && has_amx()) tables[count++] = &amx::kTable;
    const bool is_amd = __builtin_cpu_is("amd");
    if (has_bf16 && is_amd) tables[count++] = &avx512::kBf16Table;
    if (has_vpopcnt) tables[count++] = is_amd ? &avx512::kAmdPopcntTable : &avx512::kPopcntTable;
    if (has_vnni) tables[count++] = &avx512::kVnniTable;
    if (has_avx512) tables[count++] = &avx512::kTable;
    if (has_avx2 && has_avx_vnni()) tables[count++] = &avx2::kVnniTable;
    else if (has_vnni) tables[count++] = &avx2::kVnniEvexTable;
    if (has_avx2) tables[count++] = &avx2::kTable;
#elif defined(__aarch64__)
#if defined(__linux__)
    // Bits of the kernel's interface, by number where the headers are older than the extensions.
    const bool has_dotprod = getauxval(AT_HWCAP) >> 20 & 1, has_i8mm = getauxval(AT_HWCAP2) >> 13 & 1;
    if (has_dotprod && has_i8mm) tables[count++] = &neon::kI8mmTable;
    if (has_dotprod) tables[count++] = &neon::kDotprodTable;
#endif
    tables[count++] = &neon::kTable;
#endif
    tables[count++] = &simd::kTable;
  }
};

}  // namespace detail

/// The tables that run on this machine, best first.
SPNET_KERNELS_INLINE std::span<const KernelTable* const> available() {
  static const detail::Available all;
  return {all.tables.data(), all.count};
}

/// What the processor calls itself, for what is remembered of one; plain text, perhaps empty.
SPNET_KERNELS_INLINE const char* cpu_name() {
  static const std::array<char, 49> name = [] {
    std::array<char, 49> out{};
#if defined(__x86_64__)
    for (unsigned leaf = 0; leaf < 3; ++leaf) {
      unsigned words[4] = {};
      if (!__get_cpuid(0x80000002U + leaf, &words[0], &words[1], &words[2], &words[3])) break;
      std::memcpy(out.data() + 16 * leaf, words, sizeof words);
    }
#endif
    for (char& c : out) c = c == 0 || (c >= ' ' && c <= '~') ? c : '?';
    return out;
  }();
  return name.data();
}

}  // namespace kernels
}  // namespace v0
}  // namespace spnet

#undef SPNET_KERNELS_INLINE
