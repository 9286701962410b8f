#include "spnet/train/parameter_groups.hpp"

#include <doctest/doctest.h>

#include <string>

#include "spnet/models/resnet.hpp"

using namespace spnet;

TEST_CASE("train: weights decay, norms, biases and scales do not, and scales have a rate of their own") {
  const auto net = models::make_model("resnet20", {.width = 0.25,
                                                   .quantization = {.switches = parse_switches("w2a2,w32a32"),
                                                                    .weight_quantizer = "lsq",
                                                                    .activation_quantizer = "lsq"}});
  const auto groups = train::parameter_groups(*net, {.weight_decay = 0.5, .scale_lr = 0.1});
  REQUIRE(groups.size() == 3);
  CHECK(groups[0].weight_decay == 0.5);
  CHECK(groups[1].weight_decay == 0);
  CHECK(groups[2].weight_decay == 0);
  CHECK(groups[0].lr_scale == 1);
  CHECK(groups[1].lr_scale == 1);
  CHECK(groups[2].lr_scale == 0.1);
  std::size_t count = 0;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    CHECK_FALSE(groups[g].parameters.empty());
    for (const auto& p : groups[g].parameters) {
      CAPTURE(p.name);
      const bool scale = p.name.find("quantizer.") != std::string::npos;
      const bool norm = p.name.find("bn") != std::string::npos || p.name.find("downsample.1") != std::string::npos;
      CHECK(g == (scale ? 2u : norm || p.name.ends_with(".bias") ? 1u : 0u));
      ++count;
    }
  }
  CHECK(count == net->parameters().size());
}
