// A network's parameters as an optimizer wants them.
#pragma once

#include <vector>

#include "spnet/nn/module.hpp"
#include "spnet/optim/optimizer.hpp"

namespace spnet {
inline namespace v0 {
namespace train {

struct GroupingOptions {
  double weight_decay = 1e-4;  ///< of weights; norms, biases and scales have none
  double scale_lr = 1;         ///< multiplies the rate of the quantizers' scales
};

/// Three groups: weights with decay; norms and biases without; quantizers' scales without, at a rate of their own.
inline std::vector<optim::ParameterGroup> parameter_groups(const nn::Module& module, const GroupingOptions& options = {}) {
  std::vector<optim::ParameterGroup> groups(3);
  groups[0].weight_decay = options.weight_decay;
  groups[2].lr_scale = options.scale_lr;
  for (const auto& p : module.parameters()) {
    const std::size_t group = p.kind == nn::ParameterKind::kWeight ? 0 : p.kind == nn::ParameterKind::kScale ? 2 : 1;
    groups[group].parameters.push_back({p.name, p.variable});
  }
  return groups;
}

}  // namespace train
}  // namespace v0
}  // namespace spnet
