// A small packed network with three precisions.
#pragma once

#include <memory>

#include "../pack/own_network.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/pack/pack.hpp"

namespace spnet::test {

inline std::shared_ptr<const runtime::Model> packed_resnet() {
  const auto switches = parse_switches("w2a2,w3a3,w4a4");
  const auto net = models::make_model("resnet20", {.width = 0.5, .quantization = {.switches = switches}});
  settle(*net, switches, {4, 16, 16, 3});
  return std::make_shared<const runtime::Model>(pack::pack(*net, {16, 16, 3}, switches, {.mixed = true}));
}

}  // namespace spnet::test
