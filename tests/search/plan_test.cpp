#include "spnet/search/plan.hpp"

#include <doctest/doctest.h>

#include <limits>
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

TEST_CASE("search: choices of infinite loss are not planned, whatever that costs") {
  Ladder ladder = random_ladder(6, 0.5, 3);
  for (std::size_t l = 0; l < 3; ++l) ladder.losses[l] = {kNever, 0, kNever};
  const auto plan = search::plan_within(ladder.losses, {ladder.constraint}, 0.98);
  REQUIRE(plan.has_value());
  for (std::size_t l = 0; l < 3; ++l) CHECK((*plan)[l] == 1);
  for (auto& layer : ladder.losses) layer = {kNever, kNever, 0};
  CHECK_FALSE(search::plan_within(ladder.losses, {ladder.constraint}, 0.98).has_value());
}
