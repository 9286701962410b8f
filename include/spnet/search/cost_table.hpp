// What each layer costs at each precision, so that the cost of any configuration is a sum.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

#include "spnet/runtime/cost.hpp"
#include "spnet/runtime/model.hpp"

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
/// Bit operations of one image, Σ multiplications · weight bits · activation bits of the layers that have precisions, a
/// float counting as 32 bits; layers that are float at every configuration are not counted.
inline CostTable bit_operations_table(const runtime::Model& model) {
  return additive_table(model, [&](const Configuration& c) { return runtime::cost_of(model, c).layer_bit_operations; });
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

}  // namespace search
}  // namespace v0
}  // namespace spnet
