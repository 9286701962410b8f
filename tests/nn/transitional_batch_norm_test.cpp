#include "spnet/nn/transitional_batch_norm.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "spnet/models/mobilenet_v1.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/nn/conv_norm.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {

const std::vector<Precision> kSwitches = parse_switches("w2a2,w3a3,w4a4");

// Gives every norm a shift by which its results can be told from the others'.
void mark(nn::Module& module) {
  for (const auto& p : module.parameters())
    if (p.name.ends_with("bias")) {
      const std::string& name = p.name;
      float mark = 0;
      for (const char c : name.substr(0, name.rfind('.'))) mark = mark * 31 / 37 + static_cast<float>(c);
      Variable<float>(p.variable).value().fill(mark);
    }
}

// The norms of a network that are used at its present precisions: those whose gradient is there after a backward pass.
std::vector<std::string> used_norms(nn::Classifier& net, std::int64_t side) {
  net.zero_grad();
  const Variable<float> x(testing::random_normal<float>({2, side, side, 3}, 1));
  mean(net.forward(x)).backward();
  std::vector<std::string> out;
  for (const auto& p : net.parameters())
    if (p.kind == nn::ParameterKind::kNorm && p.name.ends_with(".weight") && p.variable.grad().defined())
      out.push_back(p.name.substr(0, p.name.size() - std::string(".weight").size()));
  return out;
}

}  // namespace

TEST_CASE("nn: a transitional batch norm has a norm for each pair of neighbours") {
  Random random(1);
  nn::Quantization quantization{.switches = kSwitches, .norm = nn::NormKind::kTransitional};
  nn::ConvNorm first("conv1", "bn1", 4, 4, 3, {.padding = 1}, quantization, random);
  nn::ConvNorm second("conv2", "bn2", 4, 4, 3, {.padding = 1}, quantization, random);
  first.set_next(&second.conv);
  auto& norm = first.norm();
  CHECK(norm.parameters().size() == 2 * 9);
  mark(norm);
  norm.eval();
  std::map<std::string, float> shift;
  for (const auto& p : norm.parameters()) shift[p.name] = p.variable.value()(0);
  const Variable<float> x(Tensor<float>::zeros({1, 2, 2, 4}));
  for (const Precision before : kSwitches) {
    for (const Precision after : kSwitches) {
      first.conv.set_precision(before);
      second.set_precision(after);
      const std::string name = before == after ? to_string(before) : to_string(before) + "-" + to_string(after);
      CHECK(norm.forward(x).value()(0, 0, 0, 0) == shift.at(name + ".bias"));
    }
  }
}

TEST_CASE("nn: transitions start from the precision that they enter") {
  nn::TransitionalBatchNorm norm(2, kSwitches);
  mark(norm);
  for (const auto& b : norm.buffers()) Tensor<float>(b.tensor).fill(b.name.size() == 16 ? 1.0f : 2.0f);
  norm.start_transitions();
  std::map<std::string, Tensor<float>> values;
  for (const auto& p : norm.parameters()) values[p.name] = p.variable.value();
  for (const auto& b : norm.buffers()) values[b.name] = b.tensor;
  CHECK(values.size() == 4 * 9);
  for (const char* what : {"weight", "bias", "running_mean", "running_var"}) {
    for (const char* before : {"w2a2", "w3a3"}) {
      const auto& entered = values.at(std::string("w4a4.") + what);
      CHECK(testing::bit_equal(values.at(std::string(before) + "-w4a4." + what), entered));
      CHECK(values.at(std::string(before) + "-w4a4." + what).data() != entered.data());
    }
  }
}

TEST_CASE("nn: at joins, at the first and at the last layer, the rule says which norm is used") {
  const models::ModelOptions options{.width = 0.25,
                                     .quantization = {.switches = kSwitches, .norm = nn::NormKind::kTransitional}};
  const auto net = models::make_model("resnet20", options);
  const auto layers = nn::quantized_layers(*net);
  REQUIRE(layers.size() == 20);
  CHECK(layers[0].name == "layer1.0.conv1");
  const auto set = [&](const std::string& name, Precision p) {
    for (const auto& l : layers)
      if (l.name == name) return l.layer->set_precision(p);
    FAIL(name);
  };
  const auto uses = [](const std::vector<std::string>& names, const std::string& name) {
    return std::count(names.begin(), names.end(), name) == 1;
  };
  net->set_precision({3, 3});
  set("layer1.0.conv1", {2, 2});
  set("layer2.0.conv1", {4, 4});
  set("layer2.0.downsample.0", {2, 2});
  set("layer2.1.conv1", {2, 2});
  set("layer3.2.conv2", {4, 4});
  const auto used = used_norms(*net, 8);
  CHECK(used.size() == 21);
  CHECK(uses(used, "bn1.w2a2"));                // first: what it hands on
  CHECK(uses(used, "layer1.0.bn1.w2a2-w3a3"));  // within a block
  CHECK(uses(used, "layer1.2.bn2.w3a3-w4a4"));  // a join: the next block's first layer, not its shortcut
  CHECK(uses(used, "layer2.0.bn1.w4a4-w3a3"));
  CHECK(uses(used, "layer2.0.downsample.1.w2a2"));  // joins what layer2.1.conv1 reads
  CHECK(uses(used, "layer2.0.bn2.w3a3-w2a2"));
  CHECK(uses(used, "layer3.2.bn1.w3a3-w4a4"));
  CHECK(uses(used, "layer3.2.bn2.w4a4"));  // last: nothing quantized behind it

  const auto mobile = models::make_model("mobilenet_v1", options);
  mobile->set_precision({3, 3});
  nn::quantized_layers(*mobile).front().layer->set_precision({2, 2});
  const auto mobile_used = used_norms(*mobile, 8);
  CHECK(uses(mobile_used, "bn1.w2a2"));
  CHECK(uses(mobile_used, "blocks.0.bn_dw.w2a2-w3a3"));
  CHECK(uses(mobile_used, "blocks.0.bn_pw.w3a3"));
}

TEST_CASE("nn: norms by kind: shared ones serve every precision, switchable ones that of the layer before") {
  for (const auto kind : {nn::NormKind::kShared, nn::NormKind::kSwitchable}) {
    const auto net =
        models::make_model("resnet20", {.width = 0.25, .quantization = {.switches = kSwitches, .norm = kind}});
    net->set_precision({3, 3});
    const auto layers = nn::quantized_layers(*net);
    layers[0].layer->set_precision({2, 2});
    layers.back().layer->set_precision({4, 4});
    const auto used = used_norms(*net, 8);
    CHECK(used.size() == 21);
    const auto count = [&](const char* name) { return std::count(used.begin(), used.end(), name); };
    const bool shared = kind == nn::NormKind::kShared;
    CHECK(count(shared ? "bn1" : "bn1.w2a2") == 1);
    CHECK(count(shared ? "layer1.0.bn1" : "layer1.0.bn1.w2a2") == 1);
    CHECK(count(shared ? "layer3.2.bn2" : "layer3.2.bn2.w4a4") == 1);
  }
}

TEST_CASE("nn: a file of switchable norms fills those of equal neighbours, by their names") {
  const auto switchable = models::make_model("resnet20", {.width = 0.25, .quantization = {.switches = kSwitches}});
  const auto transitional = models::make_model(
      "resnet20", {.width = 0.25, .quantization = {.switches = kSwitches, .norm = nn::NormKind::kTransitional}});
  std::map<std::string, Shape> names;
  for (const auto& p : transitional->parameters()) names[p.name] = p.variable.shape();
  for (const auto& p : switchable->parameters()) {
    REQUIRE_MESSAGE(names.contains(p.name), p.name);
    CHECK(names.at(p.name) == p.variable.shape());
  }
}
