// An engine whose precision a governor chooses, image by image.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/memory.hpp"
#include "spnet/runtime/cost.hpp"
#include "spnet/runtime/engine.hpp"
#include "spnet/runtime/governor.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

/// Milliseconds from some point in time on.
using ClockMs = std::function<double()>;

inline ClockMs steady_clock_ms() {
  return [] {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
}

/// A configuration that may be chosen; higher accuracies are better.
struct Choice {
  std::string name;
  Configuration configuration;
  double accuracy = 0;
};

/// All layers at one precision, for each of the model's that they all may have. Accuracies are those measured at
/// packing; where one is missing, all are ranked by their bits instead.
inline std::vector<Choice> uniform_choices(const Model& model) {
  const Graph& graph = model.graph();
  const bool measured =
      std::all_of(graph.accuracies.begin(), graph.accuracies.end(), [](const auto& a) { return a.has_value(); });
  std::vector<Choice> choices;
  for (std::size_t i = 0; i < graph.precisions.size(); ++i) {
    if (!model.is_uniform(i)) continue;
    const Precision p = graph.precisions[i];
    const double accuracy = measured
                                ? graph.accuracies[i]->top1_percent
                                : 64.0 * std::min(p.weight_bits, p.activation_bits) + p.weight_bits + p.activation_bits;
    choices.push_back({to_string(p), Configuration(graph.layers.size(), static_cast<std::uint8_t>(i)), accuracy});
  }
  return choices;
}

/// Those, and the configurations that the model carries, where the accuracies of all precisions are known; of a model
/// whose layers are fixed its configurations, ranked by their bits where an accuracy is missing.
inline std::vector<Choice> model_choices(const Model& model) {
  const Graph& graph = model.graph();
  const auto measured = [](const auto& of) { return of.has_value(); };
  std::vector<Choice> choices;
  if (graph.is_fixed) {
    const bool all = std::all_of(graph.configurations.begin(), graph.configurations.end(),
                                 [](const NamedConfiguration& c) { return c.accuracy.has_value(); });
    for (const NamedConfiguration& c : graph.configurations) {
      double bits = 0;
      for (const std::uint8_t p : c.layers)
        bits += graph.precisions[p].weight_bits + graph.precisions[p].activation_bits;
      choices.push_back({c.name, c.layers, all ? c.accuracy->top1_percent : bits});
    }
    return choices;
  }
  choices = uniform_choices(model);
  if (!std::all_of(graph.accuracies.begin(), graph.accuracies.end(), measured)) return choices;
  for (const NamedConfiguration& c : graph.configurations)
    if (measured(c.accuracy)) choices.push_back({c.name, c.layers, c.accuracy->top1_percent});
  return choices;
}

struct GovernedEngineOptions {
  EngineOptions engine = {};
  GovernorOptions governor = {};
  int calibration_runs = 8;  ///< of every choice, when the session begins, on an image of zeros; at least 1
  ClockMs clock = steady_clock_ms();
};

/// A session that keeps a budget. One image at a time. Under a budget of memory, which is for weights as products hold
/// them and for values, not for the packed file, only the present choice's weights stay expanded, and a switch expands
/// those of the next, after the image whose time called for it.
class GovernedEngine {
 public:
  /// Measures every choice, but those whose weights alone pass the budget of memory, which count as unbounded. Throws
  /// ValueError, naming the nearest choice, where none keeps the budgets of memory and energy.
  GovernedEngine(std::shared_ptr<const Model> model, std::vector<Choice> choices, const Budget& budget,
                 const GovernedEngineOptions& options = {})
      : engine_(std::move(model), options.engine),
        choices_(std::move(choices)),
        clock_(options.clock),
        keeps_one_(budget.bytes < std::numeric_limits<double>::infinity()),
        governor_(candidates(options.calibration_runs, budget.bytes), budget, options.governor) {
    engine_.set_configuration(choices_[governor_.current()].configuration);
  }

  /// image [1,H,W,C] → logits [1,classes], at the choice that the governor is at. Throws as Engine::run, and ShapeError
  /// where it is not one image.
  Tensor<float> run(const Tensor<float>& image) {
    check<ShapeError>(image.rank() > 0 && image.dim(0) == 1, "governed engine: input ", image.shape(),
                      " given, expected one image");
    const double begin = clock_();
    Tensor<float> logits = engine_.run(image);
    last_ms_ = clock_() - begin;
    last_ = governor_.current();
    // The next choice is made ready after the clock has stopped.
    if (governor_.record(last_ms_)) {
      forget();
      engine_.set_configuration(choices_[governor_.current()].configuration);
      engine_.prepare();
    }
    return logits;
  }

  /// What the last image ran at, and took.
  const Choice& last_choice() const { return choices_[last_]; }
  double last_ms() const { return last_ms_; }
  const Governor& governor() const { return governor_; }
  const std::vector<Candidate>& candidates() const { return candidates_; }

 private:
  // What the weights take at least, however products hold them.
  std::int64_t least_bytes(const Configuration& configuration) const {
    const Graph& graph = engine_.model().graph();
    std::int64_t bits = 0;
    for (const Node& node : graph.nodes) {
      const Weight* weight = weight_of(graph, node.op);
      if (!weight) continue;
      const Precision widths = widths_at(graph, node, configuration);
      const bool is_float = widths.activation_bits == kFloatBits;
      bits += element_count(weight->shape) * (is_float ? kFloatBits : widths.weight_bits);
    }
    return bits / 8;
  }
  const std::vector<Candidate>& candidates(int runs, double most_bytes) {
    for (const Choice& choice : choices_)
      candidates_.push_back({.name = choice.name,
                             .accuracy = choice.accuracy,
                             .latency_ms = std::numeric_limits<double>::infinity(),
                             .bytes = least_bytes(choice.configuration),
                             .energy = cost_of(engine_.model(), choice.configuration).energy_pj()});
    // The smallest in any case: where none keeps the budget, it is the one that is named.
    const auto smallest = std::min_element(candidates_.begin(), candidates_.end(),
                                           [](const auto& a, const auto& b) { return a.bytes < b.bytes; });
    const auto number = static_cast<std::size_t>(smallest - candidates_.begin());
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      if (i == number || static_cast<double>(candidates_[i].bytes) <= most_bytes) {
        measure(choices_[i].configuration, runs, candidates_[i]);
      } else {
        candidates_[i].bytes = std::numeric_limits<std::int64_t>::max();
      }
    }
    return candidates_;
  }
  void measure(const Configuration& configuration, int runs, Candidate& c) {
    const Tensor<float> image = Tensor<float>::zeros(detail::with_batch(engine_.model().graph().input));
    engine_.set_configuration(configuration);
    engine_.run(image);
    for (int i = 0; i < std::max(runs, 1); ++i) {
      const double begin = clock_();
      engine_.run(image);
      c.latency_ms = std::min(c.latency_ms, clock_() - begin);
    }
    c.bytes = engine_.plan().memory.bytes;
    for (const auto& product : engine_.products()) c.bytes += product->bytes;
    forget();
  }
  void forget() {
    if (!keeps_one_) return;
    engine_.clear();
    engine_.model().trim();
    MemoryPool::global().trim();
  }

  Engine engine_;
  std::vector<Choice> choices_;
  ClockMs clock_;
  bool keeps_one_;
  std::vector<Candidate> candidates_;
  Governor governor_;
  std::size_t last_ = 0;
  double last_ms_ = 0;
};

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
