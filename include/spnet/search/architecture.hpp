// The space of a search for widths: architecture parameters for the two operands of every layer, and what was decided.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "spnet/nn/quantized_layer.hpp"
#include "spnet/nn/switchable_batch_norm.hpp"
#include "spnet/search/cell.hpp"
#include "spnet/search/operand.hpp"
#include "spnet/search/plan.hpp"

namespace spnet {
inline namespace v0 {
namespace search {

/// The architecture parameters of a network: two operands for each of its quantized layers, in the order of
/// nn::quantized_layers. Costs are tables whose columns are Candidates::pairs().
class Architecture {
 public:
  /// `model` must live as long, have been made for all candidates, and have batch norms that do not depend on the
  /// precision (NormKind::kShared), for layers have none of their own while they are searched. Throws ValueError where
  /// that is not so, or there is no quantized layer.
  Architecture(nn::Module& model, Candidates candidates)
      : candidates_(std::move(candidates)), layers_(nn::quantized_layers(model)) {
    check_candidates(candidates_, "search");
    check<ValueError>(!layers_.empty(), "search: the network has no quantized layer");
    model.for_each([](nn::Module& module) {
      const auto* norm = dynamic_cast<const nn::SwitchableBatchNorm*>(&module);
      check<ValueError>(!norm || norm->switches().empty(),
                        "search: a batch norm depends on the precision; make the network with NormKind::kShared");
    });
    plan_ = Tensor<float>::zeros({std::ssize(layers_)});
    const auto add = [&](const std::string& name, const std::vector<int>& widths) {
      const auto count = static_cast<std::int64_t>(widths.size());
      operands_.push_back({name, widths, Variable<float>(Tensor<float>::zeros({count}), true),
                           Tensor<float>::full({1}, count > 1 ? -1.0f : 0.0f)});
    };
    for (const nn::NamedLayer& l : layers_) {
      add(l.name + ".weight", candidates_.weights);
      add(l.name + ".input", candidates_.activations);
    }
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      for (const Precision p : candidates_.pairs()) layers_[l].layer->fix_precision(p);  // which may refuse
      fix(l);
    }
  }

  const Candidates& candidates() const { return candidates_; }
  const std::vector<nn::NamedLayer>& layers() const { return layers_; }
  /// Weight and input of the first layer, then those of the next.
  const std::vector<Operand>& operands() const { return operands_; }
  std::size_t undecided() const {
    return static_cast<std::size_t>(
        std::count_if(operands_.begin(), operands_.end(), [](const Operand& o) { return !o.is_decided(); }));
  }

  /// All that a search has found so far, by names of its own; shares memory with this.
  std::vector<nn::NamedBuffer> state() {
    std::vector<nn::NamedBuffer> out;
    for (Operand& o : operands_) {
      out.push_back({"search." + o.name + ".logits", o.logits.value(), nn::ParameterKind::kScale});
      out.push_back({"search." + o.name + ".decision", o.decision, nn::ParameterKind::kScale});
    }
    out.push_back({"search.plan", plan_, nn::ParameterKind::kScale});
    return out;
  }

  /// To be called when these were written to: sets the layers to what is decided, or else most likely. Throws
  /// ValueError, naming the tensor, where one holds what no search leaves.
  void restored() {
    const auto require = [](bool condition, const std::string& name) {
      check<ValueError>(condition, "search: '", name, "' is not what a search leaves");
    };
    const auto is_place = [](float value, float least, std::size_t count) {
      return value >= least && value < static_cast<float>(count) && value == std::floor(value);
    };
    for (const Operand& o : operands_) {
      require(is_place(o.decision.data()[0], -1, o.widths.size()), o.name + ".decision");
      const auto alpha = o.logits.value().span();
      require(std::all_of(alpha.begin(), alpha.end(), [](float v) { return std::isfinite(v); }), o.name + ".logits");
    }
    for (const float pair : plan_.span()) require(is_place(pair, 0, candidates_.pairs().size()), "plan");
    apply_choice();
  }

  /// Sets the layers for one step: operands that are not decided to the cell's mixture, the others to their width.
  void apply(const Cell& cell, double temperature, Random& random) {
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      nn::QuantizedLayer& layer = *layers_[l].layer;
      layer.mix_weights(mixture(operands_[2 * l], cell, temperature, random));
      layer.mix_activations(mixture(operands_[2 * l + 1], cell, temperature, random));
      fix(l);
    }
  }
  /// Sets the layers to what is decided, or else most likely.
  void apply_choice() {
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      layers_[l].layer->mix_weights({});
      layers_[l].layer->mix_activations({});
      fix(l);
    }
  }

  /// The cost as `table` expects it: fixed + Σ over layers and pairs of p(w)·p(a)·cost.
  double expected(const CostTable& table) const {
    double sum = table.fixed;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const auto w = operands_[2 * l].probabilities(), a = operands_[2 * l + 1].probabilities();
      for (std::size_t i = 0; i < w.size(); ++i)
        for (std::size_t j = 0; j < a.size(); ++j) sum += w[i] * a[j] * table.layers[l][i * a.size() + j];
    }
    return sum;
  }
  /// Adds `weight` times the gradient of `expected(table)` to those of the logits that are not decided.
  void add_gradient(const CostTable& table, double weight) {
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const auto w = operands_[2 * l].probabilities(), a = operands_[2 * l + 1].probabilities();
      std::vector<double> of_w(w.size(), 0), of_a(a.size(), 0);
      for (std::size_t i = 0; i < w.size(); ++i)
        for (std::size_t j = 0; j < a.size(); ++j) {
          of_w[i] += a[j] * table.layers[l][i * a.size() + j];
          of_a[j] += w[i] * table.layers[l][i * a.size() + j];
        }
      add_gradient(operands_[2 * l], w, of_w, weight);
      add_gradient(operands_[2 * l + 1], a, of_a, weight);
    }
  }

  /// Before anything is decided: `possible`, as places of pairs, keeps the constraints that there will be, and operands
  /// whose widths count in them begin with p(b) ~ exp(−κ·(log₂ b − log₂ m)²), κ = 1.5, around a width of their own,
  /// m = β − ½·log₂ c with c what a bit costs: where the error of each operand, 4^−b, harms as much as another's, bits
  /// are best shared out so (reverse water-filling). β, of weights and of inputs, is the largest for which the expected
  /// costs keep the constraints, or the least tried where none does [ours]. From all widths alike, a search at few bits
  /// would spend its time on getting there, and decide by what a width costs rather than by what it is worth.
  void begin(const std::vector<Constraint>& constraints, const Configuration& possible) {
    check<ValueError>(possible.size() == layers_.size(), "search: a configuration of ", possible.size(),
                      " layers given, the network has ", layers_.size());
    std::copy(possible.begin(), possible.end(), plan_.data());
    std::vector<std::optional<double>> offsets;  // of m, from that of the dearest operand; none: widths do not count
    double dearest = 0, furthest = 0;
    for (std::size_t i = 0; i < operands_.size(); ++i) {
      offsets.push_back(bit_cost(i, constraints));
      dearest = std::max(dearest, offsets.back().value_or(0));
    }
    for (auto& offset : offsets) {
      // What costs nothing, or less, with more bits has as many as there are.
      if (offset) offset = dearest > 0 ? -0.5 * std::log2(std::max(*offset / dearest, 0x1p-128)) : 0;
      furthest = std::max(furthest, offset.value_or(0));
    }
    constexpr double least = 0x1p-4, step = 0.01;  // at `least` nearly all is at the smallest width
    const auto holds = [&](double of_weights, double of_inputs) {
      begin_around(offsets, of_weights, of_inputs, least);
      return std::all_of(constraints.begin(), constraints.end(),
                         [&](const Constraint& c) { return expected(c.table) <= c.budget; });
    };
    double both = 2 * kFloatBits;
    while (!holds(both, both) && both > least - furthest) both -= step;
    // What the one kind of operand may not spend is left to the other, where constraints are apart.
    double weights = both, inputs = both;
    while (weights < 2 * kFloatBits && holds(weights + step, inputs)) weights += step;
    while (inputs < 2 * kFloatBits && holds(weights, inputs + step)) inputs += step;
    holds(weights, inputs);
    apply_choice();
  }
  /// The most likely configuration, as places of pairs, with what is decided, within constraints: see plan_within.
  /// Where none is found, the last that was decided by stands in, or what the search began with. Throws ValueError
  /// where that does not keep the constraints.
  Configuration plan(const std::vector<Constraint>& constraints, double fill) const {
    std::vector<std::vector<double>> losses;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const auto w = operands_[2 * l].probabilities(), a = operands_[2 * l + 1].probabilities();
      auto& layer = losses.emplace_back();
      for (const double p : w)
        for (const double q : a) layer.push_back(-std::log(p) - std::log(q));
    }
    if (auto found = plan_within(losses, constraints, fill)) return std::move(*found);
    Configuration last;
    for (const float pair : plan_.span()) last.push_back(static_cast<std::uint8_t>(pair));
    check<ValueError>(hold(constraints, last), "search: nothing keeps the constraints");
    return last;
  }
  /// Decides the `count` operands of the highest certainty that are not decided, as `plan` has them.
  void decide(std::size_t count, const Configuration& plan) {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < operands_.size(); ++i)
      if (!operands_[i].is_decided()) order.push_back(i);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return operands_[a].certainty() > operands_[b].certainty();
    });
    order.resize(std::min(count, order.size()));
    for (const std::size_t i : order) {
      const std::size_t pair = plan[i / 2], inputs = candidates_.activations.size();
      operands_[i].decision.data()[0] = static_cast<float>(i % 2 == 0 ? pair / inputs : pair % inputs);
    }
    std::copy(plan.begin(), plan.end(), plan_.data());
  }

  /// The precision of each layer: what is decided, or else most likely.
  std::vector<Precision> precisions() const {
    std::vector<Precision> out;
    for (std::size_t l = 0; l < layers_.size(); ++l) out.push_back(precision(l));
    return out;
  }

 private:
  void begin_around(const std::vector<std::optional<double>>& offsets, double of_weights, double of_inputs,
                    double least) {
    constexpr double kappa = 1.5;
    for (std::size_t i = 0; i < operands_.size(); ++i) {
      if (!offsets[i]) continue;
      const double beta = i % 2 == 0 ? of_weights : of_inputs;
      const double m = std::log2(std::clamp(beta + *offsets[i], least, 2.0 * kFloatBits));
      for (std::size_t k = 0; k < operands_[i].widths.size(); ++k) {
        const double distance = std::log2(operands_[i].widths[k]) - m;
        operands_[i].logits.value().data()[k] = static_cast<float>(-kappa * distance * distance);
      }
    }
  }
  // What a bit more of an operand costs, as shares of the budgets, on average over widths; nothing where no constraint
  // depends on it.
  std::optional<double> bit_cost(std::size_t operand, const std::vector<Constraint>& constraints) const {
    const bool of_weights = operand % 2 == 0;
    const std::size_t inputs = candidates_.activations.size(), pairs = candidates_.pairs().size();
    const std::vector<int>& widths = operands_[operand].widths;
    std::optional<double> sum;
    for (const Constraint& c : constraints) {
      const std::vector<double>& costs = c.table.layers[operand / 2];
      bool depends = false;
      double rise = 0;  // from the smallest to the largest width, over those of the other operand
      for (std::size_t pair = 0; pair < pairs; ++pair) {
        const std::size_t place = of_weights ? pair / inputs : pair % inputs,
                          smallest = of_weights ? pair % inputs : pair - place;
        depends = depends || costs[pair] != costs[smallest];
        if (place + 1 == widths.size()) rise += costs[pair] - costs[smallest];
      }
      const double others = static_cast<double>(pairs / widths.size());
      if (depends) sum = sum.value_or(0) + rise / others / (widths.back() - widths.front()) / c.budget;
    }
    return sum;
  }
  static int likeliest(const Operand& o) {
    const auto p = o.probabilities();
    return o.widths[static_cast<std::size_t>(std::max_element(p.begin(), p.end()) - p.begin())];
  }
  static std::optional<nn::WidthMixture> mixture(const Operand& o, const Cell& cell, double temperature,
                                                 Random& random) {
    if (o.is_decided()) return std::nullopt;
    return nn::WidthMixture{o.widths, cell(o.logits, temperature, random)};
  }
  Precision precision(std::size_t l) const { return {likeliest(operands_[2 * l]), likeliest(operands_[2 * l + 1])}; }
  void fix(std::size_t l) { layers_[l].layer->fix_precision(precision(l)); }
  // From the gradient of the probabilities to that of the logits.
  static void add_gradient(Operand& o, const std::vector<double>& p, const std::vector<double>& of_p, double weight) {
    if (o.is_decided()) return;
    const double mean = std::inner_product(p.begin(), p.end(), of_p.begin(), 0.0);
    Tensor<float> gradient(o.logits.shape());
    for (std::size_t i = 0; i < p.size(); ++i)
      gradient.data()[i] = static_cast<float>(weight * p[i] * (of_p[i] - mean));
    o.logits.node()->accumulate(std::move(gradient));
  }

  Candidates candidates_;
  std::vector<nn::NamedLayer> layers_;
  std::vector<Operand> operands_;
  Tensor<float> plan_;  // [layers], the pair of each that was last decided by
};

}  // namespace search
}  // namespace v0
}  // namespace spnet
