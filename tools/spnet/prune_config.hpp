// What defines a pruning, and what is noted on the way.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace spnet::program {

/// The arguments of `spnet prune` that decide the outcome.
struct PruneConfig {
  std::string run;               ///< the folder of the run that is pruned
  std::string budget;            ///< "size-mib:0.05" or "drop:1"
  std::string search = "joint";  ///< joint, greedy (the paper's) or uniform
  std::string measure = "angle", kernels = "next", order = "largest";
  std::string acquisition = "ei";              ///< ei or ucb
  double most = 0.4;                           ///< largest share of a layer's filters that one pass removes
  double alpha = 3;                            ///< weight of size in the objective of the first pass, where greedy
  double step = 0.1;                           ///< share of the size that one pass removes, where not greedy
  int random_points = -1, guided_points = -1;  ///< trials of a search; negative: 5 and 5, of a joint one 10 and 50
  std::int64_t retrain = 5, final = 10;        ///< epochs
  double retrain_ratio = 0.05;                 ///< least ratio after which a layer is retrained
  std::int64_t recalibrate = -1;  ///< images that norms are set by in a trial; negative: 0 where greedy, else 1024
  std::int64_t trial_steps = 0;   ///< of retraining before a trial is judged
  std::int64_t multiple = 1;      ///< of which what is kept of a layer's filters is
  std::int64_t holdout = 5000;                 ///< images of the training set that ratios are judged by
  double lr = 0;                               ///< of retraining; 0: a tenth of the run's
  std::uint64_t seed = 1;                      ///< of the search, and of order and augmentation in retraining
};

/// Throws ValueError, naming the option, where a value is outside its range.
void check_prune_config(const PruneConfig& config);

nlohmann::json to_json(const PruneConfig& config);
/// Throws FileError, naming `source`, where an entry is missing or wrong.
PruneConfig prune_config_from_json(const std::string& text, const std::string& source);

/// A network on the way.
struct PrunedPoint {
  int pass = 0;                                                ///< 0: before pruning
  double size_mib = 0;                                         ///< by the size rule, at the highest switch
  std::vector<std::pair<std::string, double>> held_out, test;  ///< top-1 of each switch, in percent
};

PrunedPoint point_from_json(const nlohmann::json& line);

/// What was found out so far, an object a line: trials {"step", "trial": {"ratios", "loss", "objective"}}, what steps
/// removed {"step", "found": {layers: ratio}} and passes {"pass", "size_mib", "held_out": [[switch, top-1]], "test"}. A
/// line that was cut short belongs to what is done again.
class PruneLog {
 public:
  /// Throws FileError, naming the line, where the file is there and is no log.
  explicit PruneLog(std::filesystem::path path);
  const std::filesystem::path& path() const { return path_; }
  const std::vector<nlohmann::json>& lines() const { return lines_; }
  /// Throws FileError where it cannot be written.
  void add(nlohmann::json line);

 private:
  std::filesystem::path path_;
  std::vector<nlohmann::json> lines_;
};

}  // namespace spnet::program
