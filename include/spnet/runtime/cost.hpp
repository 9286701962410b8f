// What an inference at a configuration costs, as far as that can be told without running it.
#pragma once

#include <cstdint>
#include <span>
#include <variant>

#include "spnet/runtime/bit_planes.hpp"
#include "spnet/runtime/model.hpp"
#include "spnet/runtime/product.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

/// Of one image.
struct Cost {
  std::int64_t weight_bytes = 0;      ///< planes that the codes need, or floats, and 8 bytes a normalised channel
  std::int64_t activation_bytes = 0;  ///< that products read, at the bits of their codes
  double bit_operations = 0;          ///< Σ multiplications · weight bits · activation bits, where both are codes
  double float_operations = 0;        ///< multiplications with a float on either side
  /// Σ multiplications · weight bits · activation bits of the layers that have precisions, a float counting as 32 bits.
  double layer_bit_operations = 0;

  /// In picojoules, by a model that ranks precisions rather than measures them: a multiply-add of w and a bits
  /// 0.23·w·a/64, with a float 4.6 (M. Horowitz, ISSCC 2014, 45 nm, 8-bit integers and 32-bit floats), a byte from the
  /// caches 10.
  double energy_pj() const {
    return 0.23 / 64 * bit_operations + 4.6 * float_operations +
           10.0 * static_cast<double>(weight_bytes + activation_bytes);
  }
};

/// The cost with layer l at precision configuration[l]. Throws ValueError where the network was not packed for that.
inline Cost cost_of(const Model& model, std::span<const std::uint8_t> configuration) {
  const Graph& graph = model.graph();
  for (std::size_t l = 0; l < configuration.size(); ++l)
    check<ValueError>(model.works_at(l, configuration[l]), "cost: the network was not packed with ", graph.layers[l],
                      " at ", graph.precisions[configuration[l]]);
  Cost cost;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (std::holds_alternative<Normalize>(node.op)) {
      cost.weight_bytes += 2 * static_cast<std::int64_t>(sizeof(float)) * model.shapes()[i].back();
      continue;
    }
    const Weight* weight = weight_of(graph, node.op);
    if (!weight) continue;
    const Precision widths = widths_at(graph, node, configuration);
    const std::int64_t count = element_count(weight->shape);
    if (widths.weight_bits == kFloatBits) {
      cost.weight_bytes += static_cast<std::int64_t>(sizeof(float)) * count;
    } else {
      const WeightCodes& codes = weight->codes.at(widths.weight_bits);
      cost.weight_bytes +=
          planes_needed(codes.derivation, widths.weight_bits, weight->planes[codes.planes].count) * plane_bytes(count);
    }
    cost.activation_bytes += (element_count(model.shapes()[node.inputs[0]]) * widths.activation_bits + 7) / 8;
    const double products =
        static_cast<double>(element_count(model.shapes()[i]) / weight->shape[0]) * static_cast<double>(count);
    const CodeRules* rules = rules_of(node.op);
    if (!weight->codes.empty() || (rules && !rules->empty()))
      cost.layer_bit_operations += products * widths.weight_bits * widths.activation_bits;
    if (widths.weight_bits == kFloatBits || widths.activation_bits == kFloatBits) {
      cost.float_operations += products;
    } else {
      cost.bit_operations += products * widths.weight_bits * widths.activation_bits;
    }
  }
  return cost;
}

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
