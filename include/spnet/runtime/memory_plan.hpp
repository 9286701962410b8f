// Where buffers lie that are needed for a while, one after another in the same memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "spnet/core/memory.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

/// A buffer that is written at step `first` and read until step `last`, both included.
struct Lifetime {
  std::int64_t bytes = 0;
  std::int64_t first = 0, last = 0;

  bool meets(const Lifetime& other) const { return first <= other.last && other.first <= last; }
};

/// Offsets of the buffers, in bytes, multiples of kAlignment, and what all of them take.
struct MemoryPlan {
  std::vector<std::int64_t> offsets;
  std::int64_t bytes = 0;
};

/// The largest buffers first, each in the lowest gap between those that live at the same time.
inline MemoryPlan plan_memory(std::span<const Lifetime> buffers) {
  std::vector<std::size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return buffers[a].bytes > buffers[b].bytes; });
  MemoryPlan plan{std::vector<std::int64_t>(buffers.size()), 0};
  std::vector<std::size_t> placed;  // by offset
  for (const std::size_t i : order) {
    std::int64_t at = 0;
    for (const std::size_t other : placed) {
      if (!buffers[i].meets(buffers[other])) continue;
      if (at + buffers[i].bytes <= plan.offsets[other]) break;
      at = std::max(at, plan.offsets[other] + buffers[other].bytes);
      at = (at + static_cast<std::int64_t>(kAlignment) - 1) / static_cast<std::int64_t>(kAlignment) *
           static_cast<std::int64_t>(kAlignment);
    }
    plan.offsets[i] = at;
    plan.bytes = std::max(plan.bytes, at + buffers[i].bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](std::size_t a, std::size_t b) { return plan.offsets[a] < plan.offsets[b]; }),
                  i);
  }
  return plan;
}

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
