// Pruning of a trained run, interrupted and resumed as often as need be.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "train_session.hpp"

namespace spnet::program {

/// The arguments of `spnet prune` that decide the outcome.
struct PruneConfig {
  std::string run;                ///< the folder of the run that is pruned
  std::string budget;             ///< "size-mib:0.05" or "drop:1"
  std::string search = "joint";   ///< joint, greedy (the paper's) or uniform
  std::string measure = "angle", kernels = "next", order = "largest";
  std::string acquisition = "ei";  ///< ei or ucb
  double most = 0.4;               ///< largest share of a layer's filters that one pass removes
  double alpha = 3;                ///< weight of size in the objective, of the first pass where greedy
  double step = 0.1;               ///< share of the size that one pass removes, where not greedy
  int random_points = -1, guided_points = -1;  ///< trials of a search; negative: 5 and 5, of a joint one 10 and 20
  std::int64_t retrain = 5, final = 10;        ///< epochs
  double retrain_ratio = 0.05;                 ///< least ratio after which a layer is retrained
  std::int64_t holdout = 5000;                 ///< images of the training set that ratios are judged by
  double lr = 0;                               ///< of retraining; 0: a tenth of the run's
  std::uint64_t seed = 1;
};

/// Throws ValueError, naming the option, where a value is outside its range.
void check_prune_config(const PruneConfig& config);

/// A network on the way.
struct PrunedPoint {
  int pass = 0;                                           ///< 0: before pruning
  double size_mib = 0;                                    ///< by the size rule, at the highest switch
  std::vector<std::pair<std::string, double>> held_out, test;  ///< top-1 of each switch, in percent
};

/// Prunes a run into a new one in the folder `out`, in passes: the ratios of layers are searched for, filters removed, the
/// network retrained, until the budget is met (size-mib) or the next pass loses more than is allowed of the held-out
/// top-1 at some switch (drop); then the last network that keeps the budget is trained to the end. What it needs to go on
/// after an interruption is in `out`.prune: config.json, log.jsonl (trials, ratios, passes), the network after
/// each step, and the runs of retraining. Returns false where it was stopped. Throws ValueError, before any training,
/// where the budget cannot be met, and where the first pass loses too much.
bool prune_run(const std::string& out, const PruneConfig& config, const SessionOptions& options);
/// Goes on with it.
bool resume_prune(const std::string& out, const SessionOptions& options);

/// The passes of a run that was pruned, the run itself first.
std::vector<PrunedPoint> pruned_points(const std::string& out);

}  // namespace spnet::program
