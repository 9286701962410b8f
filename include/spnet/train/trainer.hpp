// One training step of a switchable network: every switch forward and backward, gradients summed, one update.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "spnet/nn/module.hpp"
#include "spnet/optim/optimizer.hpp"
#include "spnet/train/distillation.hpp"
#include "spnet/train/metrics.hpp"

namespace spnet {
inline namespace v0 {
namespace train {

/// What one switch did in one step.
struct SwitchResult {
  Precision precision;
  bool trained = false;      ///< a plan may leave switches out
  double loss = 0;           ///< mean over the batch, before the switch's weight
  std::int64_t correct = 0;  ///< images whose highest logit is the label
};

/// The SP-Nets training step (arXiv 2002.02815): clear the gradients; for every switch of the plan, highest first,
/// forward, loss, backward, the gradients adding up, each switch's by its weight (ours; 1 is the paper's); one optimizer
/// step.
class Trainer {
 public:
  /// `switches` in any order. `seed` draws what a plan draws. Throws ValueError on an unknown plan, empty switches, or a
  /// weight that is not positive or is of no switch.
  Trainer(nn::Classifier& model, std::vector<Precision> switches, optim::Optimizer& optimizer,
          DistillationOptions distillation = {}, std::uint64_t seed = 0)
      : model_(model), optimizer_(optimizer), distillation_(std::move(distillation)),
        plan_(distillation_plan(distillation_.name)), seed_(seed) {
    check<ValueError>(!switches.empty(), "Trainer: no switch given");
    check<ValueError>(distillation_.temperature > 0, "Trainer: temperature ", distillation_.temperature,
                      " given, expected > 0");
    std::sort(switches.begin(), switches.end(), std::greater<>());
    for (Precision p : switches) results_.push_back({.precision = p});
    answers_.resize(switches.size());
    check_switch_weights(distillation_.switch_weights, switches);
    for (Precision p : switches) {
      const auto named = distillation_.switch_weights.find(p);
      weights_.push_back(named == distillation_.switch_weights.end() ? 1 : named->second);
    }
  }

  /// Trains on one batch with learning rate `lr`; `step` numbers the steps of the run, for what is drawn at random.
  /// The results are those of each switch before the update, highest first, valid until the next call.
  /// Throws NumericError, naming the switch and the step and with no weight changed, where a loss, a weight, an activation or
  /// a gradient is not finite; running statistics and scales that start from data may have moved by then.
  const std::vector<SwitchResult>& step(const Tensor<float>& images, const Tensor<std::int32_t>& labels, double lr,
                                        std::uint64_t step) {
    model_.train();
    model_.zero_grad();
    lessons_.clear();
    Random random(seed_, kPlanStream, step * 64);
    plan_(results_.size(), distillation_, random, lessons_);
    for (auto& result : results_) result = {.precision = result.precision};
    const Variable<float> x(images);
    for (const Lesson& lesson : lessons_) {
      try {
        teach(lesson, x, labels);
      } catch (const NumericError& error) {
        throw NumericError(message("train: at switch ", results_[lesson.student].precision, " in step ", step, ": ", error.what(),
                                   "; a lower learning rate or a warm-up may help"));
      }
    }
    std::fill(answers_.begin(), answers_.end(), Answer{});
    check<NumericError>(optimizer_.has_finite_gradients(), "train: a gradient of step ", step,
                        " is not finite; a lower learning rate or a warm-up may help");
    optimizer_.step(lr);
    return results_;
  }

  const DistillationOptions& distillation() const { return distillation_; }

 private:
  static constexpr std::uint64_t kPlanStream = 0x706c616e;  // "plan"

  // One switch: forward, loss, backward.
  void teach(const Lesson& lesson, const Variable<float>& x, const Tensor<std::int32_t>& labels) {
    SwitchResult& result = results_[lesson.student];
    Answer answer = ask(result.precision, x);
    const Answer* teacher = lesson.teacher ? &answers_[*lesson.teacher] : nullptr;
    const Variable<float> loss = lesson_loss(lesson, answer, teacher, labels, distillation_);
    result.trained = true;
    result.loss = loss.item();
    result.correct = count_correct(answer.logits.value(), labels);
    check<NumericError>(std::isfinite(result.loss), "the loss is ", result.loss);
    const float weight = weights_[lesson.student];
    (weight == 1 ? loss : scale(loss, weight)).backward();
    answers_[lesson.student] = {answer.features.detach(), answer.logits.detach()};
  }
  Answer ask(Precision precision, const Variable<float>& x) {
    model_.set_precision(precision);
    Answer answer;
    answer.features = model_.features(x);
    answer.logits = model_.classify(answer.features);
    return answer;
  }

  nn::Classifier& model_;
  optim::Optimizer& optimizer_;
  DistillationOptions distillation_;
  const DistillationPlan& plan_;
  std::uint64_t seed_;
  std::vector<SwitchResult> results_;
  std::vector<Answer> answers_;
  std::vector<float> weights_;  // of each switch's loss
  Lessons lessons_;
};

}  // namespace train
}  // namespace v0
}  // namespace spnet
