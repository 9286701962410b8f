// What each layer costs at each precision, so that the cost of any configuration is a sum.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "spnet/runtime/cost.hpp"
#include "spnet/runtime/engine.hpp"

namespace spnet {
inline namespace v0 {
namespace search {

using runtime::Configuration;

/// Costs of one kind. That of a configuration is `fixed` + Σ layers[l][configuration[l]].
struct CostTable {
  std::vector<std::vector<double>> layers;  ///< [layer][precision]
  double fixed = 0;

  double of(const Configuration& configuration) const {
    double sum = fixed;
    for (std::size_t l = 0; l < layers.size(); ++l) sum += layers[l][configuration[l]];
    return sum;
  }
  double least() const {
    double sum = fixed;
    for (const auto& layer : layers) sum += *std::min_element(layer.begin(), layer.end());
    return sum;
  }
  double most() const {
    double sum = fixed;
    for (const auto& layer : layers) sum += *std::max_element(layer.begin(), layer.end());
    return sum;
  }
};

/// The table of a cost that is a sum over layers, from its values.
inline CostTable additive_table(const runtime::Model& model, const std::function<double(const Configuration&)>& cost) {
  const runtime::Graph& graph = model.graph();
  Configuration configuration(graph.layers.size(), 0);
  CostTable table;
  table.fixed = cost(configuration);
  for (std::size_t l = 0; l < graph.layers.size(); ++l) {
    auto& layer = table.layers.emplace_back();
    for (std::size_t p = 0; p < graph.precisions.size(); ++p) {
      configuration[l] = static_cast<std::uint8_t>(p);
      layer.push_back(cost(configuration) - table.fixed);
    }
    configuration[l] = 0;
  }
  return table;
}

/// Bytes of weights: see runtime::Cost.
inline CostTable bytes_table(const runtime::Model& model) {
  return additive_table(
      model, [&](const Configuration& c) { return static_cast<double>(runtime::cost_of(model, c).weight_bytes); });
}
/// Bit operations of one image, Σ multiplications · weight bits · activation bits of the layers that have precisions;
/// the float layers, which are the same at every configuration, are not counted.
inline CostTable bit_operations_table(const runtime::Model& model) {
  return additive_table(model, [&](const Configuration& c) { return runtime::cost_of(model, c).bit_operations; });
}
/// Σ weight bits / layers: the mean width.
inline CostTable average_bits_table(const runtime::Model& model) {
  const runtime::Graph& graph = model.graph();
  return additive_table(model, [&](const Configuration& c) {
    return std::accumulate(c.begin(), c.end(), 0.0,
                           [&](double sum, std::uint8_t p) { return sum + graph.precisions[p].weight_bits; }) /
           static_cast<double>(c.size());
  });
}

struct LatencyOptions {
  int threads = 0;  ///< as EngineOptions
  int runs = 30;    ///< of each precision; the fastest time of each step counts
};

/// Milliseconds of one image on this machine, by the runtime's own steps: each is counted to the layer that it
/// multiplies for, all others are fixed. What a layer's neighbours change (a second form of its input) is not in the
/// table: measure what was found.
inline CostTable latency_table(const std::shared_ptr<const runtime::Model>& model, const LatencyOptions& options = {}) {
  const runtime::Graph& graph = model->graph();
  runtime::Engine engine(model, {.threads = options.threads, .tune = true});
  const Tensor<float> image = Tensor<float>::zeros(runtime::detail::with_batch(graph.input));
  CostTable table;
  table.layers.assign(graph.layers.size(), std::vector<double>(graph.precisions.size(), 0));
  std::vector<std::vector<double>> times(graph.precisions.size());
  for (int run = 0; run < std::max(options.runs, 1); ++run) {
    for (std::size_t p = 0; p < graph.precisions.size(); ++p) {
      engine.set_precision(graph.precisions[p]);
      const std::vector<double> now = engine.step_times(image);
      if (run == 0) times[p].assign(now.size(), std::numeric_limits<double>::infinity());
      for (std::size_t i = 0; i < now.size(); ++i) times[p][i] = std::min(times[p][i], now[i]);
    }
  }
  for (std::size_t p = 0; p < graph.precisions.size(); ++p) {
    engine.set_precision(graph.precisions[p]);
    const runtime::Plan& plan = engine.plan();
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
      const runtime::Step& step = *plan.steps[i];
      const std::size_t node =
          step.product < 0 ? step.node : plan.products[static_cast<std::size_t>(step.product)].node;
      const std::int32_t layer = graph.nodes[node].layer;
      if (layer >= 0) {
        table.layers[static_cast<std::size_t>(layer)][p] += times[p][i];
      } else {
        table.fixed += times[p][i] / static_cast<double>(graph.precisions.size());
      }
    }
  }
  return table;
}

}  // namespace search
}  // namespace v0
}  // namespace spnet
