#include "spnet/prune/channel_masks.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "../pack/own_network.hpp"
#include "../temporary_folder.hpp"
#include "spnet/io/module_file.hpp"
#include "spnet/models/mobilenet_v2.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/nn/size.hpp"
#include "spnet/optim/sgd.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/runtime/engine.hpp"
#include "spnet/testing/compare.hpp"
#include "spnet/train/trainer.hpp"

using namespace spnet;
using prune::ChannelMasks;
using prune::Channels;
using test::error_of;

namespace {

const auto kSwitches = parse_switches("w1a1,w2a2,w8a8,w32a32");

// Every third channel goes, of all groups that allow it.
std::vector<Channels> thinned(const prune::ChannelGraph& graph) {
  std::vector<Channels> out;
  for (const auto& g : graph.groups) {
    Channels& kept = out.emplace_back();
    for (std::int64_t c = 0; c < g.channels; ++c)
      if (!g.obstacle.empty() || g.channels == 1 || c % 3 != 1) kept.push_back(c);
  }
  return out;
}

std::vector<Tensor<float>> outputs(nn::Module& model, const std::vector<Precision>& switches, const Tensor<float>& x) {
  const NoGradGuard no_grad;
  model.eval();
  std::vector<Tensor<float>> out;
  for (const Precision p : switches) {
    model.set_precision(p);
    out.push_back(model(Variable<float>(x)).value().clone());
  }
  return out;
}

void check_same_outputs(nn::Module& found, nn::Module& expected, const std::vector<Precision>& switches) {
  const Tensor<float> x = testing::random_normal<float>({3, 16, 16, 3}, 6);
  const auto a = outputs(found, switches, x), b = outputs(expected, switches, x);
  for (std::size_t i = 0; i < switches.size(); ++i) {
    CAPTURE(to_string(switches[i]));
    CHECK(testing::bit_equal(a[i], b[i]));
  }
}

std::unique_ptr<nn::Classifier> make(const std::string& name, const std::string& quantizer = "dorefa",
                                     bool per_channel = false) {
  auto net =
      models::make_model(name, {.width = 0.25,
                                .quantization = {.switches = kSwitches,
                                                 .weight_quantizer = quantizer,
                                                 .activation_quantizer = quantizer == "xnor" ? "dorefa" : quantizer,
                                                 .per_channel = per_channel}});
  test::settle(*net, kSwitches, {4, 16, 16, 3});
  return net;
}

}  // namespace

TEST_CASE("prune: a masked network has the outputs of one whose channels are silenced, bit for bit") {
  // Channels within blocks, at activations with a code of zero: what is silenced adds nothing to any integer sum.
  const auto switches = parse_switches("w1a2,w2a2,w4a8");
  const auto build = [&] {
    auto net = models::make_model("resnet20", {.width = 0.5, .quantization = {.switches = switches}});
    test::settle(*net, switches, {4, 16, 16, 3});
    return net;
  };
  const auto silenced = build(), masked = build();
  ChannelMasks masks(prune::channel_graph(*masked, {16, 16, 3}, switches));
  const auto& groups = masks.graph().groups;
  const auto parameters = silenced->parameters();
  std::vector<Channels> kept = masks.kept();
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (!groups[g].name.ends_with("conv1") || groups[g].name == "conv1") continue;
    // DoReFa's range over a layer must not come from what goes.
    const std::string block = groups[g].name.substr(0, groups[g].name.size() - 5);
    std::vector<bool> holds_largest(static_cast<std::size_t>(groups[g].channels), false);
    for (const auto& p : parameters) {
      const bool own = p.name == block + "conv1.weight";
      if (!own && p.name != block + "conv2.weight") continue;
      const auto span = p.variable.value().span();
      const auto at =
          std::max_element(span.begin(), span.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
      const auto place = static_cast<std::int64_t>(at - span.begin());
      const std::int64_t channel = own ? place / (p.variable.size() / p.variable.dim(0)) : place % p.variable.dim(3);
      holds_largest[static_cast<std::size_t>(channel)] = true;
    }
    Channels some;
    for (std::int64_t c = 0; c < groups[g].channels; ++c) {
      if (c % 3 != 1 || holds_largest[static_cast<std::size_t>(c)]) {
        some.push_back(c);
        continue;
      }
      for (const auto& p : parameters)
        if (p.name.starts_with(block + "bn1.")) Variable<float>(p.variable).value()(c) = 0;
    }
    kept[g] = some;
  }
  masks.keep(kept);
  check_same_outputs(*masked, *silenced, switches);
}

TEST_CASE("prune: so it has at additions, at depthwise filters and with scales of filters") {
  const auto switches = parse_switches("w1a2,w2a2,w4a8");
  for (const char* name : {"resnet20", "mobilenet_v2"}) {
    CAPTURE(std::string(name));
    // Scales of their own do not depend on what goes.
    const auto build = [&] {
      auto net = models::make_model(
          name,
          {.width = 0.5,
           .quantization = {
               .switches = switches, .weight_quantizer = "lsq", .activation_quantizer = "lsq", .per_channel = true}});
      test::settle(*net, switches, {4, 16, 16, 3});
      return net;
    };
    const auto silenced = build(), masked = build();
    ChannelMasks masks(prune::channel_graph(*masked, {16, 16, 3}, switches));
    const prune::ChannelGraph& graph = masks.graph();
    std::vector<Channels> kept = thinned(graph);
    // The classifier adds floats up, in another order where there are fewer.
    for (const prune::ChannelTensor& t : graph.tensors)
      if (t.parameter.defined() && t.parameter.shape().rank() == 2)
        for (const std::size_t g : t.axes.at(0).groups) kept[g] = masks.kept()[g];
    const auto parameters = silenced->parameters();
    std::size_t zeros = 0;
    for (const prune::ChannelTensor& t : graph.tensors) {
      const auto p =
          std::find_if(parameters.begin(), parameters.end(), [&](const auto& q) { return q.name == t.name; });
      if (p == parameters.end() || p->kind != nn::ParameterKind::kNorm) continue;
      const std::size_t g = t.axes.at(0).groups.at(0);
      for (std::int64_t c = 0; c < graph.groups[g].channels; ++c) {
        if (std::binary_search(kept[g].begin(), kept[g].end(), c)) continue;
        Variable<float>(p->variable).value()(c) = 0;
        ++zeros;
      }
    }
    CHECK(zeros > 100);
    masks.keep(kept);
    check_same_outputs(*masked, *silenced, switches);
    // Each scale is that of the filter it was with.
    const auto whole = silenced->parameters(), part = masked->parameters();
    for (const prune::ChannelTensor& t : graph.tensors) {
      const auto at = std::find_if(whole.begin(), whole.end(), [&](const auto& q) { return q.name == t.name; });
      if (at == whole.end() || at->kind != nn::ParameterKind::kScale || at->variable.shape().rank() != 1) continue;
      const Tensor<float> before = at->variable.value(),
                          after = part[static_cast<std::size_t>(at - whole.begin())].variable.value();
      const Channels& channels = kept[t.axes.at(0).groups.at(0)];
      REQUIRE(after.size() == std::ssize(channels));
      for (std::int64_t i = 0; i < after.size(); ++i) CHECK(after(i) == before(channels[static_cast<std::size_t>(i)]));
    }
  }
}

TEST_CASE("prune: removal keeps the masked network's outputs, bit for bit, in memory, in files and in the runtime") {
  for (const auto& [name, quantizer, per_channel] : {std::tuple{"resnet20", "dorefa", false},
                                                     {"resnet20", "lsq", true},
                                                     {"resnet20", "xnor", false},
                                                     {"mobilenet_v2", "lsq", false},
                                                     {"mobilenet_v2", "double_rounding", false}}) {
    CAPTURE(std::string(name));
    CAPTURE(std::string(quantizer));
    const auto net = make(name, quantizer, per_channel);
    const Tensor<float> x = testing::random_normal<float>({2, 16, 16, 3}, 7);
    ChannelMasks masks(prune::channel_graph(*net, {16, 16, 3}, kSwitches));
    const std::int64_t before = nn::model_size_bits(*net, {2, 2});
    masks.keep(thinned(masks.graph()));
    const auto expected = outputs(*net, kSwitches, x);
    masks.remove();
    CHECK(nn::model_size_bits(*net, {2, 2}) < 0.7 * static_cast<double>(before));
    const auto same = [&](nn::Module& other) {
      const auto found = outputs(other, kSwitches, x);
      for (std::size_t i = 0; i < kSwitches.size(); ++i) CHECK(testing::bit_equal(found[i], expected[i]));
    };
    same(*net);

    io::TensorFile file;
    io::put_module(file, *net);
    const auto loaded = make(name, quantizer, per_channel);
    CHECK_THROWS_AS(io::load_module(file, *loaded), FileError);
    io::load_pruned_module(file, *loaded);
    same(*loaded);

    const auto graph = pack::pack(*loaded, {16, 16, 3}, kSwitches);
    const auto bytes = std::make_shared<const std::vector<std::byte>>(runtime::pack_bytes(graph));
    runtime::Engine engine(std::make_shared<const runtime::Model>(runtime::parse_packed("bytes", {bytes, *bytes})),
                           {.tune = false});
    for (std::size_t i = 0; i < kSwitches.size(); ++i) {
      engine.set_precision(kSwitches[i]);
      CHECK(testing::bit_equal(engine.run(x), expected[i]));
    }
  }
}

TEST_CASE("prune: what is masked comes back as it was, and what was trained meanwhile as it is") {
  const auto net = make("resnet20");
  const Tensor<float> x = testing::random_normal<float>({4, 16, 16, 3}, 8);
  const auto expected = outputs(*net, kSwitches, x);
  std::map<std::string, Tensor<float>> before;
  for (const auto& p : net->parameters()) before[p.name] = p.variable.value().clone();
  ChannelMasks masks(prune::channel_graph(*net, {16, 16, 3}, kSwitches));
  masks.keep(thinned(masks.graph()));
  masks.keep_all();
  const auto again = outputs(*net, kSwitches, x);
  for (std::size_t i = 0; i < kSwitches.size(); ++i) CHECK(testing::bit_equal(again[i], expected[i]));

  masks.keep(thinned(masks.graph()));
  std::vector<optim::ParameterGroup> groups(1);
  for (const auto& p : net->parameters()) groups[0].parameters.push_back({p.name, p.variable});
  optim::SGD optimizer(groups);
  train::Trainer trainer(*net, kSwitches, optimizer, {}, 1);
  net->train();
  trainer.step(x, Tensor<std::int32_t>::from({4}, {0, 1, 2, 3}), 0.1, 0);
  masks.keep_all();
  for (const auto& p : net->parameters()) {
    if (p.name != "layer1.0.conv1.weight") continue;
    const Tensor<float>&now = p.variable.value(), &then = before.at(p.name);
    CHECK(now.shape() == then.shape());
    CHECK(testing::bit_equal(now.narrow(0, 1, 1), then.narrow(0, 1, 1)));        // masked
    CHECK_FALSE(testing::bit_equal(now.narrow(0, 2, 1), then.narrow(0, 2, 1)));  // trained
  }
}

TEST_CASE("prune: a network of a user's own is pruned where it can be") {
  const auto switches = parse_switches("w2a2,w32a32");
  test::OwnNetwork net({.switches = switches});
  test::settle(net, switches, {4, 8, 8, 3});
  ChannelMasks masks(prune::channel_graph(net, {8, 8, 3}, switches));
  masks.keep(thinned(masks.graph()));
  const Tensor<float> x = testing::random_normal<float>({2, 8, 8, 3}, 9);
  const auto expected = outputs(net, switches, x);
  masks.remove();
  CHECK(testing::bit_equal(outputs(net, switches, x)[0], expected[0]));
  for (const auto& p : net.parameters())
    if (p.name == "fc.weight") CHECK(p.variable.shape() == Shape{7, 4 * 13});
}

TEST_CASE("prune: masks that cannot be are refused with the reason, and change nothing") {
  const auto net = make("resnet20");
  ChannelMasks masks(prune::channel_graph(*net, {16, 16, 3}, kSwitches));
  const auto& groups = masks.graph().groups;
  std::size_t inner = 0, output = 0;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (groups[g].name == "layer1.0.conv1") inner = g;
    if (groups[g].name == "fc") output = g;
  }
  CHECK(error_of<ValueError>([&] { masks.keep(inner, {}); }) ==
        "prune: all 4 channels of layer1.0.conv1 are to go; a layer keeps at least one");
  CHECK(error_of<ValueError>([&] {
          masks.keep(output, {0, 1});
        }) == "prune: channels of fc cannot be removed: the network's output");
  CHECK_THROWS_AS(masks.keep(inner, {1, 0}), ValueError);
  CHECK_THROWS_AS(masks.keep(inner, {0, 4}), ValueError);
  CHECK_THROWS_AS(masks.keep(inner, {-1}), ValueError);
  CHECK_THROWS_AS(masks.keep(std::vector<Channels>{}), ValueError);
  CHECK(masks.kept()[inner] == Channels{0, 1, 2, 3});
}

TEST_CASE("prune: files whose shapes no removal gives are refused, and change nothing") {
  const auto net = make("resnet20");
  ChannelMasks masks(prune::channel_graph(*net, {16, 16, 3}, kSwitches));
  masks.keep(thinned(masks.graph()));
  const auto forged = [&](const std::string& name, const Shape& shape) {
    io::TensorFile file;
    for (const auto& p : net->parameters())
      file.put("model." + p.name, p.name == name ? Tensor<float>::zeros(shape) : p.variable.value());
    for (const auto& b : net->buffers())
      file.put("model." + b.name, b.name == name ? Tensor<float>::zeros(shape) : b.tensor);
    const auto other = make("resnet20");
    const Tensor<float> before = other->parameters().front().variable.value().clone();
    const std::string text = error_of<FileError>([&] { io::load_pruned_module(file, *other); });
    CHECK(testing::bit_equal(other->parameters().front().variable.value(), before));
    return text;
  };
  const auto refuses = [&](const std::string& name, const Shape& shape) {
    return forged(name, shape).starts_with("load_pruned_module: tensor 'model." + name + "' has shape ");
  };
  CHECK(refuses("layer1.0.conv1.weight", {3, 1, 3, 3}));  // fewer taps
  CHECK(refuses("layer1.0.conv1.weight", {5, 3, 3, 3}));  // more filters
  CHECK(refuses("layer1.0.conv1.weight", {3, 3}));
  CHECK(refuses("fc.bias", {1}));
  CHECK(refuses("layer1.0.bn1.w2a2.running_var", {2}));  // others have three
}
