// Sequential single path search (SSPS, arXiv 2103.02904): training of a network and of its widths at once.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/optim/adam.hpp"
#include "spnet/search/architecture.hpp"
#include "spnet/search/cell.hpp"
#include "spnet/search/knapsack.hpp"
#include "spnet/train/method.hpp"

namespace spnet {
inline namespace v0 {
namespace search {

/// A constraint and what messages and reports call it.
struct NamedConstraint {
  std::string name;  ///< "bitops-g"
  Constraint constraint;
};

/// Throws ValueError, with the range from the least to the most that there is, where a budget is below it, or all are
/// above it, and where each budget, but not all together, can be kept, with what each needs then. Returns a
/// configuration that keeps them; nothing where there are no constraints.
inline std::optional<Configuration> check_constraints(const std::vector<NamedConstraint>& constraints) {
  std::vector<Constraint> all;
  const bool is_limited = std::any_of(constraints.begin(), constraints.end(),
                                      [](const NamedConstraint& named) { return named.constraint.can_bind(); });
  for (const auto& [name, c] : constraints) {
    const double least = c.table.least(), most = c.table.most();
    const bool can = c.budget > 0 && least <= c.limit();
    check<ValueError>(can && is_limited, "search: ", name, ':', precise(c.budget),
                      can ? " is no limit" : " cannot be met", ", the candidates allow ", precise(least), " to ",
                      precise(most));
    all.push_back(c);
  }
  if (all.empty()) return std::nullopt;
  std::vector<std::vector<double>> losses;
  for (const auto& layer : all.front().table.layers) losses.emplace_back(layer.size(), 0.0);
  if (auto possible = solve_knapsack(losses, all)) return possible;
  std::vector<std::string> names;
  for (const NamedConstraint& c : constraints) names.push_back(c.name);
  throw ValueError(
      message("search: each constraint can be met, but not all of them together: ", joint_obstacle(all, names)));
}

struct SspsOptions {
  std::string cell = "gumbel-hard";  ///< see cells()
  double temperature = 1;        ///< of the cell at the beginning, > 0; it falls in a straight line to
  double last_temperature = 1;   ///< this at the end
  double penalty = 1;            ///< λ, ≥ 0
  double learning_rate = 0.05;   ///< of the architecture parameters, with Adam; > 0
  std::uint64_t steps = 0;          ///< of the whole search, > 0
  std::uint64_t warmup_steps = 0;   ///< architecture parameters are left alone so long
  std::uint64_t decide_every = 1;   ///< steps between decisions, the first that long after the warm-up; > 0
  double fill = 0.98;               ///< share of a budget that the result is to spend at least
};

/// The training step of the search: weights and architecture parameters α learn from the same batch, loss
/// cross-entropy + λ·Σ max(0, E[C]/C_target − 1), where the expected cost E[C] = Σ p·p·C is exact for every table
/// [open: SSPS's own formulas are not established]. It begins on its budget, see Architecture::begin. After a warm-up
/// in which α stays as it is, every so many steps the operands of the highest certainty 1 − H(p)/log K are fixed for
/// good, as many each time as leave nothing undecided one interval before the end; what they are fixed to is the most
/// likely configuration that still keeps the constraints, so that these hold at the end whatever happens. A decided
/// operand is quantized once, and a layer with both decided runs on integer kernels: steps get cheaper as the space
/// shrinks.
///
/// What is drawn is a function of the seed and the number of the step, and `state` holds all else, so that a run can go
/// on from any step.
class SspsTrainer final : public train::TrainingMethod {
 public:
  /// `architecture` is that of `model`. Throws as TrainingMethod; ValueError where an option is
  /// out of its range, or as check_constraints.
  SspsTrainer(nn::Classifier& model, Architecture architecture, std::vector<NamedConstraint> constraints,
              optim::Optimizer& optimizer, const SspsOptions& options, train::DistillationOptions training = {},
              std::uint64_t seed = 0)
      : TrainingMethod("SspsTrainer", model, optimizer, std::move(training), seed),
        architecture_(std::move(architecture)),
        constraints_(std::move(constraints)),
        options_(options),
        cell_(find_cell(options.cell)),
        choices_(architecture_.undecided()),
        alphas_(groups(architecture_)) {
    check<ValueError>(options.temperature > 0 && options.last_temperature > 0, "SspsTrainer: temperatures ",
                      options.temperature, " and ", options.last_temperature, " given, expected > 0");
    check<ValueError>(options.penalty >= 0 && options.learning_rate > 0, "SspsTrainer: penalty ", options.penalty,
                      " and learning rate ", options.learning_rate, " given, expected ≥ 0 and > 0");
    check<ValueError>(options.steps > 0 && options.decide_every > 0 && rounds() > 0, "SspsTrainer: ", options.steps,
                      " steps, of them ", options.warmup_steps, " to warm up, and decisions every ",
                      options.decide_every, " given: expected room for two intervals after the warm-up");
    if (const auto possible = check_constraints(constraints_)) architecture_.begin(budgets(), *possible);
  }

  const std::vector<train::SwitchResult>& step(const Tensor<float>& images, const Tensor<std::int32_t>& labels,
                                               double lr, std::uint64_t step) override {
    if (const std::size_t count = decisions(step)) architecture_.decide(count, architecture_.plan(budgets(), options_.fill));
    Random random(seed(), kCellStream, step << 16);
    architecture_.apply(cell_, temperature(step), random);
    alphas_.zero_grad();
    const auto& lesson = begin(step, 1).front();
    teach(lesson, mutable_results().front(), Variable<float>(images), labels, step);
    const bool learns = step >= options_.warmup_steps && architecture_.undecided() > 0;
    if (learns) {
      for (const auto& [name, c] : constraints_)
        if (architecture_.expected(c.table) > c.budget) architecture_.add_gradient(c.table, options_.penalty / c.budget);
      check<NumericError>(alphas_.has_finite_gradients(), "train: a gradient of an architecture parameter in step ",
                          step, " is not finite; a lower learning rate or a warm-up may help");
    }
    const auto& results = finish(lr, step);
    if (learns) alphas_.step(options_.learning_rate);
    return results;
  }

  const Architecture& architecture() const { return architecture_; }
  std::vector<nn::NamedBuffer> state() override {
    std::vector<nn::NamedBuffer> out = architecture_.state();
    for (const auto& s : alphas_.state())
      out.push_back({"search.optimizer." + s.name, s.tensor, nn::ParameterKind::kScale});
    return out;
  }
  void restored(std::uint64_t) override { architecture_.restored(); }
  std::vector<std::pair<std::string, double>> progress() const override {
    std::vector<std::pair<std::string, double>> out{{"undecided", static_cast<double>(architecture_.undecided())}};
    for (const auto& [name, c] : constraints_) out.push_back({name, architecture_.expected(c.table)});
    return out;
  }

 private:
  static constexpr std::uint64_t kCellStream = 0x63656c6c;  // "cell"

  static std::vector<optim::ParameterGroup> groups(const Architecture& architecture) {
    optim::ParameterGroup group;
    for (const Operand& o : architecture.operands()) group.parameters.push_back({o.name, o.logits});
    return {group};
  }
  std::vector<Constraint> budgets() const {
    std::vector<Constraint> out;
    for (const auto& c : constraints_) out.push_back(c.constraint);
    return out;
  }
  double temperature(std::uint64_t step) const {
    const double done = std::min(1.0, static_cast<double>(step) / static_cast<double>(options_.steps));
    return options_.temperature + (options_.last_temperature - options_.temperature) * done;
  }
  // Of decisions: the last leaves one interval for the network as it was found.
  std::uint64_t rounds() const {
    if (options_.steps <= options_.warmup_steps) return 0;
    const std::uint64_t intervals = (options_.steps - options_.warmup_steps) / options_.decide_every;
    return intervals > 0 ? intervals - 1 : 0;
  }
  // How many operands are to be decided before a step.
  std::size_t decisions(std::uint64_t step) const {
    if (step <= options_.warmup_steps || (step - options_.warmup_steps) % options_.decide_every != 0) return 0;
    const std::uint64_t round = (step - options_.warmup_steps) / options_.decide_every;
    if (round > rounds()) return 0;
    const std::uint64_t wanted = (choices_ * round + rounds() - 1) / rounds(),
                        decided = choices_ - architecture_.undecided();
    return static_cast<std::size_t>(wanted - std::min(wanted, decided));
  }

  Architecture architecture_;
  std::vector<NamedConstraint> constraints_;
  SspsOptions options_;
  const Cell& cell_;
  std::uint64_t choices_;  // operands that have several widths
  optim::Adam alphas_;
};

}  // namespace search
}  // namespace v0
}  // namespace spnet
