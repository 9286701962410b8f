// How large a network's weights are at a precision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "spnet/nn/module.hpp"
#include "spnet/nn/quantized_layer.hpp"
#include "spnet/nn/switchable_batch_norm.hpp"

namespace spnet {
inline namespace v0 {
namespace nn {

/// A parameter as it would be stored: so many bits each of its values.
struct StoredParameter {
  Variable<float> parameter;
  int bits;
};

/// What `precision` computes with, by the size rule of arXiv 2002.00523: quantized weights at their width, float layers and
/// biases at 32, one batch norm (scale and shift) at 2·32 per channel. Scales of quantizers do not count.
inline std::vector<StoredParameter> stored_parameters(const Module& model, Precision precision) {
  std::vector<StoredParameter> out;
  model.visit("", [&](const std::string&, const Module& module) {
    const auto* layer = dynamic_cast<const QuantizedLayer*>(&module);
    std::size_t left = module.own_parameters().size();
    // Of the norms of a module, which are alike, the first.
    if (dynamic_cast<const SwitchableBatchNorm*>(&module)) left = 2;
    for (const NamedParameter& p : module.own_parameters()) {
      if (left-- == 0) break;
      if (layer && p.kind == ParameterKind::kScale) continue;
      const bool is_weight = layer && p.variable.id() == layer->weight().id();
      out.push_back({p.variable, is_weight ? layer->stored_weight_bits(precision) : kFloatBits});
    }
  });
  return out;
}
/// Bits of all of them.
inline std::int64_t model_size_bits(const Module& model, Precision precision) {
  std::int64_t bits = 0;
  for (const StoredParameter& p : stored_parameters(model, precision)) bits += p.parameter.size() * p.bits;
  return bits;
}
inline std::int64_t model_size_bytes(const Module& model, Precision precision) {
  return (model_size_bits(model, precision) + 7) / 8;
}

}  // namespace nn
}  // namespace v0
}  // namespace spnet
