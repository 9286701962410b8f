// Which kernels run: the best that available.hpp finds, or those of the instruction set that the environment variable
// SPNET_ISA names.
#pragma once

#include <atomic>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "spnet/core/error.hpp"
#include "spnet/kernels/table.hpp"

// With SPNET_SHARED_KERNELS only those translation units compile the kernels that include available.hpp, one of a
// program; the others are done in half the time.
#ifndef SPNET_SHARED_KERNELS
#include "spnet/kernels/available.hpp"
#endif

namespace spnet {
inline namespace v0 {
namespace kernels {

/// The tables that run on this machine, best first.
std::span<const KernelTable* const> available();
/// What the processor calls itself, for what is remembered of one; plain text, perhaps empty.
const char* cpu_name();

namespace detail {

inline std::atomic<const KernelTable*>& forced() {
  static std::atomic<const KernelTable*> table{nullptr};
  return table;
}

}  // namespace detail

/// The table called `name`; throws ValueError, listing what is there, where this machine has none of that name.
inline const KernelTable& find(std::string_view name) {
  for (const KernelTable* table : available())
    if (name == table->name) return *table;
  throw ValueError(message("SPNET_ISA: '", name, "' is not available here, expected one of ",
                           join(available(), &KernelTable::name)));
}

/// Makes every later call use the table called `name`, or the default again where it is empty; throws as `find`. For
/// tests and benchmarks: not while operators run on another thread.
inline void force(std::string_view name) { detail::forced() = name.empty() ? nullptr : &find(name); }

/// The table in use: the one `force` chose, else the one SPNET_ISA names, else the best.
inline const KernelTable& active() {
  if (const KernelTable* table = detail::forced().load(std::memory_order_relaxed)) return *table;
  static const KernelTable* const chosen = [] {
    const char* name = std::getenv("SPNET_ISA");
    return name && *name ? &find(name) : available().front();
  }();
  return *chosen;
}

}  // namespace kernels
}  // namespace v0
}  // namespace spnet
