#include "spnet/prune/gaussian_process.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "spnet/core/random.hpp"

using namespace spnet;
using prune::GaussianProcess;

namespace {

double wave(const std::vector<double>& x) { return std::sin(6 * x[0]) + 3; }

struct Samples {
  std::vector<std::vector<double>> points;
  std::vector<double> values;
};

// Of a function of the first input; the second does not matter.
Samples samples(int count, double noise = 0) {
  Samples out;
  Random random(4);
  for (int i = 0; i < count; ++i) {
    out.points.push_back({static_cast<double>(random.uniform()), static_cast<double>(random.uniform())});
    out.values.push_back(wave(out.points.back()) + noise * static_cast<double>(random.normal()));
  }
  return out;
}

}  // namespace

TEST_CASE("prune: two points by hand") {
  // k = exp(−√5·r)·(1 + √5·r + 5/3·r²) at r = 1.
  const double k = (1 + std::sqrt(5.0) + 5.0 / 3) * std::exp(-std::sqrt(5.0)), noise = 0.1;
  const GaussianProcess process({{0}, {2}}, {1, 3}, {.lengths = {2}, .noise = noise});
  // The mean is 2, what is left ∓1 has the eigenvalue 1 + noise − k, the signal is 1/(1 + noise − k).
  CHECK(process.predict(std::vector<double>{0}).mean == doctest::Approx(2 - (1 - k) / (1 + noise - k)));
  CHECK(process.predict(std::vector<double>{1}).mean == doctest::Approx(2));
  const double signal = 1 / (1 + noise - k), determinant = (1 + noise) * (1 + noise) - k * k;
  CHECK(process.log_likelihood() ==
        doctest::Approx(-0.5 * (2 * std::log(2 * std::acos(-1.0) * signal) + 2 + std::log(determinant))));
  // Far away: the signal's variance, and that of the mean.
  const double of_mean = (1 + noise + k) / 2;
  CHECK(process.predict(std::vector<double>{1e3}).deviation == doctest::Approx(std::sqrt(signal * (1 + of_mean))));
}

TEST_CASE("prune: a fitted process interpolates, finds which input matters, and knows where it knows nothing") {
  const auto [points, values] = samples(30);
  const GaussianProcess process = GaussianProcess::fitted(points, values);
  CHECK(process.hyperparameters().lengths[1] > 3 * process.hyperparameters().lengths[0]);
  Random random(9);
  for (int i = 0; i < 20; ++i) {
    const std::vector<double> x{static_cast<double>(random.uniform(0.1f, 0.9f)), static_cast<double>(random.uniform())};
    CHECK(process.predict(x).mean == doctest::Approx(wave(x)).epsilon(0.02));
  }
  CHECK(process.predict(points[3]).deviation < 0.1 * process.predict(std::vector<double>{5, 5}).deviation);
  // Better than any guess nearby, by what was maximised.
  auto worse = process.hyperparameters();
  worse.lengths[0] *= 4;
  CHECK(process.log_likelihood() > GaussianProcess(points, values, worse).log_likelihood());
}

TEST_CASE("prune: a fitted process tells noise from signal") {
  const auto clean = samples(40), noisy = samples(40, 0.3);
  const double of_clean = GaussianProcess::fitted(clean.points, clean.values).hyperparameters().noise;
  const double of_noisy = GaussianProcess::fitted(noisy.points, noisy.values).hyperparameters().noise;
  CHECK(of_noisy > 0.02);
  CHECK(of_clean < 1e-3);
}

TEST_CASE("prune: a process of equal values, and of one point") {
  const GaussianProcess flat = GaussianProcess::fitted({{0.1}, {0.5}, {0.9}}, {2, 2, 2});
  CHECK(flat.predict(std::vector<double>{0.3}).mean == doctest::Approx(2));
  const GaussianProcess one = GaussianProcess::fitted({{0.5}}, {7});
  CHECK(one.predict(std::vector<double>{0.1}).mean == doctest::Approx(7));
}

TEST_CASE("prune: a process refuses what is no data") {
  CHECK_THROWS_AS(GaussianProcess({}, {}, {.lengths = {1}}), ValueError);
  CHECK_THROWS_AS(GaussianProcess({{1}}, {1, 2}, {.lengths = {1}}), ValueError);
  CHECK_THROWS_AS(GaussianProcess({{1, 2}}, {1}, {.lengths = {1}}), ValueError);
  CHECK_THROWS_AS(GaussianProcess({{1}}, {1}, {.lengths = {0}}), ValueError);
  CHECK_THROWS_AS(GaussianProcess({{1}}, {1}, {.lengths = {1}, .noise = 0}), ValueError);
  CHECK_THROWS_AS(GaussianProcess({{1}}, {std::numeric_limits<double>::quiet_NaN()}, {.lengths = {1}}), NumericError);
}
