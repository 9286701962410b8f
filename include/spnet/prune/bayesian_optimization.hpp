// Bayesian optimization: the next point to try, where each trial is costly.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <numbers>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/prune/gaussian_process.hpp"

namespace spnet {
inline namespace v0 {
namespace prune {

/// How promising a point is, from what a model predicts there and the best value so far; higher is better.
using Acquisition = std::function<double(const GaussianProcess::Prediction&, double best)>;

/// E[max(value − best, 0)] (Jones, Schonlau, Welch 1998, eq. 15); 0 where the value is certain and not better.
inline double expected_improvement(const GaussianProcess::Prediction& p, double best) {
  const double gain = p.mean - best;
  if (p.deviation <= 0) return std::max(gain, 0.0);
  const double z = gain / p.deviation;
  const double density = std::exp(-0.5 * z * z) / std::sqrt(2 * std::numbers::pi);
  return gain * 0.5 * std::erfc(-z / std::numbers::sqrt2) + p.deviation * density;
}
/// mean + kappa·deviation (Srinivas et al., ICML 2010).
inline Acquisition upper_confidence_bound(double kappa = 2) {
  return [kappa](const GaussianProcess::Prediction& p, double) { return p.mean + kappa * p.deviation; };
}

struct BayesianOptions {
  std::vector<std::vector<double>> probes = {};  ///< the first points, in this order
  int random_points = 5;                         ///< then these, before the model is asked
  Acquisition acquisition = expected_improvement;
  std::uint64_t seed = 1;
  /// The nearest point that can be tried, where not all can: rounding, or budgets.
  std::function<std::vector<double>(std::vector<double>)> snap = {};
};

/// Maximises a function by asking for points and being told values. What is asked depends on the options and on what
/// was told alone: whoever tells the same again, after an interruption, is asked the same.
class BayesianOptimization {
 public:
  struct Range {
    double low, high;
  };
  struct Observation {
    std::vector<double> point;
    double value;
  };

  /// Throws ValueError unless there are ranges with low < high, and probes of as many inputs.
  explicit BayesianOptimization(std::vector<Range> ranges, BayesianOptions options = {})
      : ranges_(std::move(ranges)), options_(std::move(options)) {
    check<ValueError>(!ranges_.empty(), "BayesianOptimization: no inputs");
    for (const Range& r : ranges_)
      check<ValueError>(r.low < r.high, "BayesianOptimization: a range from ", r.low, " to ", r.high, " given");
    for (const auto& p : options_.probes) require_inputs(p);
    check<ValueError>(options_.random_points > 0 || (options_.random_points == 0 && !options_.probes.empty()),
                      "BayesianOptimization: ", options_.probes.size(), " probes and ", options_.random_points,
                      " random points given, expected some");
  }

  /// The point to try next; nothing where no new point was found.
  std::optional<std::vector<double>> ask() const {
    for (const auto& probe : options_.probes)
      if (const auto point = snapped(probe); !seen_.contains(point)) return point;
    Random random(options_.seed, kStream, static_cast<std::uint64_t>(observations_.size()) << 32);
    const std::size_t first = options_.probes.size() + static_cast<std::size_t>(options_.random_points);
    if (observations_.size() < first) {
      for (int tries = 0; tries < 100; ++tries)
        if (const auto point = snapped(from_unit(random_point(random))); !seen_.contains(point)) return point;
      return std::nullopt;
    }
    return most_promising(random);
  }

  /// What was found at a point, whether asked for or not. Throws ValueError on another number of inputs, NumericError
  /// where `value` is not finite.
  void tell(std::vector<double> point, double value) {
    require_inputs(point);
    check<NumericError>(std::isfinite(value), "BayesianOptimization: a value is ", value);
    seen_.insert(point);
    unit_points_.push_back(to_unit(point));
    values_.push_back(value);
    observations_.push_back({std::move(point), value});
    if (value > observations_[best_].value) best_ = observations_.size() - 1;
  }

  const std::vector<Observation>& observations() const { return observations_; }
  /// The first of highest value. Throws Error where nothing was told.
  const Observation& best() const {
    check(!observations_.empty(), "BayesianOptimization: nothing was told yet");
    return observations_[best_];
  }

 private:
  static constexpr std::uint64_t kStream = 0x61736b;  // "ask"

  void require_inputs(const std::vector<double>& point) const {
    check<ValueError>(point.size() == ranges_.size(), "BayesianOptimization: a point of ", point.size(),
                      " inputs given, expected ", ranges_.size());
  }
  std::vector<double> snapped(std::vector<double> point) const {
    return options_.snap ? options_.snap(std::move(point)) : point;
  }
  std::vector<double> from_unit(std::vector<double> unit) const {
    for (std::size_t d = 0; d < unit.size(); ++d)
      unit[d] = ranges_[d].low + (ranges_[d].high - ranges_[d].low) * std::clamp(unit[d], 0.0, 1.0);
    return unit;
  }
  std::vector<double> to_unit(std::vector<double> point) const {
    for (std::size_t d = 0; d < point.size(); ++d)
      point[d] = (point[d] - ranges_[d].low) / (ranges_[d].high - ranges_[d].low);
    return point;
  }
  std::vector<double> random_point(Random& random) const {
    std::vector<double> out(ranges_.size());
    for (double& x : out) x = static_cast<double>(random.uniform());
    return out;
  }

  // Hyperparameters change little from one point to the next, and finding them costs the most.
  GaussianProcess model() const {
    const std::size_t count = values_.size(), known = count < 20 ? count : count - count % 5;
    if (fitted_ != known) {
      hyperparameters_ =
          GaussianProcess::fitted({unit_points_.begin(), unit_points_.begin() + static_cast<long>(known)},
                                  {values_.begin(), values_.begin() + static_cast<long>(known)})
              .hyperparameters();
      fitted_ = known;
    }
    return GaussianProcess(unit_points_, values_, hyperparameters_);
  }

  struct Candidate {
    std::vector<double> unit, point;  // the point is what the unit vector is snapped to
    double promise = -std::numeric_limits<double>::infinity();
  };

  std::optional<std::vector<double>> most_promising(Random& random) const {
    const GaussianProcess process = model();
    const auto rate = [&](std::vector<double> unit) {
      Candidate c;
      for (double& x : unit) x = std::clamp(x, 0.0, 1.0);
      c.point = snapped(from_unit(unit));
      c.unit = std::move(unit);
      if (!seen_.contains(c.point)) c.promise = options_.acquisition(process.predict(to_unit(c.point)), best().value);
      return c;
    };
    std::vector<Candidate> candidates;
    for (int i = 0; i < 1000; ++i) candidates.push_back(rate(random_point(random)));
    // Around the best that were tried.
    std::vector<std::size_t> order(values_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values_[a] > values_[b]; });
    order.resize(std::min<std::size_t>(order.size(), 5));
    for (const std::size_t i : order)
      for (int n = 0; n < 100; ++n) {
        const double width = std::pow(10.0, -0.5 - 2 * static_cast<double>(random.uniform()));
        std::vector<double> unit = unit_points_[i];
        for (double& x : unit) x += width * static_cast<double>(random.normal());
        candidates.push_back(rate(std::move(unit)));
      }
    constexpr std::size_t kRefined = 8;
    std::partial_sort(candidates.begin(), candidates.begin() + kRefined, candidates.end(),
                      [](const Candidate& a, const Candidate& b) { return a.promise > b.promise; });
    candidates.resize(kRefined);
    for (Candidate& c : candidates) refine(c, rate);
    const auto best = std::max_element(candidates.begin(), candidates.end(),
                                       [](const Candidate& a, const Candidate& b) { return a.promise < b.promise; });
    if (best->promise == -std::numeric_limits<double>::infinity()) return std::nullopt;
    return best->point;
  }
  // Climbs along the axes, with ever smaller steps.
  template <class Rate>
  static void refine(Candidate& c, const Rate& rate) {
    for (double step = 0.1; step > 1e-3; step /= 2)
      for (bool better = true; better;) {
        better = false;
        for (std::size_t d = 0; d < c.unit.size(); ++d)
          for (const double sign : {1.0, -1.0}) {
            std::vector<double> unit = c.unit;
            unit[d] += sign * step;
            if (Candidate moved = rate(std::move(unit)); moved.promise > c.promise) {
              c = std::move(moved);
              better = true;
            }
          }
      }
  }

  std::vector<Range> ranges_;
  BayesianOptions options_;
  std::vector<Observation> observations_;
  std::vector<std::vector<double>> unit_points_;
  std::vector<double> values_;
  std::set<std::vector<double>> seen_;
  std::size_t best_ = 0;
  mutable GaussianProcess::Hyperparameters hyperparameters_;  // found from the first `fitted_` points
  mutable std::size_t fitted_ = 0;
};

}  // namespace prune
}  // namespace v0
}  // namespace spnet
