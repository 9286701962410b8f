#include "training_plan.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "search_plan.hpp"
#include "spnet/optim/adam.hpp"
#include "spnet/optim/sgd.hpp"
#include "spnet/search/ssps.hpp"
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

namespace {

std::unique_ptr<train::TrainingMethod> make_search(const RunConfig& config, nn::Classifier& model,
                                                   optim::Optimizer& optimizer, std::uint64_t steps_per_epoch) {
  const SearchConfig& s = config.search;
  const auto steps = [&](double epochs) {
    return static_cast<std::uint64_t>(std::llround(epochs * static_cast<double>(steps_per_epoch)));
  };
  search::Architecture architecture(model, {s.candidates, s.input_candidates});
  auto constraints = make_constraints(config, model, architecture);
  return std::make_unique<search::SspsTrainer>(
      model, std::move(architecture), std::move(constraints), optimizer,
      search::SspsOptions{.cell = s.cell,
                          .temperature = s.temperature,
                          .last_temperature = s.last_temperature,
                          .penalty = s.penalty,
                          .learning_rate = s.rate,
                          .steps = steps(static_cast<double>(config.epochs)),
                          .warmup_steps = steps(s.warmup_epochs),
                          .decide_every = std::max<std::uint64_t>(1, steps(s.decide_epochs))},
      config.distillation, config.seed);
}

}  // namespace

std::unique_ptr<train::TrainingMethod> make_method(const RunConfig& config, nn::Classifier& model,
                                                   optim::Optimizer& optimizer, std::uint64_t steps_per_epoch) {
  if (config.method == "spnet")
    return std::make_unique<train::Trainer>(model, config.switches, optimizer, config.distillation, config.seed);
  if (config.method == "fixed")
    return std::make_unique<train::FixedTrainer>(model, optimizer, config.distillation, config.seed);
  if (config.method == "search") return make_search(config, model, optimizer, steps_per_epoch);
  train::BitMixerOptions options{.most_redraws = config.redraws,
                                 .draws = config.draws,
                                 .lowest = config.lowest,
                                 .all_widths = config.all_widths,
                                 .continues = config.continues};
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
  // Where whole batches were passed over, fewer steps were made.
  return now.schedule(step - std::min(step, now.first_step));
}

}  // namespace spnet::program
