// What a packed network reads for one inference.
#pragma once

#include <cstdint>
#include <span>
#include <variant>

#include "spnet/runtime/bit_planes.hpp"
#include "spnet/runtime/graph.hpp"
#include "spnet/runtime/product.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

/// Bytes of weights that are read with layer l at precision configuration[l]: the planes that its codes need, or floats,
/// and 8 bytes for each channel that is normalised.
inline std::int64_t weight_bytes(const Graph& graph, std::span<const std::uint8_t> configuration) {
  std::int64_t bytes = 0;
  for (const Node& node : graph.nodes) {
    if (const auto* norm = std::get_if<Normalize>(&node.op)) {
      for (const auto& affine : norm->affines) {
        if (!affine.scale.defined()) continue;
        bytes += 2 * static_cast<std::int64_t>(sizeof(float)) * affine.scale.size();
        break;
      }
      continue;
    }
    const Weight* weight = weight_of(graph, node.op);
    if (!weight) continue;
    const Precision p = node.layer < 0 ? Precision{} : graph.precisions[configuration[static_cast<std::size_t>(node.layer)]];
    const int bits = widths_at(graph, node, p).weight_bits;
    const std::int64_t count = element_count(weight->shape);
    if (bits == kFloatBits) {
      bytes += static_cast<std::int64_t>(sizeof(float)) * count;
    } else {
      const WeightCodes& codes = weight->codes.at(bits);
      bytes += planes_needed(codes.derivation, bits, weight->planes[codes.planes].count) * plane_bytes(count);
    }
  }
  return bytes;
}

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
