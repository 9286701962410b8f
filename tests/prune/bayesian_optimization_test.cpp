#include "spnet/prune/bayesian_optimization.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

using namespace spnet;
using prune::BayesianOptimization;
using prune::BayesianOptions;

namespace {

// On [−5,10]×[0,15]; its least value is 0.397887, at three places.
double branin(const std::vector<double>& x) {
  const double pi = std::numbers::pi;
  const double a = x[1] - 5.1 / (4 * pi * pi) * x[0] * x[0] + 5 / pi * x[0] - 6;
  return a * a + 10 * (1 - 1 / (8 * pi)) * std::cos(x[0]) + 10;
}

// On [0,1]⁶; its least value is −3.32237.
double hartmann6(const std::vector<double>& x) {
  constexpr std::array<double, 4> alpha{1.0, 1.2, 3.0, 3.2};
  constexpr double a[4][6] = {
      {10, 3, 17, 3.5, 1.7, 8}, {0.05, 10, 17, 0.1, 8, 14}, {3, 3.5, 1.7, 10, 17, 8}, {17, 8, 0.05, 10, 0.1, 14}};
  constexpr double p[4][6] = {{0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886},
                              {0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991},
                              {0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650},
                              {0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381}};
  double sum = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    double inner = 0;
    for (std::size_t j = 0; j < 6; ++j) inner += a[i][j] * (x[j] - p[i][j]) * (x[j] - p[i][j]);
    sum -= alpha[i] * std::exp(-inner);
  }
  return sum;
}

template <class F>
double least_of(const F& f, BayesianOptimization& search, int evaluations) {
  for (int i = 0; i < evaluations; ++i) {
    const auto point = search.ask();
    REQUIRE(point);
    search.tell(*point, -f(*point));
  }
  return -search.best().value;
}

}  // namespace

TEST_CASE("prune: expected improvement and the upper confidence bound") {
  using prune::expected_improvement;
  CHECK(expected_improvement({1, 0}, 0.25) == doctest::Approx(0.75));
  CHECK(expected_improvement({1, 0}, 2) == 0);
  // At the mean: deviation/√(2π).
  CHECK(expected_improvement({1, 2}, 1) == doctest::Approx(2 / std::sqrt(2 * std::numbers::pi)));
  // By numerical integration of the definition.
  double integral = 0;
  for (double z = -8; z < 8; z += 1e-3) integral += std::max(0.3 + 0.7 * z - 0.5, 0.0) * std::exp(-z * z / 2) * 1e-3;
  CHECK(expected_improvement({0.3, 0.7}, 0.5) ==
        doctest::Approx(integral / std::sqrt(2 * std::numbers::pi)).epsilon(1e-4));
  CHECK(prune::upper_confidence_bound(3)({1, 0.5}, 100) == doctest::Approx(2.5));
}

TEST_CASE("prune: Bayesian optimization finds the least value of Branin") {
  for (const bool bound : {false, true}) {
    CAPTURE(bound);
    BayesianOptions options;
    if (bound) options.acquisition = prune::upper_confidence_bound();
    BayesianOptimization search({{-5, 10}, {0, 15}}, options);
    CHECK(least_of(branin, search, 40) < 0.397887 * 1.01);
  }
}

TEST_CASE("prune: Bayesian optimization finds the least value of Hartmann-6") {
  BayesianOptimization search(std::vector<BayesianOptimization::Range>(6, {0, 1}), {.random_points = 12});
  CHECK(least_of(hartmann6, search, 100) < -3.32237 * 0.99);
}

// Not a check but a table, for bench/results.md: run it with -ns.
TEST_CASE("prune: how far from the optimum, over eight seeds" * doctest::skip()) {
  for (const bool bound : {false, true})
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
      BayesianOptions options{.seed = seed};
      if (bound) options.acquisition = prune::upper_confidence_bound();
      BayesianOptimization two({{-5, 10}, {0, 15}}, options);
      const double at_30 = least_of(branin, two, 30), at_40 = least_of(branin, two, 10);
      options.random_points = 12;
      BayesianOptimization six(std::vector<BayesianOptimization::Range>(6, {0, 1}), options);
      const double at_100 = least_of(hartmann6, six, 100);
      MESSAGE((bound ? "bound" : "improvement"), ", seed ", seed, ": Branin ", 100 * (at_30 / 0.397887 - 1),
              " % after 30, ", 100 * (at_40 / 0.397887 - 1), " % after 40, Hartmann-6 ", 100 * (1 + at_100 / 3.32237),
              " % after 100");
    }
}

TEST_CASE("prune: told the same again, Bayesian optimization asks the same") {
  BayesianOptimization first({{-5, 10}, {0, 15}}, {.probes = {{0, 0}, {1, 1}}});
  least_of(branin, first, 24);
  CHECK(first.observations()[1].point == std::vector<double>{1, 1});
  BayesianOptimization second({{-5, 10}, {0, 15}}, {.probes = {{0, 0}, {1, 1}}});
  for (const auto& o : first.observations()) second.tell(o.point, o.value);
  CHECK(first.ask() == second.ask());
}

TEST_CASE("prune: points that cannot be tried are snapped, and none is asked for twice") {
  BayesianOptimization search({{0, 3}}, {.probes = {{0.2}, {2.9}}, .snap = [](std::vector<double> p) {
                                           return std::vector<double>{std::round(p[0])};
                                         }});
  std::vector<double> asked;
  while (const auto point = search.ask()) {
    asked.push_back(point->front());
    search.tell(*point, -asked.back());
  }
  std::sort(asked.begin(), asked.end());
  CHECK(asked == std::vector<double>{0, 1, 2, 3});
  CHECK(search.best().point == std::vector<double>{0});
}

TEST_CASE("prune: Bayesian optimization refuses what it cannot work with") {
  CHECK_THROWS_AS(BayesianOptimization({}), ValueError);
  CHECK_THROWS_AS(BayesianOptimization({{1, 1}}), ValueError);
  CHECK_THROWS_AS(BayesianOptimization({{0, 1}}, {.probes = {{0, 0}}}), ValueError);
  CHECK_THROWS_AS(BayesianOptimization({{0, 1}}, {.random_points = 0}), ValueError);
  BayesianOptimization search({{0, 1}});
  CHECK_THROWS_AS(search.tell({0, 0}, 1), ValueError);
  CHECK_THROWS_AS(search.tell({0}, std::numeric_limits<double>::infinity()), NumericError);
  CHECK_THROWS_AS(search.best(), Error);
}
