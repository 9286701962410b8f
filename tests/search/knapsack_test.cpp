#include "spnet/search/knapsack.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <vector>

#include "spnet/core/random.hpp"

using namespace spnet;
using search::Configuration;
using search::Constraint;

namespace {

struct Problem {
  std::vector<std::vector<double>> losses;
  std::vector<Constraint> constraints;
};

Problem random_problem(std::size_t layers, std::size_t precisions, std::size_t budgets, std::uint64_t seed) {
  Random random(seed);
  Problem out;
  out.constraints.resize(budgets);
  for (std::size_t l = 0; l < layers; ++l) {
    auto& losses = out.losses.emplace_back();
    for (std::size_t p = 0; p < precisions; ++p) losses.push_back(random.uniform(-0.2f, 1));
    for (auto& c : out.constraints) {
      auto& costs = c.table.layers.emplace_back();
      for (std::size_t p = 0; p < precisions; ++p) costs.push_back(static_cast<double>(1 + random.below(20)));
    }
  }
  for (auto& c : out.constraints) {
    c.table.fixed = 3;
    c.budget = c.table.least() + 0.4 * (c.table.most() - c.table.least());
  }
  return out;
}

double total(const Problem& problem, const Configuration& c) {
  double sum = 0;
  for (std::size_t l = 0; l < c.size(); ++l) sum += problem.losses[l][c[l]];
  return sum;
}

// By trying all.
std::optional<double> least(const Problem& problem) {
  Configuration c(problem.losses.size(), 0);
  std::optional<double> best;
  while (true) {
    if (search::hold(problem.constraints, c))
      if (const double loss = total(problem, c); !best || loss < *best) best = loss;
    std::size_t l = 0;
    while (l < c.size() && ++c[l] == problem.losses[l].size()) c[l++] = 0;
    if (l == c.size()) return best;
  }
}

}  // namespace

TEST_CASE("search: the knapsack finds what trying all configurations finds") {
  for (const std::size_t budgets : {0, 1, 2, 3})
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
      CAPTURE(budgets);
      CAPTURE(seed);
      const Problem problem = random_problem(7, 3, budgets, seed);
      const auto found = search::solve_knapsack(problem.losses, problem.constraints);
      const auto expected = least(problem);
      REQUIRE(found.has_value() == expected.has_value());
      if (!found) continue;
      CHECK(search::hold(problem.constraints, *found));
      CHECK(total(problem, *found) == doctest::Approx(*expected));
    }
}

TEST_CASE("search: with few states the knapsack still keeps its budgets, at nearly the least loss") {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const Problem problem = random_problem(9, 3, 1, 100 + seed);
    const auto found = search::solve_knapsack(problem.losses, problem.constraints, {.states = 20});
    REQUIRE(found.has_value());
    CHECK(search::hold(problem.constraints, *found));
    CHECK(total(problem, *found) < *least(problem) + 0.5);
  }
}

TEST_CASE("search: a budget below the least has no configuration, one at the least has the cheapest") {
  Problem problem = random_problem(5, 4, 1, 3);
  problem.constraints[0].budget = problem.constraints[0].table.least();
  const auto found = search::solve_knapsack(problem.losses, problem.constraints);
  REQUIRE(found.has_value());
  CHECK(problem.constraints[0].table.of(*found) == problem.constraints[0].table.least());
  problem.constraints[0].budget -= 1;
  CHECK_FALSE(search::solve_knapsack(problem.losses, problem.constraints).has_value());
  problem.constraints[0].table.layers.pop_back();
  CHECK_THROWS_AS(search::solve_knapsack(problem.losses, problem.constraints), ValueError);
}
