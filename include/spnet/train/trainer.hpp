// One training step of a switchable network: every switch forward and backward, gradients summed, one update.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "spnet/train/method.hpp"

namespace spnet {
inline namespace v0 {
namespace train {

/// The SP-Nets training step (arXiv 2002.02815): clear the gradients; for every switch of the plan, highest first,
/// forward, loss, backward, the gradients adding up, each switch's by its weight (ours; 1 is the paper's); one optimizer
/// step.
class Trainer final : public TrainingMethod {
 public:
  /// `switches` in any order. `seed` draws what a plan draws. Throws as TrainingMethod.
  Trainer(nn::Classifier& model, std::vector<Precision> switches, optim::Optimizer& optimizer,
          DistillationOptions distillation = {}, std::uint64_t seed = 0)
      : TrainingMethod("Trainer", model, std::move(switches), optimizer, std::move(distillation), seed) {}

  const std::vector<SwitchResult>& step(const Tensor<float>& images, const Tensor<std::int32_t>& labels, double lr,
                                        std::uint64_t step) override {
    const Variable<float> x(images);
    for (const Lesson& lesson : begin(step, results().size())) {
      SwitchResult& result = mutable_results()[lesson.student];
      model().set_precision(result.precision);
      teach(lesson, result, x, labels, step);
    }
    return finish(lr, step);
  }
};

/// Training of a network whose layers keep the precisions that they have: forward, cross-entropy, backward, one
/// optimizer step.
class FixedTrainer final : public TrainingMethod {
 public:
  /// Throws as TrainingMethod.
  FixedTrainer(nn::Classifier& model, optim::Optimizer& optimizer, DistillationOptions options = {},
               std::uint64_t seed = 0)
      : TrainingMethod("FixedTrainer", model, optimizer, std::move(options), seed) {}

  const std::vector<SwitchResult>& step(const Tensor<float>& images, const Tensor<std::int32_t>& labels, double lr,
                                        std::uint64_t step) override {
    teach(begin(step, 1).front(), mutable_results().front(), Variable<float>(images), labels, step);
    return finish(lr, step);
  }
};

}  // namespace train
}  // namespace v0
}  // namespace spnet
