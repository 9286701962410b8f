// How many channels each layer can do without, found by Bayesian optimization.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "spnet/nn/size.hpp"
#include "spnet/prune/bayesian_optimization.hpp"
#include "spnet/prune/criterion.hpp"

namespace spnet {
inline namespace v0 {
namespace prune {

/// Shares of a network's parameters, and of its bits at the highest switch, which a file has to store.
struct Remaining {
  double parameters, bits;
};

/// A network whose channels are masked by shares: for every group the channels that the criterion ranks first go first.
class RatioMasks {
 public:
  /// Takes the groups without an obstacle and with quantized kernels to rank them by, in the order of the network;
  /// there may be no such group. `masks` must live as long. What is kept of a group is a multiple of `multiple`
  /// channels, or all: kernels handle channels by vectors, and what ends within one saves no time [ours]. Throws
  /// ValueError where there are no switches, `multiple` is not positive, or channels are masked already.
  RatioMasks(const nn::Module& model, ChannelMasks& masks, const std::vector<Precision>& switches,
             const CriterionOptions& criterion, std::int64_t multiple = 1)
      : masks_(masks), multiple_(multiple) {
    check<ValueError>(multiple > 0, "prune: multiples of ", multiple, " channels given, expected at least 1");
    const ChannelGraph& graph = masks.graph();
    check<ValueError>(!switches.empty(), "prune: no switches given");
    for (std::size_t g = 0; g < graph.groups.size(); ++g) {
      check<ValueError>(std::ssize(masks.kept()[g]) == graph.groups[g].channels, "prune: ", masks.kept()[g].size(),
                        " of ", graph.groups[g].channels, " channels of ", graph.groups[g].name,
                        " are kept by a mask, expected all");
      if (!graph.groups[g].obstacle.empty()) continue;
      const std::vector<double> scores = channel_scores(graph, g, switches, criterion);
      if (scores.empty()) continue;
      CriterionOptions ordered = criterion;
      ordered.seed = criterion.seed + (static_cast<std::uint64_t>(g) << 32);  // another random order for each
      groups_.push_back({g, pruning_order(scores, ordered)});
    }
    for (const auto& p : nn::stored_parameters(model, *std::max_element(switches.begin(), switches.end())))
      stored_.push_back(describe(p));
  }

  std::size_t size() const { return groups_.size(); }
  const ChannelGroup& group(std::size_t i) const { return masks_.graph().groups[groups_[i].group]; }
  /// Whether one layer alone makes these channels: nothing is added to them.
  bool has_one_maker(std::size_t i) const {
    std::size_t makers = 0;
    for (const ChannelTensor& t : masks_.graph().tensors)
      for (const ChannelAxis& axis : t.axes)
        makers += axis.role == ChannelRole::kMakes &&
                  std::find(axis.groups.begin(), axis.groups.end(), groups_[i].group) != axis.groups.end();
    return makers == 1;
  }

  /// The share of channels that goes where `ratio` is asked for: whole channels, perhaps fewer than asked for, and
  /// never the last.
  double possible(std::size_t i, double ratio) const {
    return static_cast<double>(removed(i, ratio)) / static_cast<double>(groups_[i].order.size());
  }
  /// What is left of the bits where passes that remove up to `most` of every group follow each other to the end.
  double least_bits(double most) const {
    return remaining_of([&](std::int64_t channels) {
             for (std::int64_t gone; (gone = removed_of(channels, most)) > 0;) channels -= gone;
             return channels;
           })
        .bits;
  }
  /// Masks the share `ratios[i]` of every group. Throws ValueError on another number of ratios.
  void mask(const std::vector<double>& ratios) {
    require_ratios(ratios);
    std::vector<Channels> kept = masks_.kept();
    for (std::size_t i = 0; i < groups_.size(); ++i)
      kept[groups_[i].group] = kept_without(groups_[i].order, removed(i, ratios[i]));
    masks_.keep(std::move(kept));
  }

  /// What would be kept of what is there without masks, by the size rule of nn::stored_parameters.
  /// Throws as `mask`.
  Remaining remaining(const std::vector<double>& ratios) const {
    require_ratios(ratios);
    std::size_t i = 0;
    return remaining_of([&](std::int64_t channels) { return channels - removed_of(channels, ratios[i++]); });
  }
  /// Throws ValueError unless there is a finite ratio for each group.
  void require_ratios(const std::vector<double>& ratios) const {
    check<ValueError>(ratios.size() == size(), "prune: ", ratios.size(), " ratios given, the network has ", size(),
                      " groups of channels that can be removed");
    for (const double r : ratios)
      check<ValueError>(std::isfinite(r), "prune: a ratio of ", r, " given, expected a number");
  }

 private:
  struct Group {
    std::size_t group;
    Channels order;
  };
  // Where `left(channels)` channels are left of each group, asked in their order.
  template <class Left>
  Remaining remaining_of(const Left& left_of) const {
    std::vector<std::int64_t> all;
    for (const ChannelGroup& g : masks_.graph().groups) all.push_back(g.channels);
    std::vector<std::int64_t> kept = all;
    for (const Group& g : groups_) kept[g.group] = left_of(all[g.group]);
    double parameters = 0, all_parameters = 0, bits = 0, all_bits = 0;
    for (const Stored& s : stored_) {
      const double left = s.count(kept), before = s.count(all);
      parameters += left;
      all_parameters += before;
      bits += left * s.bits;
      all_bits += before * s.bits;
    }
    return {parameters / all_parameters, bits / all_bits};
  }
  // A parameter: its size is a constant times the channels along its axes.
  struct Stored {
    int bits;  // of a value
    double other = 1;
    std::vector<std::vector<std::size_t>> axes = {};  // groups

    double count(const std::vector<std::int64_t>& channels) const {
      double out = other;
      for (const auto& axis : axes) {
        std::int64_t sum = 0;
        for (const std::size_t g : axis) sum += channels[g];
        out *= static_cast<double>(sum);
      }
      return out;
    }
  };

  Stored describe(const nn::StoredParameter& stored) const {
    const Variable<float>& parameter = stored.parameter;
    Stored out{.bits = stored.bits};
    std::vector<bool> lies_along(static_cast<std::size_t>(parameter.shape().rank()), false);
    for (const ChannelTensor& t : masks_.graph().tensors) {
      if (!t.parameter.defined() || t.parameter.id() != parameter.id()) continue;
      for (const ChannelAxis& axis : t.axes) {
        out.axes.push_back(axis.groups);
        lies_along[static_cast<std::size_t>(axis.axis)] = true;
      }
    }
    for (int i = 0; i < parameter.shape().rank(); ++i)
      if (!lies_along[static_cast<std::size_t>(i)]) out.other *= static_cast<double>(parameter.dim(i));
    return out;
  }

  std::int64_t removed_of(std::int64_t channels, double ratio) const {
    const auto count = static_cast<std::int64_t>(std::floor(ratio * static_cast<double>(channels) + 1e-6));
    const std::int64_t kept = channels - std::clamp<std::int64_t>(count, 0, channels - 1);
    return channels - std::min(channels, (kept + multiple_ - 1) / multiple_ * multiple_);
  }
  std::int64_t removed(std::size_t i, double ratio) const {
    return removed_of(static_cast<std::int64_t>(groups_[i].order.size()), ratio);
  }

  ChannelMasks& masks_;
  std::int64_t multiple_;
  std::vector<Group> groups_;
  std::vector<Stored> stored_;
};

/// What a search found for one choice of ratios.
struct RatioTrial {
  std::vector<double> ratios;  ///< of every group
  double loss = 0;             ///< on images that were not trained on, without retraining
  double objective = 0;        ///< higher is better
};

struct RatioSearchOptions {
  double most = 0.4;      ///< largest share of a group's channels that may go
  double alpha = 3;       ///< weight of size against loss, where there is no budget
  int random_points = 5;  ///< trials before the model is asked
  int guided_points = 5;  ///< and after
  Acquisition acquisition = expected_improvement;
  std::uint64_t seed = 1;
  /// The share of bits that no trial may leave more of; trials are moved onto it, and only their loss counts then.
  double budget = std::numeric_limits<double>::infinity();
  /// Called after each trial; false stops, and gives the best so far.
  std::function<bool(const RatioTrial&)> progress = {};
  /// Trials of the same search that are known, from before an interruption, in their order.
  std::vector<RatioTrial> known = {};
};

namespace detail {

// Shifts the ratios of all groups in `searched` by as much, in whole channels, until `budget` is kept; then the groups
// get back single channels in turn for as long as it still is. `with` completes ratios to all groups.
template <class With>
std::vector<double> fitted_to(double budget, double most, const std::vector<double>& point,
                              const std::vector<std::size_t>& searched, const RatioMasks& network, const With& with) {
  const auto keeps = [&](const std::vector<double>& ratios) { return network.remaining(with(ratios)).bits <= budget; };
  const auto shifted = [&](double by) {
    std::vector<double> out = point;
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = network.possible(searched[i], std::clamp(out[i] + by, 0.0, most));
    return out;
  };
  double low = -most, high = most;
  for (int i = 0; i < 12; ++i) {
    const double middle = (low + high) / 2;
    (keeps(shifted(middle)) ? high : low) = middle;
  }
  std::vector<double> out = shifted(high);
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const double before = out[i];
      out[i] = network.possible(searched[i], before - 1 / static_cast<double>(network.group(searched[i]).channels));
      if (before == 0 || !keeps(out)) out[i] = before;
      changed = changed || out[i] != before;
    }
  }
  return out;
}

inline void require_groups(const RatioMasks& network) {
  check<ValueError>(network.size() > 0, "prune: no layer of the network has low-precision filters that can be removed");
}
inline void require_reachable(double budget, double most, double least) {
  check<ValueError>(least <= budget, "prune: a size of ", 100 * budget,
                    " % of the network as it is cannot be reached: ratios up to ", most, " leave ", 100 * least, " %");
}

}  // namespace detail

/// The same ratio for every group, to a channel or two, the least that keeps `budget` (a share of bits): what a search
/// has to beat. Throws ValueError where there is no group, and where a ratio of `most` does not keep the budget, naming
/// what it leaves.
inline std::vector<double> uniform_ratios(const RatioMasks& network, double budget, double most) {
  detail::require_groups(network);
  const std::vector<double> largest(network.size(), most), none(network.size(), 0);
  detail::require_reachable(budget, most, network.remaining(largest).bits);
  std::vector<std::size_t> all(network.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  return detail::fitted_to(budget, most, none, all, network, [](const auto& ratios) { return ratios; });
}

/// Maximises −(L + α·P + α/4·S) over the ratios of the groups `searched`, those of the others staying at `ratios`, with
/// one validation pass, `loss()`, a trial (arXiv 2002.00523): one group is the paper's greedy step, several at once are
/// a joint search. A `loss()` of type std::optional that gives nothing stops, as `progress` does. First come ratios of
/// 0, half of the largest and the largest, then random ones, then guided ones. [ours] With a budget every trial removes
/// more, or less, of all searched groups until it just keeps it, and −log L is maximised: sizes are the same, and
/// losses spread over decades. First come the same ratio everywhere; the groups alone that one layer makes; those of
/// the second half. A loss that is not finite counts as a thousand. The network is left with the mask that was tried
/// last. Throws ValueError where there is no group, on ratios, groups or numbers of points that there cannot be, and
/// where the budget cannot be kept, naming what can.
template <class ValidationLoss>
RatioTrial search_ratios(RatioMasks& network, const std::vector<double>& ratios,
                         const std::vector<std::size_t>& searched, const ValidationLoss& loss,
                         const RatioSearchOptions& options) {
  detail::require_groups(network);
  network.require_ratios(ratios);
  check<ValueError>(options.most > 0 && options.most < 1, "prune: ratios up to ", options.most,
                    " given, expected between 0 and 1: a layer keeps at least one channel");
  check<ValueError>(options.random_points >= 0 && options.guided_points >= 0, "prune: ", options.random_points,
                    " random and ", options.guided_points, " guided points given, expected 0 or more");
  for (const std::size_t i : searched)
    check<ValueError>(i < network.size(), "prune: group ", i, " given, expected 0 to ", network.size() - 1);
  const auto with = [&](const std::vector<double>& point) {
    std::vector<double> all = ratios;
    for (std::size_t i = 0; i < searched.size(); ++i) all[searched[i]] = network.possible(searched[i], point[i]);
    return all;
  };
  const auto where = [&](const auto& holds) {
    std::vector<double> out(searched.size(), 0);
    for (std::size_t i = 0; i < searched.size(); ++i)
      if (holds(i)) out[i] = options.most;
    return out;
  };
  const std::vector<double> largest(searched.size(), options.most), none(searched.size(), 0);
  BayesianOptions bayesian{
      .random_points = options.random_points, .acquisition = options.acquisition, .seed = options.seed};
  const bool limited = options.budget < std::numeric_limits<double>::infinity();
  if (limited) {
    detail::require_reachable(options.budget, options.most, network.remaining(with(largest)).bits);
    bayesian.probes = {none, where([&](std::size_t i) { return network.has_one_maker(searched[i]); }),
                       where([&](std::size_t i) { return i >= searched.size() / 2; })};
    bayesian.snap = [&](const std::vector<double>& point) {
      return detail::fitted_to(options.budget, options.most, point, searched, network, with);
    };
  } else {
    bayesian.probes = {none, std::vector<double>(searched.size(), options.most / 2), largest};
    bayesian.snap = [&](std::vector<double> point) {
      for (std::size_t i = 0; i < point.size(); ++i) point[i] = network.possible(searched[i], point[i]);
      return point;
    };
  }
  BayesianOptimization search(std::vector<BayesianOptimization::Range>(searched.size(), {0.0, options.most}), bayesian);
  RatioTrial best;
  best.objective = -std::numeric_limits<double>::infinity();
  const auto consider = [&](const RatioTrial& trial) {
    std::vector<double> point;
    for (const std::size_t i : searched) point.push_back(trial.ratios.at(i));
    search.tell(std::move(point), trial.objective);
    if (trial.objective > best.objective) best = trial;
  };
  for (const RatioTrial& trial : options.known) consider(trial);
  const std::size_t trials = 3 + static_cast<std::size_t>(options.random_points + options.guided_points);
  while (search.observations().size() < trials) {
    const auto point = search.ask();
    if (!point) break;
    RatioTrial trial{with(*point), 0, 0};
    network.mask(trial.ratios);
    const std::optional<double> lost = loss();
    if (!lost) break;
    trial.loss = *lost;
    if (!std::isfinite(trial.loss)) trial.loss = 1e3;
    const Remaining left = network.remaining(trial.ratios);
    trial.objective = limited ? -std::log(std::max(trial.loss, 1e-12))
                              : -(trial.loss + options.alpha * left.parameters + options.alpha / 4 * left.bits);
    consider(trial);
    if (options.progress && !options.progress(trial)) break;
  }
  return best;
}

}  // namespace prune
}  // namespace v0
}  // namespace spnet
