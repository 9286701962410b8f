#include "spnet/prune/channel_graph.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "../pack/own_network.hpp"
#include "spnet/models/mobilenet_v1.hpp"
#include "spnet/models/mobilenet_v2.hpp"
#include "spnet/models/resnet.hpp"

using namespace spnet;
using prune::ChannelGraph;
using prune::ChannelRole;

namespace {

const auto kTraced = parse_switches("w1a1,w2a2,w32a32");

ChannelGraph graph_of(const std::string& name, nn::NormKind norm = nn::NormKind::kSwitchable) {
  const auto net = models::make_model(name, {.width = 0.25, .quantization = {.switches = kTraced, .norm = norm}});
  return prune::channel_graph(*net, {16, 16, 3}, kTraced);
}

std::vector<std::string> prunable(const ChannelGraph& graph) {
  std::vector<std::string> out;
  for (const auto& g : graph.groups)
    if (g.obstacle.empty()) out.push_back(g.name);
  return out;
}

// "weight 0 makes conv1" for each axis of each tensor of a name.
std::vector<std::string> axes_of(const ChannelGraph& graph, const std::string& name) {
  std::vector<std::string> out;
  for (const auto& t : graph.tensors)
    if (t.name == name)
      for (const auto& axis : t.axes)
        for (const std::size_t g : axis.groups)
          out.push_back(std::to_string(axis.axis) +
                        (axis.role == ChannelRole::kMakes   ? " makes "
                         : axis.role == ChannelRole::kReads ? " reads "
                                                            : " follows ") +
                        graph.groups[g].name);
  return out;
}

// x·level by channel: what a quantizer from outside may do.
class ChannelActivations : public Quantizer {
 public:
  explicit ChannelActivations(std::int64_t channels) : levels_(Tensor<float>::ones({channels}), true) {}
  std::string name() const override { return "test_channels"; }
  Quantized lower(const Tensor<float>& x, int, bool) override {
    return {Tensor<std::uint8_t>::zeros(x.shape()), AffineCodes{.scale = Tensor<float>::ones({1})}};
  }
  void backward(const Tensor<float>&, const QuantizerCall&, InputGradients<float>&) const override {}
  std::span<const Variable<float>> parameters_at(int) const override { return {&levels_, 1}; }
  std::vector<NamedParameter> parameters() const override { return {{"levels", levels_}}; }

 private:
  Variable<float> levels_;
};

// Its mean multiplies all of the first layer's results.
class ScaledNetwork : public nn::Module {
 public:
  explicit ScaledNetwork(const nn::Quantization& q, bool scales, Random random = Random(1))
      : first_(3, 6, 3, {}, q, random), second_(6, 4, 3, {}, q, random), scales_(scales) {
    register_module("first", first_);
    register_module("second", second_);
  }
  Variable<float> forward(const Variable<float>& x) override {
    const Variable<float> y = relu(first_(x));
    return global_avg_pool2d(second_(scales_ ? y * mean(y) : y));
  }

 private:
  nn::Conv2d first_, second_;
  bool scales_;
};

}  // namespace

TEST_CASE("prune: residual additions tie the channels of a stage of ResNet-20") {
  const ChannelGraph graph = graph_of("resnet20");
  const std::string first = "conv1+layer1.0.conv2+layer1.1.conv2+layer1.2.conv2";
  CHECK(prunable(graph) ==
        std::vector<std::string>{first, "layer1.0.conv1", "layer1.1.conv1", "layer1.2.conv1", "layer2.0.conv1",
                                 "layer2.0.downsample.0+layer2.0.conv2+layer2.1.conv2+layer2.2.conv2", "layer2.1.conv1",
                                 "layer2.2.conv1", "layer3.0.conv1",
                                 "layer3.0.downsample.0+layer3.0.conv2+layer3.1.conv2+layer3.2.conv2", "layer3.1.conv1",
                                 "layer3.2.conv1"});
  CHECK(axes_of(graph, "layer2.0.conv1.weight") ==
        std::vector<std::string>{"3 reads " + first, "0 makes layer2.0.conv1"});
  CHECK(axes_of(graph, "fc.weight")[0].starts_with("1 reads layer3.0.downsample.0+"));
  // Norms of all switches, in parameters and in buffers.
  for (const char* name : {"w1a1.weight", "w2a2.bias", "w32a32.running_mean", "w1a1.running_var"})
    CHECK(axes_of(graph, std::string("layer1.0.bn1.") + name) == std::vector<std::string>{"0 follows layer1.0.conv1"});
}

TEST_CASE("prune: transitional norms follow at every pair of precisions") {
  const ChannelGraph graph = graph_of("resnet20", nn::NormKind::kTransitional);
  CHECK(axes_of(graph, "layer1.0.bn1.w1a1-w2a2.running_var") == std::vector<std::string>{"0 follows layer1.0.conv1"});
}

TEST_CASE("prune: depthwise convolutions follow the layer before them") {
  const ChannelGraph graph = graph_of("mobilenet_v2");
  CHECK(axes_of(graph, "blocks.1.conv_dw.weight") == std::vector<std::string>{"0 follows blocks.1.conv_expand"});
  CHECK(axes_of(graph, "blocks.1.conv_project.weight")[0] == "3 reads blocks.1.conv_expand");
  // Those of a residual connection.
  CHECK(axes_of(graph, "blocks.3.conv_expand.weight")[0] == "3 reads blocks.1.conv_project+blocks.2.conv_project");
  CHECK(std::ranges::count(prunable(graph), "blocks.3.conv_project+blocks.4.conv_project+blocks.5.conv_project") == 1);
  CHECK(prunable(graph_of("mobilenet_v1")).size() == 14);
}

TEST_CASE("prune: a network of a user's own, and what cannot be removed") {
  test::register_own_quantizers();
  const auto switches = parse_switches("w2a2,w32a32");
  test::OwnNetwork net({.switches = switches});
  const ChannelGraph graph = prune::channel_graph(net, {8, 8, 3}, switches);
  // A flattened image has the channels of every pixel.
  CHECK(prunable(graph) == std::vector<std::string>{"mix+shortcut"});
  CHECK(axes_of(graph, "fc.weight") == std::vector<std::string>{"1 reads mix+shortcut", "1 reads mix+shortcut",
                                                                "1 reads mix+shortcut", "1 reads mix+shortcut",
                                                                "0 makes fc"});
  CHECK(axes_of(graph, "mix.bias") == std::vector<std::string>{"0 follows mix+shortcut"});
  const auto obstacle = [&](const std::string& name) {
    return std::ranges::find(graph.groups, name, &prune::ChannelGroup::name)->obstacle;
  };
  CHECK(obstacle("fc") == "the network's output");
  CHECK(obstacle("stem") == "a convolution reads them in groups");
}

TEST_CASE("prune: scales of filters follow them") {
  const auto switches = parse_switches("w1a2,w2a2");
  const auto net = models::make_model(
      "resnet20",
      {.width = 0.25,
       .quantization = {
           .switches = switches, .weight_quantizer = "lsq", .activation_quantizer = "lsq", .per_channel = true}});
  test::settle(*net, switches, {2, 8, 8, 3});
  const ChannelGraph graph = prune::channel_graph(*net, {8, 8, 3}, switches);
  for (const char* name : {"scale.1", "scale.2"})
    CHECK(axes_of(graph, std::string("layer1.0.conv1.weight_quantizer.") + name) ==
          std::vector<std::string>{"0 follows layer1.0.conv1"});
  CHECK(axes_of(graph, "layer1.0.conv1.activation_quantizer.scale.2").empty());
}

TEST_CASE("prune: what may depend on all channels, or on each, keeps them") {
  const auto switches = parse_switches("w2a2");
  const auto obstacle = [&](const nn::Quantization& q, bool scales) {
    ScaledNetwork net(q, scales);
    const ChannelGraph graph = prune::channel_graph(net, {8, 8, 3}, switches);
    return std::ranges::find(graph.groups, "first", &prune::ChannelGroup::name)->obstacle;
  };
  CHECK(obstacle({.switches = switches}, false).empty());
  CHECK(obstacle({.switches = switches}, true) == "an operator reads them that may mix them");
  register_quantizer("test_channels", {nullptr, [](const auto&) { return std::make_unique<ChannelActivations>(6); }});
  CHECK(obstacle({.switches = switches, .activation_quantizer = "test_channels"}, false) ==
        "a quantizer's parameters may belong to them");
}
