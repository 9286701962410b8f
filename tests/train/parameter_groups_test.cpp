#include "spnet/train/parameter_groups.hpp"

#include <doctest/doctest.h>

#include <map>
#include <string>

#include "spnet/autograd/arithmetic.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/quant/registry.hpp"
#include "spnet/testing/compare.hpp"

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

TEST_CASE("train: scales of a width may have a rate of their own; those that widths share have it in their gradient") {
  const std::map<int, double> rates{{2, 10}, {4, 0.5}};
  const auto net = models::make_model("resnet20", {.width = 0.25,
                                                   .quantization = {.switches = parse_switches("w2a2,w3a3,w4a4"),
                                                                    .weight_quantizer = "double_rounding",
                                                                    .activation_quantizer = "lsq",
                                                                    .scale_rates = rates}});
  const auto groups = train::parameter_groups(*net, {.scale_lr = 0.1, .scale_rates = rates});
  REQUIRE(groups.size() == 5);
  CHECK(groups[3].lr_scale == 0.1 * 10);
  CHECK(groups[4].lr_scale == 0.1 * 0.5);
  for (const auto& p : groups[3].parameters) CHECK(p.name.ends_with("activation_quantizer.scale.2"));
  for (const auto& p : groups[4].parameters) CHECK(p.name.ends_with("activation_quantizer.scale.4"));
  CHECK(groups[3].parameters.size() == 20);
  for (const auto& p : groups[2].parameters)
    CHECK_MESSAGE((p.name.ends_with("activation_quantizer.scale.3") ||
                   p.name.find("weight_quantizer.scale") != std::string::npos),
                  p.name);

  const auto scale_gradient = [](const QuantizerOptions& options, int bits) {
    const auto quantizer = make_weight_quantizer("double_rounding", options);
    const Variable<float> w(testing::random_normal<float>({4, 9}, 1), true);
    sum(quantize(w, *quantizer, bits, true)).backward();
    return quantizer->parameters_at(bits)[0].grad()(0);
  };
  for (const int bits : {2, 3, 4}) {
    const float factor = bits == 2 ? 10.0f : bits == 4 ? 0.5f : 1.0f;
    CHECK(scale_gradient({.scale_rates = rates}, bits) == doctest::Approx(factor * scale_gradient({}, bits)));
  }
}
