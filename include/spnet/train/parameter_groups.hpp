// A network's parameters as an optimizer wants them.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "spnet/nn/module.hpp"
#include "spnet/optim/optimizer.hpp"

namespace spnet {
inline namespace v0 {
namespace train {

struct GroupingOptions {
  double weight_decay = 1e-4;  ///< of weights; norms, biases and scales have none
  double scale_lr = 1;         ///< multiplies the rate of the quantizers' scales
  /// Multiplies the rate of scales further that one bit-width alone reads; 1 where it is not named. Those that several
  /// widths share have it from their quantizer: see QuantizerOptions.
  std::map<int, double> scale_rates = {};
};

/// Weights with decay; norms and biases without; quantizers' scales without, at a rate of their own, a group for each
/// width that `scale_rates` names.
inline std::vector<optim::ParameterGroup> parameter_groups(const nn::Module& module, const GroupingOptions& options = {}) {
  std::vector<optim::ParameterGroup> groups(3);
  groups[0].weight_decay = options.weight_decay;
  groups[2].lr_scale = options.scale_lr;
  std::map<int, std::size_t> of_width;
  for (const auto& [bits, rate] : options.scale_rates) {
    of_width[bits] = groups.size();
    groups.push_back({.parameters = {}, .lr_scale = options.scale_lr * rate});
  }
  for (const auto& p : module.parameters()) {
    std::size_t group = p.kind == nn::ParameterKind::kWeight ? 0 : p.kind == nn::ParameterKind::kScale ? 2 : 1;
    if (const auto at = of_width.find(p.bits); group == 2 && at != of_width.end()) group = at->second;
    groups[group].parameters.push_back({p.name, p.variable});
  }
  return groups;
}

}  // namespace train
}  // namespace v0
}  // namespace spnet
