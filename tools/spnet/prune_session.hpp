// Pruning of a trained run, interrupted and resumed as often as need be.
#pragma once

#include <string>
#include <vector>

#include "prune_config.hpp"
#include "spnet/nn/module.hpp"
#include "train_session.hpp"

namespace spnet::program {

/// Prunes a run into a new one in the folder `out`, in passes: the ratios of layers are searched for, filters removed,
/// the network retrained, until the budget is met (size-mib) or the next pass loses more than is allowed of the
/// held-out top-1 at some switch (drop); then the last network that keeps the budget is trained to the end. What it
/// needs to go on after an interruption is in `out`.prune: config.json, log.jsonl (trials, ratios, passes), the network
/// after each step, and the runs of retraining. Returns false where it was stopped. Throws ValueError, before any
/// training, where the budget cannot be met, and later where a greedy pass finds nothing more to remove or the first
/// pass loses too much.
bool prune_run(const std::string& out, const PruneConfig& config, const SessionOptions& options);
/// Goes on with it.
bool resume_prune(const std::string& out, const SessionOptions& options);

/// The passes of a run that was pruned, the run itself first.
std::vector<PrunedPoint> pruned_points(const std::string& out);

}  // namespace spnet::program
