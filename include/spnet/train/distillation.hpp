// Which switch teaches which, and by what loss: self-distillation by name.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "spnet/autograd/arithmetic.hpp"
#include "spnet/autograd/loss.hpp"
#include "spnet/core/memory.hpp"
#include "spnet/core/precision.hpp"
#include "spnet/core/random.hpp"

namespace spnet {
inline namespace v0 {
namespace train {

/// One switch's part of a training step. Switches are numbered from the highest precision down.
struct Lesson {
  std::size_t student = 0;
  std::optional<std::size_t> teacher;  ///< a switch of an earlier lesson; its detached logits are the soft target
  float label_weight = 1;              ///< of the cross-entropy with the labels
  float soft_weight = 0;               ///< of the divergence from the teacher
};
using Lessons = std::vector<Lesson, PoolAllocator<Lesson>>;

/// Knobs of the losses.
struct DistillationOptions {
  std::string name = "recursive";
  float temperature = 1;               ///< > 0; softens teacher and student, gradients scaled back by its square
  std::optional<float> label_weight = {}; ///< of the students' cross-entropy with the labels; each plan has its own default
  float feature_weight = 0;            ///< of the squared distance between the teacher's and the student's features
  float label_smoothing = 0;           ///< of the cross-entropy with the labels; 0..1
  std::map<Precision, float> switch_weights = {}; ///< > 0; of a switch's whole loss in the sum; 1 where not named
};

/// Throws ValueError unless every weight is positive and of one of `switches`.
inline void check_switch_weights(const std::map<Precision, float>& weights, const std::vector<Precision>& switches) {
  for (const auto& [precision, weight] : weights) {
    check<ValueError>(std::find(switches.begin(), switches.end(), precision) != switches.end(), "switch weights: ", precision,
                      " given, which is not among the switches");
    check<ValueError>(weight > 0 && std::isfinite(weight), "switch weights: ", weight, " given for ", precision,
                      ", expected > 0");
  }
}

/// Fills in the lessons of one step for `switches` switches; `random` may draw, anew each step.
using DistillationPlan =
    std::function<void(std::size_t switches, const DistillationOptions& options, Random& random, Lessons& lessons)>;

namespace detail {

inline void plan_none(std::size_t switches, const DistillationOptions&, Random&, Lessons& lessons) {
  for (std::size_t i = 0; i < switches; ++i) lessons.push_back({i, std::nullopt, 1, 0});
}
inline void plan_top(std::size_t switches, const DistillationOptions& options, Random&, Lessons& lessons) {
  for (std::size_t i = 0; i < switches; ++i) {
    if (i == 0) lessons.push_back({0, std::nullopt, 1, 0});
    else lessons.push_back({i, 0, options.label_weight.value_or(1), 1});
  }
}
inline void plan_recursive(std::size_t switches, const DistillationOptions& options, Random&, Lessons& lessons) {
  for (std::size_t i = 0; i < switches; ++i) {
    if (i == 0) lessons.push_back({0, std::nullopt, 1, 0});
    else lessons.push_back({i, i - 1, options.label_weight.value_or(0), 1});
  }
}
inline void plan_sandwich(std::size_t switches, const DistillationOptions& options, Random& random, Lessons& lessons) {
  const float label_weight = options.label_weight.value_or(0.5f);
  lessons.push_back({0, std::nullopt, 1, 0});
  if (switches > 2)
    lessons.push_back({1 + random.below(static_cast<std::uint32_t>(switches - 2)), 0, label_weight, 1 - label_weight});
  if (switches > 1) lessons.push_back({switches - 1, 0, label_weight, 1 - label_weight});
}

}  // namespace detail

/// The plans by name:
/// "none": every switch learns from the labels;
/// "top": the highest learns from the labels and teaches all others, which learn from the labels too (CE + KL; SP-Nets);
/// "recursive": each switch is taught by the next higher one alone (Any-Precision);
/// "sandwich": highest, one at random between, lowest; the students learn half from labels, half from the highest.
/// Users may add their own.
inline std::map<std::string, DistillationPlan>& distillation_plans() {
  static std::map<std::string, DistillationPlan> plans = {{"none", detail::plan_none},
                                                          {"top", detail::plan_top},
                                                          {"recursive", detail::plan_recursive},
                                                          {"sandwich", detail::plan_sandwich}};
  return plans;
}

/// The plan called `name`; throws ValueError, listing the known ones, on another.
inline const DistillationPlan& distillation_plan(const std::string& name) {
  const auto found = distillation_plans().find(name);
  if (found != distillation_plans().end()) return found->second;
  throw ValueError(message("distillation: '", name, "' is not known; there are ",
                           join(distillation_plans(), [](const auto& entry) { return entry.first; })));
}

/// What a switch computed for one batch: its features and logits.
struct Answer {
  Variable<float> features, logits;
};

/// The loss of one lesson → []; logits [N,K], features [N,F], labels [N]. With a teacher: label_weight·CE
/// + soft_weight·T²·KL(teacher‖student) + feature_weight·mean squared feature distance; the teacher is constant. Throws as
/// the losses do.
inline Variable<float> lesson_loss(const Lesson& lesson, const Answer& student, const Answer* teacher,
                                   const Tensor<std::int32_t>& labels, const DistillationOptions& options) {
  Variable<float> loss;
  const auto add = [&](const Variable<float>& term) { loss = loss.defined() ? loss + term : term; };
  const auto weighted = [](const Variable<float>& term, float weight) { return weight == 1 ? term : scale(term, weight); };
  if (lesson.label_weight != 0 || !teacher)
    add(weighted(cross_entropy(student.logits, labels, {.label_smoothing = options.label_smoothing}), lesson.label_weight));
  if (teacher && lesson.soft_weight != 0)
    add(weighted(kl_divergence_from_logits(student.logits, teacher->logits.value(), {.temperature = options.temperature}),
                 lesson.soft_weight));
  if (teacher && options.feature_weight != 0)
    add(scale(mse(student.features, teacher->features), options.feature_weight));
  return loss;
}

}  // namespace train
}  // namespace v0
}  // namespace spnet
