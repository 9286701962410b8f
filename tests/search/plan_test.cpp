#include "spnet/search/plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "spnet/core/random.hpp"

using namespace spnet;

namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// Costs 1, 2 and 4 times that of the layer; losses as of probabilities.
struct Ladder {
  std::vector<std::vector<double>> losses;
  search::Constraint constraint;
};

Ladder random_ladder(std::size_t layers, double share, std::uint64_t seed) {
  Random random(seed);
  Ladder out;
  for (std::size_t l = 0; l < layers; ++l) {
    const double cost = 1 + random.uniform();
    out.constraint.table.layers.push_back({cost, 2 * cost, 4 * cost});
    out.losses.push_back({random.uniform(), random.uniform(), random.uniform()});
  }
  const auto& table = out.constraint.table;
  out.constraint.budget = table.least() + share * (table.most() - table.least());
  return out;
}

}  // namespace

TEST_CASE("search: a plan within a budget spends nearly all of it, and what is likeliest where that is enough") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    CAPTURE(seed);
    Ladder ladder = random_ladder(20, 0.6, seed);
    const auto plan = search::plan_within(ladder.losses, {ladder.constraint}, 0.98);
    REQUIRE(plan.has_value());
    const double spent = ladder.constraint.table.of(*plan);
    CHECK(spent <= ladder.constraint.budget);
    CHECK(spent >= 0.98 * ladder.constraint.budget);
    // With nothing to fill, it is the knapsack's.
    CHECK(search::plan_within(ladder.losses, {ladder.constraint}, 0) ==
          search::solve_knapsack(ladder.losses, {ladder.constraint}, {.states = 512}));
    // A budget that cannot be filled: all at the most.
    ladder.constraint.budget = 2 * ladder.constraint.table.most();
    CHECK(ladder.constraint.table.of(*search::plan_within(ladder.losses, {ladder.constraint}, 0.98)) ==
          doctest::Approx(ladder.constraint.table.most()));
  }
}

TEST_CASE("search: what cannot reach its budget is planned by its losses alone, beside what can") {
  // Two operands a layer: the costs of one depend on the first of nine pairs' widths, of the other on the second.
  Random random(4);
  std::vector<std::vector<double>> losses, first, second;
  for (int l = 0; l < 8; ++l) {
    const double cheap = random.uniform(), dear = random.uniform();
    for (auto* table : {&losses, &first, &second}) table->emplace_back();
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) {
        losses.back().push_back(cheap * i + dear * j);
        first.back().push_back(1 << i);
        second.back().push_back(1 << j);
      }
  }
  search::Constraint slack{{first, 0}, 100, 1}, tight{{second, 0}, 16, 1};
  const auto plan = search::plan_within(losses, {slack, tight}, 0.98);
  REQUIRE(plan.has_value());
  CHECK(slack.table.of(*plan) == slack.table.least());
  CHECK(tight.table.of(*plan) <= 16);
  CHECK(tight.table.of(*plan) >= 0.98 * 16);
}

TEST_CASE("search: choices of infinite loss are not planned, whatever that costs") {
  Ladder ladder = random_ladder(6, 0.5, 3);
  for (std::size_t l = 0; l < 3; ++l) ladder.losses[l] = {kNever, 0, kNever};
  const auto plan = search::plan_within(ladder.losses, {ladder.constraint}, 0.98);
  REQUIRE(plan.has_value());
  for (std::size_t l = 0; l < 3; ++l) CHECK((*plan)[l] == 1);
  for (auto& layer : ladder.losses) layer = {kNever, kNever, 0};
  CHECK_FALSE(search::plan_within(ladder.losses, {ladder.constraint}, 0.98).has_value());
}

TEST_CASE("search: of a constraint in two parts both are spent, of two constraints the one that binds") {
  // Each layer has a choice of two for the first part, and of two for the second, which cost nothing of the other.
  search::Constraint first, second;
  std::vector<std::vector<double>> losses;
  for (int l = 0; l < 20; ++l) {
    first.table.layers.push_back({1, 1, 2, 2});
    second.table.layers.push_back({1, 2, 1, 2});
    losses.push_back({0, 0.1, 0.4, 0.5});  // the cheapest is likeliest
  }
  first.budget = 30;
  second.budget = 24;
  const auto shares = [&] {
    const auto plan = *search::plan_within(losses, {first, second}, 0.98);
    return std::pair{first.table.of(plan) / first.budget, second.table.of(plan) / second.budget};
  };
  CHECK(std::max(shares().first, shares().second) >= 0.98);
  CHECK(std::min(shares().first, shares().second) < 0.9);
  first.part_of = second.part_of = 1;
  CHECK(shares().first >= 0.98);
  CHECK(shares().first <= 1);
  CHECK(shares().second >= 0.98);
  CHECK(shares().second <= 1);
}
