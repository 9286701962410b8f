// A run from its first step to its last, interrupted and resumed as often as need be.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "data_source.hpp"
#include "run_config.hpp"
#include "run_folder.hpp"
#include "spnet/optim/optimizer.hpp"
#include "spnet/train/evaluate.hpp"
#include "spnet/train/trainer.hpp"

namespace spnet::program {

/// How a session goes about its run; none of it changes the result.
struct SessionOptions {
  std::int64_t save_every = 0;  ///< steps between checkpoints within an epoch; 0: only at its end
  std::int64_t eval_every = 1;  ///< epochs between evaluations; 0: only after the last
};

/// Trains the network of `config`, saving to `folder`. A checkpoint holds all that the run depends on, so that a resumed
/// run ends with the same bytes as one that was never stopped.
class TrainSession {
 public:
  /// Begins a new run, from `init` (a run's folder or a safetensors file) where it is not empty.
  TrainSession(RunFolder folder, RunConfig config, SessionOptions options, const std::string& init);
  /// Goes on with the run in `folder`.
  TrainSession(RunFolder folder, SessionOptions options);

  /// Trains to the end, or until a stop is requested; returns whether the end was reached.
  bool run();

 private:
  struct SwitchTotals {
    double loss = 0;  // summed over images
    std::int64_t images = 0, correct = 0;
  };
  struct Totals {
    std::vector<SwitchTotals> switches;  // highest first
  };

  void build();
  void initialise(const std::string& init);
  void restore();
  bool run_epoch();
  bool finish_epoch();
  void save() const;
  nlohmann::json metrics(const std::vector<train::Evaluation>& evaluations, double lr) const;
  void keep_if_best(const std::vector<train::Evaluation>& evaluations);

  RunFolder folder_;
  RunConfig config_;
  SessionOptions options_;
  data::DataSplits splits_;
  data::DatasetPtr training_;
  std::unique_ptr<nn::Classifier> model_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::unique_ptr<train::Trainer> trainer_;
  std::unique_ptr<data::Loader> loader_, test_loader_;
  optim::Schedule schedule_;
  std::int64_t epoch_ = 0, batch_ = 0;  // what comes next
  std::uint64_t step_ = 0;
  double best_mean_ = -1;
  Totals totals_;
};

}  // namespace spnet::program
