// How a network is to be quantized: its switches, and the quantizers by name.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "spnet/core/precision.hpp"

namespace spnet {
inline namespace v0 {
namespace nn {

/// What a block does after its convolution. The second order, of SP-Nets' tanh activations, hands values of both signs
/// to the next quantizer.
enum class BlockOrder { kNormRelu, kReluNorm };

/// Which batch norms stand between layers: one for each switch, one for each pair of switches that meet, or one for
/// all.
enum class NormKind { kSwitchable, kTransitional, kShared };

/// Why what was made for `switches` cannot work at `p`; empty where it can, and without switches.
inline std::string switch_refusal(const std::vector<Precision>& switches, Precision p) {
  if (switches.empty() || std::find(switches.begin(), switches.end(), p) != switches.end()) return {};
  return "was made for " + join(switches);
}

/// The switches that a network is made for and the quantizers of its layers, by their registered names.
/// Without switches a layer is a plain float layer at every precision, as first and last layers are.
struct Quantization {
  std::vector<Precision> switches;
  std::string weight_quantizer = "dorefa";
  std::string activation_quantizer = "dorefa";
  bool per_channel = false;  ///< weights have a learned scale for each output; for quantizers that know that form
  std::map<int, double> scale_rates = {};  ///< see QuantizerOptions
  BlockOrder block_order = BlockOrder::kNormRelu;
  NormKind norm = NormKind::kSwitchable;

  /// Distinct weight widths below float, ascending.
  std::vector<int> weight_widths() const { return widths(&Precision::weight_bits); }
  /// Distinct activation widths below float, ascending.
  std::vector<int> activation_widths() const { return widths(&Precision::activation_bits); }

 private:
  std::vector<int> widths(int Precision::* bits) const {
    std::vector<int> out;
    for (Precision p : switches)
      if (p.*bits != kFloatBits) out.push_back(p.*bits);
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }
};

}  // namespace nn
}  // namespace v0
}  // namespace spnet
