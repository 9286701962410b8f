// What every way of training a network at many precisions shares: lessons, results, the update.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "spnet/nn/module.hpp"
#include "spnet/optim/optimizer.hpp"
#include "spnet/train/distillation.hpp"
#include "spnet/train/metrics.hpp"

namespace spnet {
inline namespace v0 {
namespace train {

/// What one switch, or the layers at precisions of their own, did in one step.
struct SwitchResult {
  Precision precision = {};
  bool mixed = false;        ///< layers had precisions of their own: `precision` says nothing
  bool trained = false;      ///< a plan may leave switches out
  double loss = 0;           ///< mean over the batch, before the switch's weight
  std::int64_t correct = 0;  ///< images whose highest logit is the label

  /// "w2a2" or "mixed".
  std::string name() const { return mixed ? "mixed" : to_string(precision); }
};

/// A way of training: what happens in one step. Derive from it to add one of your own.
class TrainingMethod {
 public:
  TrainingMethod(const TrainingMethod&) = delete;
  TrainingMethod& operator=(const TrainingMethod&) = delete;
  virtual ~TrainingMethod() = default;

  /// Trains on one batch with learning rate `lr`; `step` numbers the steps of the run, for what is drawn at random.
  /// The results are those of each switch before the update, highest first, valid until the next call.
  /// Throws NumericError, naming the switch and the step and with no weight changed, where a loss, a weight, an
  /// activation or a gradient is not finite; running statistics and scales that start from data may have moved by then.
  virtual const std::vector<SwitchResult>& step(const Tensor<float>& images, const Tensor<std::int32_t>& labels,
                                                double lr, std::uint64_t step) = 0;

  /// What has to be saved besides the network and its optimizer so that a run can go on: tensors that share memory with
  /// the method, by names of its own.
  virtual std::vector<nn::NamedBuffer> state() { return {}; }
  /// To be called when these tensors were written to, and `steps` are done: the network is set as they say. Throws
  /// ValueError where they cannot be what a method saved.
  virtual void restored(std::uint64_t steps) { static_cast<void>(steps); }
  /// How far it has come, for reports: figures by name.
  virtual std::vector<std::pair<std::string, double>> progress() const { return {}; }

  /// Those of the last step; before the first, who they will be of.
  const std::vector<SwitchResult>& results() const { return results_; }
  const DistillationOptions& distillation() const { return distillation_; }

 protected:
  /// `switches` in any order; `who` is training, for messages. Throws ValueError on an unknown plan, empty switches, or
  /// a weight that is not positive or is of no switch.
  TrainingMethod(const char* who, nn::Classifier& model, std::vector<Precision> switches, optim::Optimizer& optimizer,
                 DistillationOptions distillation, std::uint64_t seed)
      : TrainingMethod(who, model, optimizer, std::move(distillation), seed) {
    check<ValueError>(!switches.empty(), who, ": no switch given");
    check_switch_weights(distillation_.switch_weights, switches);
    std::sort(switches.begin(), switches.end(), std::greater<>());
    results_.clear();
    for (Precision p : switches) results_.push_back({.precision = p});
  }
  /// Of a network whose layers have precisions of their own: the only result is "mixed".
  TrainingMethod(const char* who, nn::Classifier& model, optim::Optimizer& optimizer, DistillationOptions distillation,
                 std::uint64_t seed)
      : model_(model),
        optimizer_(optimizer),
        distillation_(std::move(distillation)),
        plan_(distillation_plan(distillation_.name)),
        seed_(seed),
        results_{{.mixed = true}} {
    check<ValueError>(distillation_.temperature > 0, who, ": temperature ", distillation_.temperature,
                      " given, expected > 0");
  }

  /// Forgets the last step and draws the lessons of this one for `students`.
  const Lessons& begin(std::uint64_t step, std::size_t students) {
    model_.train();
    model_.zero_grad();
    for (SwitchResult& r : results_) r = {.precision = r.precision, .mixed = r.mixed};
    answers_.resize(students);
    lessons_.clear();
    Random random(seed_, kPlanStream, step * 64);
    plan_(students, distillation_, random, lessons_);
    return lessons_;
  }
  /// One lesson of the student that the network is set to: forward, loss, backward; gradients add up.
  void teach(const Lesson& lesson, SwitchResult& result, const Variable<float>& x, const Tensor<std::int32_t>& labels,
             std::uint64_t step) {
    try {
      Answer answer;
      answer.features = model_.features(x);
      answer.logits = model_.classify(answer.features);
      const Answer* teacher = lesson.teacher ? &answers_[*lesson.teacher] : nullptr;
      const Variable<float> loss = lesson_loss(lesson, answer, teacher, labels, distillation_);
      result.trained = true;
      result.loss = loss.item();
      result.correct = count_correct(answer.logits.value(), labels);
      check<NumericError>(std::isfinite(result.loss), "the loss is ", result.loss);
      const float weight = weight_of(result);
      (weight == 1 ? loss : scale(loss, weight)).backward();
      answers_[lesson.student] = {answer.features.detach(), answer.logits.detach()};
    } catch (const NumericError& error) {
      throw NumericError(message("train: at switch ", result.name(), " in step ", step, ": ", error.what(),
                                 "; a lower learning rate or a warm-up may help"));
    }
  }
  /// One optimizer step with what the lessons gave.
  const std::vector<SwitchResult>& finish(double lr, std::uint64_t step) {
    std::fill(answers_.begin(), answers_.end(), Answer{});
    check<NumericError>(optimizer_.has_finite_gradients(), "train: a gradient of step ", step,
                        " is not finite; a lower learning rate or a warm-up may help");
    optimizer_.step(lr);
    return results_;
  }

  nn::Classifier& model() { return model_; }
  std::uint64_t seed() const { return seed_; }
  std::vector<SwitchResult>& mutable_results() { return results_; }

 private:
  static constexpr std::uint64_t kPlanStream = 0x706c616e;  // "plan"

  float weight_of(const SwitchResult& result) const {
    const auto named = distillation_.switch_weights.find(result.precision);
    return result.mixed || named == distillation_.switch_weights.end() ? 1 : named->second;
  }

  nn::Classifier& model_;
  optim::Optimizer& optimizer_;
  DistillationOptions distillation_;
  const DistillationPlan& plan_;
  std::uint64_t seed_;
  std::vector<SwitchResult> results_;
  std::vector<Answer> answers_;  // of each student
  Lessons lessons_;
};

}  // namespace train
}  // namespace v0
}  // namespace spnet
