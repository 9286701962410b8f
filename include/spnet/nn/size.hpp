// How large a network's weights are at a precision.
#pragma once

#include <cstdint>

#include "spnet/nn/module.hpp"
#include "spnet/nn/quantized_layer.hpp"
#include "spnet/nn/switchable_batch_norm.hpp"

namespace spnet {
inline namespace v0 {
namespace nn {

/// Bits needed to store what `precision` computes with: quantized weights at their width, float layers and biases at 32,
/// one batch norm (scale and shift) at 2·32 per channel (the size rule of arXiv 2002.00523).
inline std::int64_t model_size_bits(const Module& model, Precision precision) {
  std::int64_t bits = 0;
  model.visit("", [&](const std::string&, const Module& module) {
    if (const auto* layer = dynamic_cast<const QuantizedLayer*>(&module)) {
      bits += layer->own_size_bits(precision);
    } else if (const auto* norm = dynamic_cast<const SwitchableBatchNorm*>(&module)) {
      bits += 2 * 32 * norm->channels();
    } else {
      bits += module.own_parameter_count() * 32;
    }
  });
  return bits;
}
inline std::int64_t model_size_bytes(const Module& model, Precision precision) {
  return (model_size_bits(model, precision) + 7) / 8;
}

}  // namespace nn
}  // namespace v0
}  // namespace spnet
