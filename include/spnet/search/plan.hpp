// The likeliest configuration within budgets that spends what it may.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "spnet/search/knapsack.hpp"

namespace spnet {
inline namespace v0 {
namespace search {

/// The configuration of least Σ losses[layer][choice] that keeps all constraints and spends at least `fill` (0..1) of
/// the budget that it comes nearest to, in all its parts; where that much cannot be spent, nearly as much as can be. To
/// that end spending is rewarded, as little as it takes; beside others, budgets that nothing reaches are left alone.
/// Infinite losses exclude a choice. None where nothing keeps the constraints, or, of several, nothing was found that
/// does.
inline std::optional<Configuration> plan_within(const std::vector<std::vector<double>>& losses,
                                                const std::vector<Constraint>& constraints, double fill) {
  std::vector<Constraint> limits;
  std::copy_if(constraints.begin(), constraints.end(), std::back_inserter(limits),
               [](const Constraint& c) { return c.can_bind(); });
  if (limits.empty()) limits = constraints;
  const auto solve = [&](double reward) {
    auto rewarded = losses;
    for (const Constraint& c : limits)
      for (std::size_t l = 0; l < rewarded.size(); ++l)
        for (std::size_t p = 0; p < rewarded[l].size(); ++p)
          rewarded[l][p] -= reward * c.table.layers[l][p] / c.budget;
    return solve_knapsack(rewarded, constraints, {.states = 512});
  };
  const auto is_filled = [&](const std::optional<Configuration>& configuration) {
    const auto is_spent = [&](const Constraint& c) { return c.table.of(*configuration) >= fill * c.budget; };
    const auto is_wholly_spent = [&](const Constraint& c) {
      return is_spent(c) && std::all_of(limits.begin(), limits.end(), [&](const Constraint& other) {
               return c.part_of < 0 || other.part_of != c.part_of || is_spent(other);
             });
    };
    return configuration && (limits.empty() || std::any_of(limits.begin(), limits.end(), is_wholly_spent));
  };
  std::optional<Configuration> best = solve(0);
  if (!best || is_filled(best)) return best;
  constexpr double kMost = 1e6;
  constexpr int kHalvings = 12;
  double low = 0, high = 1;
  for (; high < kMost; low = std::exchange(high, 4 * high)) {
    if (auto more = solve(high)) best = std::move(more);
    if (is_filled(best)) break;
  }
  for (int i = 0; i < kHalvings && is_filled(best); ++i) {
    const double middle = (low + high) / 2;
    if (auto less = solve(middle); is_filled(less)) {
      best = std::move(less);
      high = middle;
    } else {
      low = middle;
    }
  }
  return best;
}

}  // namespace search
}  // namespace v0
}  // namespace spnet
