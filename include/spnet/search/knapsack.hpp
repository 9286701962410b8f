// One choice for each item, the least total loss within budgets: the multiple-choice knapsack.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/search/cost_table.hpp"

namespace spnet {
inline namespace v0 {
namespace search {

/// A table and what may be spent of it.
struct Constraint {
  CostTable table;
  double budget = std::numeric_limits<double>::infinity();
  int part_of = -1;  ///< those of the same number ≥ 0 are parts of one constraint

  /// The budget and what rounding adds to a sum that meets it.
  double limit() const { return budget + 1e-9 * std::abs(budget); }
  /// Whether some configuration costs as much, but for rounding: what nothing reaches is no limit.
  bool can_bind() const { return budget <= table.most() + 1e-9 * std::abs(table.most()); }
  bool holds(const Configuration& configuration) const { return table.of(configuration) <= limit(); }
};

inline bool hold(const std::vector<Constraint>& constraints, const Configuration& configuration) {
  return std::all_of(constraints.begin(), constraints.end(),
                     [&](const Constraint& c) { return c.holds(configuration); });
}

struct KnapsackOptions {
  /// Partial choices kept from layer to layer. Where there are fewer that no other beats, the result is the best there
  /// is; else of those with nearly the same costs the one of least loss is kept.
  std::size_t states = 4096;
};

/// The configuration of least Σ losses[layer][precision] that keeps all `constraints`, by dynamic programming over the
/// layers; infinite losses exclude a precision. None where nothing does. Throws ValueError where the tables' sizes
/// differ.
inline std::optional<Configuration> solve_knapsack(const std::vector<std::vector<double>>& losses,
                                                   const std::vector<Constraint>& constraints,
                                                   const KnapsackOptions& options = {}) {
  struct State {
    std::vector<double> costs;
    double loss;
    std::size_t before;  // the state that it continues
    std::uint8_t choice;
  };
  const std::size_t layers = losses.size();
  for (const Constraint& c : constraints)
    check<ValueError>(c.table.layers.size() == layers, "knapsack: costs of ", c.table.layers.size(), " layers for ",
                      layers);
  // The least that the layers behind each will cost.
  std::vector<std::vector<double>> rest(constraints.size(), std::vector<double>(layers + 1, 0));
  for (std::size_t k = 0; k < constraints.size(); ++k)
    for (std::size_t l = layers; l-- > 0;) {
      const auto& layer = constraints[k].table.layers[l];
      check<ValueError>(layer.size() == losses[l].size(), "knapsack: ", layer.size(), " costs and ", losses[l].size(),
                        " losses of layer ", l);
      double least = std::numeric_limits<double>::infinity();
      for (std::size_t p = 0; p < layer.size(); ++p)
        if (losses[l][p] < std::numeric_limits<double>::infinity()) least = std::min(least, layer[p]);
      rest[k][l] = rest[k][l + 1] + least;
    }

  std::vector<std::vector<State>> all(layers + 1);
  State first{{}, 0, 0, 0};
  for (const Constraint& c : constraints) first.costs.push_back(c.table.fixed);
  all[0].push_back(std::move(first));
  for (std::size_t l = 0; l < layers; ++l) {
    std::vector<State> next;
    for (std::size_t s = 0; s < all[l].size(); ++s) {
      for (std::size_t p = 0; p < losses[l].size(); ++p) {
        if (losses[l][p] == std::numeric_limits<double>::infinity()) continue;
        State state{all[l][s].costs, all[l][s].loss + losses[l][p], s, static_cast<std::uint8_t>(p)};
        bool feasible = true;
        for (std::size_t k = 0; k < constraints.size(); ++k) {
          state.costs[k] += constraints[k].table.layers[l][p];
          feasible = feasible && state.costs[k] + rest[k][l + 1] <= constraints[k].limit();
        }
        if (feasible) next.push_back(std::move(state));
      }
    }
    // By the first cost; a state is kept where no cheaper one has as little loss.
    std::sort(next.begin(), next.end(),
              [](const State& a, const State& b) { return a.costs != b.costs ? a.costs < b.costs : a.loss < b.loss; });
    std::vector<State>& kept = all[l + 1];
    if (constraints.size() <= 1) {
      for (State& state : next)
        if (kept.empty() || state.loss < kept.back().loss) kept.push_back(std::move(state));
    } else {
      const auto beats = [](const State& a, const State& b) {
        if (a.loss > b.loss) return false;
        for (std::size_t k = 0; k < a.costs.size(); ++k)
          if (a.costs[k] > b.costs[k]) return false;
        return true;
      };
      for (State& state : next)
        if (std::none_of(kept.begin(), kept.end(), [&](const State& other) { return beats(other, state); }))
          kept.push_back(std::move(state));
    }
    // Finding those that no other beats takes their number squared where there are several costs.
    const std::size_t most = constraints.size() > 1 ? std::min<std::size_t>(options.states, 1024) : options.states;
    if (kept.size() > most) {
      // One of each stretch of neighbours.
      const std::size_t stretch = (kept.size() + most - 1) / most;
      std::vector<State> fewer;
      for (std::size_t begin = 0; begin < kept.size(); begin += stretch) {
        const auto from = kept.begin() + static_cast<std::ptrdiff_t>(begin);
        const auto to = kept.begin() + static_cast<std::ptrdiff_t>(std::min(begin + stretch, kept.size()));
        fewer.push_back(*std::min_element(from, to, [](const State& a, const State& b) { return a.loss < b.loss; }));
      }
      // The cheapest by each cost, and by all of them, stay, so that what is feasible is found.
      const auto keep_least = [&](const auto& cost) {
        fewer.push_back(*std::min_element(kept.begin(), kept.end(),
                                          [&](const State& a, const State& b) { return cost(a) < cost(b); }));
      };
      for (std::size_t k = 0; k < constraints.size(); ++k) keep_least([k](const State& s) { return s.costs[k]; });
      if (constraints.size() > 1)
        keep_least([&](const State& s) {
          double most = 0;
          for (std::size_t k = 0; k < constraints.size(); ++k)
            most = std::max(most, (s.costs[k] + rest[k][l + 1]) / constraints[k].budget);
          return most;
        });
      kept = std::move(fewer);
    }
    if (kept.empty()) return std::nullopt;
  }
  const auto best = std::min_element(all[layers].begin(), all[layers].end(),
                                     [](const State& a, const State& b) { return a.loss < b.loss; });
  Configuration out(layers);
  std::size_t at = static_cast<std::size_t>(best - all[layers].begin());
  for (std::size_t l = layers; l-- > 0;) {
    out[l] = all[l + 1][at].choice;
    at = all[l + 1][at].before;
  }
  return out;
}

/// Why constraints that can each be kept cannot be kept together: for each, by its name, the least that it needs where
/// the others are kept.
inline std::string joint_obstacle(const std::vector<Constraint>& constraints, const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t k = 0; k < constraints.size(); ++k) {
    std::vector<Constraint> others = constraints;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(k));
    const CostTable& table = constraints[k].table;
    const auto cheapest = solve_knapsack(table.layers, others);
    if (!cheapest) continue;
    out += message(out.empty() ? "" : "; ", names[k], " ", precise(constraints[k].budget), " given, at least ",
                   precise(table.of(*cheapest)), " where the others are kept");
  }
  return out.empty() ? "not even all but one" : out;
}

}  // namespace search
}  // namespace v0
}  // namespace spnet
