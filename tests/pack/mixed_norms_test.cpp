#include "spnet/pack/mixed_norms.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "../temporary_folder.hpp"
#include "own_network.hpp"
#include "spnet/models/mobilenet_v1.hpp"
#include "spnet/models/mobilenet_v2.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;
using test::error_of;

namespace {

const std::vector<Precision> kSwitches = parse_switches("w2a2,w3a3,w4a4");

// Every norm gets parameters and statistics of its own.
void scramble(nn::Module& module) {
  Random random(9);
  for (const auto& p : module.parameters())
    if (p.kind == nn::ParameterKind::kNorm)
      for (float& v : Variable<float>(p.variable).value().span()) v += random.uniform(-0.2f, 0.2f);
  for (const auto& b : module.buffers())
    if (b.kind == nn::ParameterKind::kNorm)
      for (float& v : Tensor<float>(b.tensor).span()) v += random.uniform(0.0f, 0.3f);
}

std::unique_ptr<nn::Classifier> network(const char* name, nn::NormKind norm) {
  auto net = models::make_model(
      name,
      {.width = 0.25,
       .quantization = {
           .switches = kSwitches, .weight_quantizer = "floor_nested", .activation_quantizer = "lsq", .norm = norm}});
  test::settle(*net, kSwitches, {4, 16, 16, 3});
  scramble(*net);
  return net;
}

}  // namespace

TEST_CASE("pack: layers at any precisions have the module's logits, whatever norms stand between them") {
  for (const char* name : {"resnet20", "resnet50", "mobilenet_v1", "mobilenet_v2"}) {
    for (const auto norm : {nn::NormKind::kTransitional, nn::NormKind::kSwitchable, nn::NormKind::kShared}) {
      CAPTURE(std::string(name));
      CAPTURE(static_cast<int>(norm));
      const auto net = network(name, norm);
      const runtime::Graph packed = pack::pack(*net, {16, 16, 3}, kSwitches, {.mixed = true});
      const auto bytes = std::make_shared<const std::vector<std::byte>>(runtime::pack_bytes(packed));
      const runtime::Graph graph = runtime::parse_packed("bytes", {bytes, *bytes});
      CHECK(graph.layers.size() == nn::quantized_layers(*net).size());
      std::size_t most = 0;
      for (const auto& node : graph.nodes)
        if (const auto* n = std::get_if<runtime::Normalize>(&node.op)) most = std::max(most, n->affines.size());
      CHECK(most == (norm == nn::NormKind::kTransitional ? 9 : norm == nn::NormKind::kSwitchable ? 3 : 1));

      pack::LayerSetter set(*net, graph);
      runtime::Engine engine(std::make_shared<const runtime::Model>(graph), {.tune = false});
      const Tensor<float> x = testing::random_normal<float>({2, 16, 16, 3}, 4);
      const NoGradGuard no_grad;
      Random random(6);
      for (int i = 0; i < 6; ++i) {
        runtime::Configuration configuration(graph.layers.size());
        for (auto& p : configuration) p = static_cast<std::uint8_t>(random.below(3));
        set(configuration);
        engine.set_configuration(configuration);
        CHECK(testing::bit_equal(engine.run(x), (*net)(Variable<float>(x)).value()));
      }
    }
  }
}

TEST_CASE("pack: a transition is told the layers on both of its sides, at joins, too") {
  for (const char* name : {"resnet20", "resnet18", "resnet34", "resnet50", "mobilenet_v2"}) {
    CAPTURE(std::string(name));
    const auto net = network(name, nn::NormKind::kTransitional);
    const runtime::Graph graph = pack::pack(*net, {16, 16, 3}, kSwitches, {.mixed = true});
    std::vector<std::size_t> sides;
    for (const auto& node : graph.nodes)
      if (const auto* n = std::get_if<runtime::Normalize>(&node.op); n && !n->layers.empty())
        sides.push_back(n->layers.size());
    std::size_t norms = 0;
    net->for_each([&](nn::Module& module) { norms += dynamic_cast<nn::TransitionalBatchNorm*>(&module) != nullptr; });
    REQUIRE(sides.size() == norms);
    // The first norm has nothing but a float layer before it, the last one behind it.
    CHECK(sides.front() == 1);
    CHECK(sides.back() == 1);
    CHECK(std::count(sides.begin(), sides.end(), 2) == std::ssize(sides) - 2);
  }
}

TEST_CASE("pack: where a norm does not follow its neighbours, no layer may have a precision of its own") {
  // The first norm follows what was set for the whole network: nobody told it what is behind it.
  test::OwnNetwork net({.switches = kSwitches});
  test::settle(net, kSwitches, {4, 8, 8, 3});
  scramble(net);
  const std::string error = error_of<ValueError>([&] { pack::pack(net, {8, 8, 3}, kSwitches, {.mixed = true}); });
  CHECK_MESSAGE(
      error.find("depends on more than the precisions of the layers beside it (none and wide)") != std::string::npos,
      error);
  CHECK_NOTHROW(pack::pack(net, {8, 8, 3}, kSwitches));
}

TEST_CASE("pack: a packed file carries configurations, and damaged ones are refused") {
  const auto net = network("resnet20", nn::NormKind::kTransitional);
  runtime::Graph graph = pack::pack(*net, {16, 16, 3}, kSwitches, {.mixed = true});
  runtime::Configuration layers(graph.layers.size(), 0);
  layers[3] = 2;
  graph.configurations.push_back({"found", layers, runtime::Accuracy{.images = 100, .top1_percent = 60}});
  const auto bytes = std::make_shared<const std::vector<std::byte>>(runtime::pack_bytes(graph));
  const runtime::Graph back = runtime::parse_packed("bytes", {bytes, *bytes});
  REQUIRE(back.configurations.size() == 1);
  CHECK(back.configurations[0].name == "found");
  CHECK(back.configurations[0].layers == layers);
  CHECK(back.configurations[0].accuracy->top1_percent == 60);

  graph.configurations[0].layers[1] = 3;
  CHECK(error_of<ValueError>([&] { runtime::pack_bytes(graph); }) ==
        "configuration 0 (found): precision number 3 of 3");
  graph.configurations[0].layers = {0, 1};
  CHECK(error_of<ValueError>([&] { runtime::pack_bytes(graph); }) ==
        "configuration 0 (found): 2 precisions for 20 layers");
}
