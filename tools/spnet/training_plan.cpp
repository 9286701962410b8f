#include "training_plan.hpp"

#include <utility>

#include "spnet/optim/adam.hpp"
#include "spnet/optim/sgd.hpp"
#include "spnet/train/bit_mixer.hpp"
#include "spnet/train/parameter_groups.hpp"
#include "spnet/train/trainer.hpp"

namespace spnet::program {

std::unique_ptr<optim::Optimizer> make_optimizer(const RunConfig& config, const nn::Module& model) {
  auto groups = train::parameter_groups(
      model, {.weight_decay = config.weight_decay, .scale_lr = config.scale_lr, .scale_rates = config.scale_rates});
  std::unique_ptr<optim::Optimizer> optimizer;
  if (config.optimizer == "sgd")
    optimizer = std::make_unique<optim::SGD>(
        std::move(groups), optim::SGDOptions{.momentum = config.momentum, .nesterov = config.momentum > 0});
  else
    optimizer = std::make_unique<optim::Adam>(std::move(groups),
                                              optim::AdamOptions{.decoupled_decay = config.optimizer == "adamw"});
  optimizer->set_clip_norm(config.clip_norm);
  return optimizer;
}

std::unique_ptr<train::TrainingMethod> make_method(const RunConfig& config, nn::Classifier& model,
                                                   optim::Optimizer& optimizer, std::uint64_t steps_per_epoch) {
  if (config.method == "spnet")
    return std::make_unique<train::Trainer>(model, config.switches, optimizer, config.distillation, config.seed);
  train::BitMixerOptions options{.most_redraws = config.redraws};
  for (std::size_t i = 0; i < options.stage_steps.size(); ++i)
    options.stage_steps[i] = static_cast<std::uint64_t>(config.stages[i]) * steps_per_epoch;
  return std::make_unique<train::BitMixerTrainer>(model, config.switches, optimizer, options, config.distillation,
                                                  config.seed);
}

StagePlan::StagePlan(const RunConfig& config, std::uint64_t steps_per_epoch) {
  std::int64_t epoch = 0;
  for (const std::int64_t epochs : config.stages.empty() ? std::vector{config.epochs} : config.stages) {
    stages_.push_back({epoch, static_cast<std::uint64_t>(epoch) * steps_per_epoch,
                       optim::parse_schedule(config.schedule, config.lr, steps_per_epoch,
                                             static_cast<std::uint64_t>(epochs), config.warmup_epochs)});
    epoch += epochs;
  }
}

std::size_t StagePlan::of(std::int64_t epoch) const {
  std::size_t at = 0;
  while (at + 1 < stages_.size() && epoch >= stages_[at + 1].first_epoch) ++at;
  return at;
}

double StagePlan::learning_rate(std::uint64_t step, std::int64_t epoch) const {
  const Stage& now = stages_[of(epoch)];
  return now.schedule(step - now.first_step);
}

}  // namespace spnet::program
