// How a run trains: its optimizer, its method, and the stages with a learning rate schedule each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "run_config.hpp"
#include "spnet/optim/optimizer.hpp"
#include "spnet/optim/schedule.hpp"
#include "spnet/train/method.hpp"

namespace spnet::program {

std::unique_ptr<optim::Optimizer> make_optimizer(const RunConfig& config, const nn::Module& model);

/// `model` and `optimizer` must live as long.
std::unique_ptr<train::TrainingMethod> make_method(const RunConfig& config, nn::Classifier& model,
                                                   optim::Optimizer& optimizer, std::uint64_t steps_per_epoch);

/// Stretches of epochs that have a learning rate schedule each: one, or those of Bit-Mixer.
class StagePlan {
 public:
  StagePlan() = default;
  StagePlan(const RunConfig& config, std::uint64_t steps_per_epoch);

  std::size_t size() const { return stages_.size(); }
  /// The stage of an epoch; those without epochs are passed over.
  std::size_t of(std::int64_t epoch) const;
  /// Of a step within an epoch.
  double learning_rate(std::uint64_t step, std::int64_t epoch) const;

 private:
  struct Stage {
    std::int64_t first_epoch;
    std::uint64_t first_step;
    optim::Schedule schedule;
  };
  std::vector<Stage> stages_;
};

}  // namespace spnet::program
