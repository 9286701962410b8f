#include "spnet/search/mixed_search.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

using namespace spnet;
using search::Configuration;
using search::Constraint;

namespace {

constexpr std::size_t kLayers = 8;

// Bits 2, 3, 4 of as many weights as a layer's number plus one.
Constraint bits(double budget) {
  Constraint out;
  for (std::size_t l = 0; l < kLayers; ++l)
    out.table.layers.push_back(
        {2.0 * static_cast<double>(l + 1), 3.0 * static_cast<double>(l + 1), 4.0 * static_cast<double>(l + 1)});
  out.budget = budget;
  return out;
}
// Early layers matter most; neighbours that differ cost a little, so that differences do not add up.
double loss(const Configuration& c) {
  double sum = 0;
  for (std::size_t l = 0; l < c.size(); ++l) {
    sum += (2.0 - c[l]) * (2.0 - c[l]) / static_cast<double>(1 + l);
    if (l > 0 && c[l] != c[l - 1]) sum += 0.02;
  }
  return sum;
}
double least(const Constraint& constraint) {
  Configuration c(kLayers, 0);
  double best = 1e9;
  while (true) {
    if (constraint.holds(c)) best = std::min(best, loss(c));
    std::size_t l = 0;
    while (l < c.size() && ++c[l] == 3) c[l++] = 0;
    if (l == c.size()) return best;
  }
}
std::string refusal(std::vector<Constraint> constraints, const std::vector<std::string>& names) {
  try {
    search::MixedSearch(kLayers, 3, loss, std::move(constraints), names);
  } catch (const ValueError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("search: the configuration found keeps its budget and is the best there is") {
  for (const double budget : {80.0, 95.0, 108.0, 125.0, 144.0}) {
    CAPTURE(budget);
    search::MixedSearch found(kLayers, 3, loss, {bits(budget)}, {"bits"}, {.evaluations = 300});
    const auto result = found.run();
    CHECK(bits(budget).holds(result.configuration));
    CHECK(result.loss == loss(result.configuration));
    CHECK(result.loss == doctest::Approx(least(bits(budget))).epsilon(0.02));
    for (std::uint8_t p = 0; p < 3; ++p) {
      const Configuration uniform(kLayers, p);
      if (bits(budget).holds(uniform)) CHECK(result.loss <= loss(uniform));
    }
    search::MixedSearch again(kLayers, 3, loss, {bits(budget)}, {"bits"}, {.evaluations = 300});
    CHECK(again.run().configuration == result.configuration);
  }
}

TEST_CASE("search: where even the cheapest uniform configuration is too much, one between is found") {
  Constraint odd;  // the first precision is cheap in some layers only
  for (std::size_t l = 0; l < kLayers; ++l) odd.table.layers.push_back({l % 2 ? 1.0 : 5.0, l % 2 ? 5.0 : 1.0, 5.0});
  odd.budget = 12;
  const auto result = search::MixedSearch(kLayers, 3, loss, {odd}, {"units"}).run();
  CHECK(odd.holds(result.configuration));
}

TEST_CASE("search: without evaluations nothing is bred, with some as many") {
  // All sensitivities, the uniform ones that are feasible, and the programme's answer.
  const auto measured = [](int evaluations) {
    return search::MixedSearch(kLayers, 3, loss, {bits(95)}, {"bits"}, {.evaluations = evaluations}).run().measured;
  };
  CHECK(measured(0) <= 1 + 2 * static_cast<int>(kLayers) + 1);
  CHECK(measured(7) == measured(0) + 7);
}

TEST_CASE("search: it stops when it is told to, with the best so far") {
  int calls = 0;
  const auto result =
      search::MixedSearch(kLayers, 3, loss, {bits(108)}, {"bits"}, {.progress = [&](int, int) { return ++calls < 5; }})
          .run();
  CHECK(calls == 5);
  CHECK(result.measured == 5);
  CHECK(bits(108).holds(result.configuration));
}

TEST_CASE("search: budgets that cannot be kept are refused with the least that can") {
  CHECK(refusal({bits(71)}, {"weight bits"}) == "search: a budget of 71 weight bits cannot be kept; the least is 72");
  Constraint other = bits(0);
  for (auto& layer : other.table.layers) std::swap(layer[0], layer[2]);
  other.budget = 72;
  const std::string both = refusal({bits(72), other}, {"a", "b"});
  CHECK(both.starts_with("search: each budget can be kept, but not all of them together: a 72 given, at least "));
  CHECK(both.find(" where the others are kept; b ") != std::string::npos);
  CHECK(refusal({bits(72)}, {"bits"}) == "");
}

TEST_CASE("search: random configurations have the average asked for and are not all alike") {
  Random random(4);
  std::set<Configuration> seen;
  for (int i = 0; i < 40; ++i) {
    const Configuration c = search::random_configuration(20, {4, 2, 3}, 3, random);
    double sum = 0;
    for (const auto p : c) sum += p == 0 ? 4 : p == 1 ? 2 : 3;
    CHECK(sum == 60);
    seen.insert(c);
  }
  CHECK(seen.size() == 40);
  const Configuration uneven = search::random_configuration(10, {2, 8}, 3, random);
  CHECK(std::count(uneven.begin(), uneven.end(), 1) == 2);  // 3.2 is nearer than 2.6
  CHECK(search::random_configuration(5, {2, 8}, 8, random) == Configuration(5, 1));
  CHECK_THROWS_AS(search::random_configuration(5, {2, 8}, 1.5, random), ValueError);
  // Several precisions of the same width are passed over on the way to another.
  for (const double average : {2.4, 3.8}) {
    const std::vector<int> widths = {2, 4, 2, 4};
    double bits = 0;
    for (const auto p : search::random_configuration(20, widths, average, random)) bits += widths[p];
    CHECK(bits == 20 * average);
  }
}
