// Which kernels run: the only place that asks the CPU what it can do. The environment variable SPNET_ISA names one
// instruction set to use instead of the best.
#pragma once

#include <array>
#include <atomic>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "spnet/core/error.hpp"
#include "spnet/kernels/avx2/table.hpp"
#include "spnet/kernels/avx512/table.hpp"
#include "spnet/kernels/simd/table.hpp"
#include "spnet/kernels/table.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels {

namespace detail {

// Filled once, best first; `simd` runs wherever the program itself does.
struct Available {
  std::array<const KernelTable*, 8> tables{};
  std::size_t count = 0;

  Available() {
#if defined(__x86_64__)
    // __builtin_cpu_supports also asks whether the operating system saves the wide registers.
    __builtin_cpu_init();
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
      tables[count++] = &avx512::kTable;
    if (has_avx2) tables[count++] = &avx2::kTable;
#endif
    tables[count++] = &simd::kTable;
  }
};

inline std::atomic<const KernelTable*>& forced() {
  static std::atomic<const KernelTable*> table{nullptr};
  return table;
}

}  // namespace detail

/// The tables that run on this machine, best first.
inline std::span<const KernelTable* const> available() {
  static const detail::Available all;
  return {all.tables.data(), all.count};
}

/// The table called `name`; throws ValueError, listing what is there, where this machine has none of that name.
inline const KernelTable& find(std::string_view name) {
  std::string names;
  for (const KernelTable* table : available()) {
    if (name == table->name) return *table;
    names += (names.empty() ? "" : ", ") + std::string(table->name);
  }
  throw ValueError(message("SPNET_ISA: '", name, "' is not available here, expected one of ", names));
}

/// Makes every later call use the table called `name`, or the default again where it is empty; throws as `find`. For
/// tests and benchmarks: not while operators run on another thread.
inline void force(std::string_view name) { detail::forced() = name.empty() ? nullptr : &find(name); }

/// The table in use: the one `force` chose, else the one SPNET_ISA names, else the best.
inline const KernelTable& active() {
  if (const KernelTable* table = detail::forced().load(std::memory_order_relaxed)) return *table;
  static const KernelTable& chosen = []() -> const KernelTable& {
    const char* name = std::getenv("SPNET_ISA");
    return name && *name ? find(name) : *available().front();
  }();
  return chosen;
}

}  // namespace kernels
}  // namespace v0
}  // namespace spnet
