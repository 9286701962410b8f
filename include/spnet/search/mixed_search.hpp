// Which precision each layer should have, for a network that was trained to work at any: found without training.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/search/knapsack.hpp"

namespace spnet {
inline namespace v0 {
namespace search {

/// How bad a configuration is, as the mean loss on some images; lower is better.
using Loss = std::function<double(const Configuration&)>;

/// A configuration whose mean of `widths[p]` over the layers is as near `average` as steps between widths allow: drawn
/// for each layer, then moved there at random places. Throws ValueError where `average` is outside of the widths.
inline Configuration random_configuration(std::size_t layers, const std::vector<int>& widths, double average,
                                          Random& random) {
  check<ValueError>(layers > 0 && !widths.empty(), "random configuration: no layers or no widths");
  const auto [least, most] = std::minmax_element(widths.begin(), widths.end());
  check<ValueError>(average >= *least && average <= *most, "random configuration: an average of ", average,
                    " bits given, expected ", *least, " to ", *most);
  std::vector<std::uint8_t> order(widths.size());  // by width
  std::iota(order.begin(), order.end(), std::uint8_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::uint8_t a, std::uint8_t b) { return widths[a] < widths[b]; });
  const auto width = [&](std::size_t place) { return widths[order[place]]; };
  // The next place of another width; the same one where there is none.
  const auto next = [&](std::size_t place, bool up) {
    std::size_t out = place;
    while (out != (up ? widths.size() - 1 : 0) && width(out) == width(place)) out += up ? 1 : std::size_t(-1);
    return width(out) == width(place) ? place : out;
  };
  std::vector<std::size_t> places(layers);  // in that order
  double sum = 0;
  for (std::size_t& place : places) {
    place = random.below(static_cast<std::uint32_t>(widths.size()));
    sum += width(place);
  }
  const double target = average * static_cast<double>(layers);
  while (true) {
    // Layers that come nearer by their next step.
    const bool up = sum < target;
    std::vector<std::size_t> movable;
    for (std::size_t l = 0; l < layers; ++l) {
      const double moved = sum + width(next(places[l], up)) - width(places[l]);
      if (std::abs(moved - target) < std::abs(sum - target)) movable.push_back(l);
    }
    if (movable.empty()) break;
    const std::size_t l = movable[random.below(static_cast<std::uint32_t>(movable.size()))];
    sum -= width(places[l]);
    places[l] = next(places[l], up);
    sum += width(places[l]);
  }
  Configuration out;
  for (const std::size_t place : places) out.push_back(order[place]);
  return out;
}

/// For unordered containers.
struct ConfigurationHash {
  std::size_t operator()(const Configuration& configuration) const {
    std::size_t hash = 0;
    for (const std::uint8_t p : configuration) hash = (hash ^ p) * 0x100000001B3;
    return hash;
  }
};

struct MixedSearchOptions {
  /// Configurations that may be bred and measured after the sensitivities; 0: the integer programme alone.
  int evaluations = 150;
  std::uint64_t seed = 1;
  /// Called with the number of losses measured and the number expected; false stops and gives the best so far.
  std::function<bool(int, int)> progress = {};
};

struct MixedSearchResult {
  Configuration configuration;
  double loss = std::numeric_limits<double>::infinity();
  int measured = 0;  ///< losses
};

/// The search for the configuration of least loss that keeps all constraints: the loss is measured with one layer at a
/// time at each precision and the others at the best feasible uniform one (the cheapest where none is); as if these
/// differences added up, the multiple-choice knapsack gives a first answer; then configurations are bred from the best
/// (crossover, mutation, repair to the nearest feasible by the same programme) and measured. Feasible uniform ones take
/// part, so that none of them is better by the measured loss.
class MixedSearch {
 public:
  /// Throws ValueError where a budget, or all together, cannot be kept, naming the least that can. `precisions` is the
  /// number that a layer may have; `names` are those of the constraints, for messages.
  MixedSearch(std::size_t layers, std::size_t precisions, Loss loss, std::vector<Constraint> constraints,
              const std::vector<std::string>& names, const MixedSearchOptions& options = {})
      : layers_(layers),
        precisions_(precisions),
        loss_(std::move(loss)),
        constraints_(std::move(constraints)),
        options_(options),
        random_(options.seed) {
    check<ValueError>(layers > 0 && precisions > 0 && precisions < 256, "search: ", layers, " layers, ", precisions,
                      " precisions");
    for (std::size_t k = 0; k < constraints_.size(); ++k)
      check<ValueError>(constraints_[k].table.least() <= constraints_[k].limit(), "search: a budget of ",
                        precise(constraints_[k].budget), " ", names[k], " cannot be kept; the least is ",
                        precise(constraints_[k].table.least()));
    cheapest_ = solve_knapsack(std::vector(layers, std::vector<double>(precisions, 0)), constraints_);
    if (!cheapest_)
      throw ValueError(message("search: each budget can be kept, but not all of them together: ",
                               joint_obstacle(constraints_, names)));
  }

  MixedSearchResult run() {
    expected_ = static_cast<int>(layers_ * (precisions_ - 1) + precisions_) + options_.evaluations;
    const Configuration base = measure_uniform();
    measure_sensitivities(base);
    if (const auto first = solve_knapsack(sensitivities_, constraints_); first && !stopped_) consider(*first);
    // Where nothing new comes for long, all that is near was seen.
    constexpr int kTries = 50;
    const int bred_from = result_.measured;
    for (int tries = 0; !stopped_ && tries < kTries && result_.measured - bred_from < options_.evaluations; ++tries) {
      const int before = result_.measured;
      consider(child());
      if (result_.measured > before) tries = 0;
    }
    result_.configuration = population_.front().configuration;
    result_.loss = population_.front().loss;
    return result_;
  }

 private:
  struct Individual {
    Configuration configuration;
    double loss;
  };

  double measure(const Configuration& configuration) {
    const double loss = loss_(configuration);
    ++result_.measured;
    if (options_.progress && !options_.progress(result_.measured, expected_)) stopped_ = true;
    return loss;
  }
  // Measures what is feasible and new; the best stay.
  void consider(const Configuration& configuration) {
    if (!hold(constraints_, configuration) || !seen_.insert(configuration).second) return;
    enter({configuration, measure(configuration)});
  }
  void enter(Individual individual) {
    const auto at = std::upper_bound(population_.begin(), population_.end(), individual,
                                     [](const Individual& a, const Individual& b) { return a.loss < b.loss; });
    population_.insert(at, std::move(individual));
    constexpr std::size_t kPopulation = 16;
    if (population_.size() > kPopulation) population_.pop_back();
  }

  // The best uniform configuration that is feasible, else the first of the cheapest by the first budget.
  Configuration measure_uniform() {
    for (std::size_t p = 0; p < precisions_ && !stopped_; ++p)
      consider(Configuration(layers_, static_cast<std::uint8_t>(p)));
    if (!population_.empty()) return population_.front().configuration;
    consider(*cheapest_);
    return *cheapest_;
  }
  void measure_sensitivities(const Configuration& base) {
    const double at_base = population_.front().loss;
    sensitivities_.assign(layers_, std::vector<double>(precisions_, 0));
    for (std::size_t l = 0; l < layers_; ++l)
      for (std::size_t p = 0; p < precisions_; ++p) {
        if (p == base[l] || stopped_) continue;
        Configuration changed = base;
        changed[l] = static_cast<std::uint8_t>(p);
        const double loss = measure(changed);
        sensitivities_[l][p] = loss - at_base;
        if (hold(constraints_, changed) && seen_.insert(changed).second) enter({changed, loss});
      }
  }
  Configuration child() {
    const auto parent = [&]() -> const Configuration& {
      const auto size = static_cast<std::uint32_t>(population_.size());
      return population_[std::min(random_.below(size), random_.below(size))].configuration;
    };
    Configuration out = parent();
    const Configuration& other = parent();
    const bool crosses = random_.uniform() < 0.5f;
    const float mutates = 1.5f / static_cast<float>(layers_);
    for (std::size_t l = 0; l < layers_; ++l) {
      if (crosses && random_.uniform() < 0.5f) out[l] = other[l];
      if (random_.uniform() < mutates)
        out[l] = static_cast<std::uint8_t>(random_.below(static_cast<std::uint32_t>(precisions_)));
    }
    if (hold(constraints_, out)) return out;
    // The feasible one that changes least, and then by what costs least.
    std::vector<std::vector<double>> change = sensitivities_;
    double largest = 1e-9;
    for (const auto& layer : sensitivities_)
      for (const double s : layer) largest = std::max(largest, std::abs(s));
    for (std::size_t l = 0; l < layers_; ++l)
      for (std::size_t p = 0; p < precisions_; ++p)
        change[l][p] = p == out[l] ? 0 : 2 * largest + sensitivities_[l][p] - sensitivities_[l][out[l]];
    return solve_knapsack(change, constraints_).value_or(population_.front().configuration);
  }

  std::size_t layers_, precisions_;
  Loss loss_;
  std::vector<Constraint> constraints_;
  MixedSearchOptions options_;
  Random random_;
  std::optional<Configuration> cheapest_;
  std::vector<std::vector<double>> sensitivities_;  // [layer][precision]
  std::vector<Individual> population_;              // the best first
  std::unordered_set<Configuration, ConfigurationHash> seen_;
  MixedSearchResult result_;
  int expected_ = 0;
  bool stopped_ = false;
};

}  // namespace search
}  // namespace v0
}  // namespace spnet
