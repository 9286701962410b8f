// How long an inference takes on this machine, layer by layer.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/runtime/engine.hpp"
#include "spnet/search/cost_table.hpp"

namespace spnet {
inline namespace v0 {
namespace search {

/// Milliseconds of one image (of zeros) at a configuration, the median of `runs` after one that is not counted.
inline double median_latency(runtime::Engine& engine, const Configuration& configuration, int runs = 61) {
  const Tensor<float> image = Tensor<float>::zeros(runtime::detail::with_batch(engine.model().graph().input));
  engine.set_configuration(configuration);
  engine.run(image);
  std::vector<double> ms;
  for (int i = 0; i < std::max(runs, 1); ++i) {
    const auto begin = std::chrono::steady_clock::now();
    engine.run(image);
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  std::nth_element(ms.begin(), ms.begin() + std::ssize(ms) / 2, ms.end());
  return ms[ms.size() / 2];
}

struct LatencyOptions {
  int threads = 0;  ///< as EngineOptions
  int runs = 30;    ///< of each precision; the fastest time of each step counts
};

/// Milliseconds of one image on this machine, by the runtime's own steps: each is counted to the layer that it
/// multiplies for, all others are fixed. What a layer's neighbours change (a second form of its input) is not in the
/// table, nor is what lies between steps: see calibrated_latency_table, and measure what was found.
inline CostTable latency_table(const std::shared_ptr<const runtime::Model>& model, const LatencyOptions& options = {}) {
  const runtime::Graph& graph = model->graph();
  runtime::Engine engine(model, {.threads = options.threads});
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

/// The same, times the median ratio of the latency of whole inferences (median_latency) to the table's sum, over some
/// random configurations: what a user will measure.
inline CostTable calibrated_latency_table(const std::shared_ptr<const runtime::Model>& model,
                                          const LatencyOptions& options = {}) {
  CostTable table = latency_table(model, options);
  runtime::Engine engine(model, {.threads = options.threads});
  constexpr int kConfigurations = 9;
  Random random(1);
  std::vector<double> ratios;
  for (int i = 0; i < kConfigurations; ++i) {
    Configuration configuration(table.layers.size());
    for (auto& p : configuration)
      p = static_cast<std::uint8_t>(random.below(static_cast<std::uint32_t>(model->graph().precisions.size())));
    ratios.push_back(median_latency(engine, configuration, options.runs) / table.of(configuration));
  }
  std::nth_element(ratios.begin(), ratios.begin() + kConfigurations / 2, ratios.end());
  const double ratio = ratios[kConfigurations / 2];
  table.fixed *= ratio;
  for (auto& layer : table.layers)
    for (double& ms : layer) ms *= ratio;
  return table;
}

}  // namespace search
}  // namespace v0
}  // namespace spnet
