// The search for the ratios of one step of a pruning.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "prune_config.hpp"
#include "spnet/prune/ratio_search.hpp"

namespace spnet::program {

/// What filters are ranked by.
prune::CriterionOptions criterion_options(const PruneConfig& config);

struct PruneStep {
  int number, pass;  ///< from 1
  double budget;     ///< the share of bits that may be left; infinity: no limit
};

/// The ratios of all groups of `network`, of which those in `searched` are found by trials that `loss` judges; nothing
/// where it was stopped, which a loss of nothing does, too. Trials are noted in `log`, and those that are there are not
/// done again. Throws FileError where the log's trials are not of this network.
std::optional<std::vector<double>> search_step(prune::RatioMasks& network, const std::vector<std::size_t>& searched,
                                               const PruneConfig& config, const PruneStep& step, PruneLog& log,
                                               const std::function<std::optional<double>()>& loss);

}  // namespace spnet::program
