// What a pruning begins with.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "budget_text.hpp"
#include "prune_config.hpp"
#include "run_config.hpp"
#include "spnet/data/open_options.hpp"
#include "spnet/nn/module.hpp"
#include "spnet/prune/ratio_search.hpp"

namespace spnet::program {

/// A run that can be pruned as it was asked for.
struct PruneStart {
  PruneConfig config;  ///< with what follows from the run where it was left out
  BudgetText budget;
  RunConfig run;
  std::unique_ptr<nn::Classifier> model;
  data::DataSplits splits;
  data::DatasetPtr held_out;  ///< of the training set
};

/// Opens the run that is pruned, or what was kept of it in the file `kept` when the pruning began. Throws FileError
/// where it cannot be read, ValueError where it, or the budget, is none that can be.
PruneStart open_prune_start(PruneConfig config, const std::filesystem::path& kept);

/// How what was pruned is trained further: as the run was, its last stage alone, at the pruning's rate along a cosine.
RunConfig retraining_config(const PruneStart& start, std::int64_t epochs);

/// The channels of a network that can be removed, and masks on them.
struct PrunableChannels {
  PrunableChannels(nn::Classifier& model, const RunConfig& run, const PruneConfig& config);
  std::vector<std::string> names() const;  ///< of the groups of `ratios`

  prune::ChannelMasks masks;
  prune::RatioMasks ratios;
};

/// Of the network at its highest switch, by the size rule of nn::model_size_bits.
double size_mib(const RunConfig& config, const nn::Module& model);

}  // namespace spnet::program
