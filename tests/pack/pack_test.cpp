#include "spnet/pack/pack.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>

#include "../temporary_folder.hpp"
#include "own_network.hpp"
#include "spnet/models/mobilenet_v1.hpp"
#include "spnet/models/mobilenet_v2.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/runtime/governed_engine.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;
using test::error_of;

namespace {

Tensor<float> images(const Shape& shape) { return testing::random_normal<float>(shape, 21); }

// The logits of the packed network are those of the module, bit for bit, with one thread and with two, alone and among
// others.
void check_parity(nn::Module& module, const runtime::Graph& graph) {
  const auto bytes = std::make_shared<const std::vector<std::byte>>(runtime::pack_bytes(graph));
  const auto model = std::make_shared<const runtime::Model>(runtime::parse_packed("bytes", {bytes, *bytes}));
  const Tensor<float> x = images(runtime::detail::with_batch(graph.input, 3));
  const NoGradGuard no_grad;
  for (const Precision p : graph.precisions) {
    CAPTURE(to_string(p));
    module.set_precision(p);
    const Tensor<float> expected = module(Variable<float>(x)).value();
    for (const int threads : {1, 2}) {
      runtime::Engine engine(model, {.threads = threads, .tune = false});
      engine.set_precision(p);
      CHECK(testing::bit_equal(engine.run(x), expected));
      CHECK(testing::bit_equal(engine.run(x.narrow(0, 1, 1)), expected.narrow(0, 1, 1)));
    }
  }
}

}  // namespace

TEST_CASE("pack: networks with every quantizer give the module's logits at every precision") {
  for (const char* quantizer :
       {"dorefa", "xnor", "tanh", "log", "lsq", "double_rounding", "floor_nested", "midrise_nested"}) {
    CAPTURE(std::string(quantizer));
    const auto switches = parse_switches("w1a1,w2a2,w4a4,w8a8,w2a4,w4a2,w32a32,w2a32,w32a2");
    for (const std::string name : {"resnet20", "mobilenet_v1", "mobilenet_v2"}) {
      if (name == "mobilenet_v1" && quantizer != std::string("dorefa")) continue;  // MobileNet-V2 has all that it has
      CAPTURE(name);
      const auto net = models::make_model(
          name, {.width = 0.25,
                 .quantization = {.switches = switches,
                                  .weight_quantizer = quantizer == std::string("tanh") ? "dorefa" : quantizer,
                                  .activation_quantizer = quantizer == std::string("xnor") ? "dorefa" : quantizer}});
      test::settle(*net, switches, {4, 16, 16, 3});
      check_parity(*net, pack::pack(*net, {16, 16, 3}, switches));
    }
  }
}

TEST_CASE("pack: a network and quantizers of a user's own") {
  test::register_own_quantizers();
  const auto switches = parse_switches("w2a1,w2a2,w3a4,w32a32,w32a2,w2a32");
  for (const auto& [weights, activations] :
       {std::pair{"test_ternary", "test_uneven"}, {"dorefa", "test_offset"}, {"lsq", "lsq"}}) {
    CAPTURE(std::string(weights));
    test::OwnNetwork net({.switches = switches, .weight_quantizer = weights, .activation_quantizer = activations});
    test::settle(net, switches, {4, 8, 8, 3});
    const runtime::Graph graph = pack::pack(net, {8, 8, 3}, switches, {.name = "own", .classes = {"a", "b"}});
    CHECK(graph.layers == std::vector<std::string>{"stem", "wide", "deep", "mix", "shortcut", "fc"});
    check_parity(net, graph);
  }
}

TEST_CASE("pack: codes by float weights have the bits of training in convolutions of every kind") {
  const auto switches = parse_switches("w32a2,w32a8,w8a8");
  for (const std::int64_t channels : {3, 16, 20, 40, 128})
    for (const auto& [kernel, stride, groups] :
         {std::array{3, 1, 1}, {3, 2, 1}, {1, 1, 1}, {1, 2, 1}, {5, 1, 1}, {3, 1, 2}}) {
      if (channels % groups || (channels == 128 && kernel < 5)) continue;
      CAPTURE(channels);
      CAPTURE(kernel);
      CAPTURE(stride);
      Random random(4);
      nn::Conv2d conv(channels, 32, kernel, {.stride = stride, .padding = kernel / 2, .groups = groups},
                      {.switches = switches}, random);
      check_parity(conv, pack::pack(conv, {12, 12, channels}, switches));
    }
}

TEST_CASE("pack: fully connected layers have the bits of training, however floats are multiplied") {
  const auto switches = parse_switches("w1a1,w2a4,w8a8,w32a2,w2a32,w32a32");
  for (const auto precision : {ops::Float32Precision::kHighest, ops::Float32Precision::kMedium}) {
    const ops::Float32PrecisionGuard guard(precision);
    for (const std::int64_t features : {3, 40, 2100}) {
      CAPTURE(features);
      Random random(4);
      nn::Linear layer(features, 32, {.switches = switches}, random);
      check_parity(layer, pack::pack(layer, {features}, switches));
    }
  }
}

TEST_CASE("pack: every layer may have a precision of its own") {
  const auto switches = parse_switches("w1a1,w4a4,w32a32");
  test::OwnNetwork net({.switches = switches});
  test::settle(net, switches, {4, 8, 8, 3});
  const auto model = std::make_shared<const runtime::Model>(pack::pack(net, {8, 8, 3}, switches));
  runtime::Engine engine(model);
  const Tensor<float> x = images({2, 8, 8, 3});
  const NoGradGuard no_grad;
  std::vector<Precision> precisions(model->graph().layers.size(), Precision{4, 4});
  net.set_precision({4, 4});
  net.wide().set_precision({1, 1});
  net.deep().set_precision({32, 32});
  precisions[1] = {1, 1};
  precisions[2] = {32, 32};
  engine.set_precisions(precisions);
  const Tensor<float> expected = net(Variable<float>(x)).value().clone();
  CHECK(testing::bit_equal(engine.run(x), expected));
  engine.set_precision({4, 4});
  CHECK_FALSE(testing::bit_equal(engine.run(x), expected));
  precisions.pop_back();
  CHECK(error_of<ValueError>([&] { engine.set_precisions(precisions); }) == "engine: 5 precisions given for 6 layers");
}

TEST_CASE("pack: nested widths share the planes of the widest") {
  const auto switches = parse_switches("w8a8,w6a8,w4a8,w2a8,w1a8");
  for (const char* quantizer : {"double_rounding", "floor_nested", "midrise_nested", "dorefa"}) {
    const auto net = models::make_model(
        "resnet20", {.width = 0.25, .quantization = {.switches = switches, .weight_quantizer = quantizer}});
    test::settle(*net, switches, {4, 16, 16, 3});
    const runtime::Graph graph = pack::pack(*net, {16, 16, 3}, switches);
    for (const runtime::Weight& weight : graph.weights) {
      if (weight.codes.empty()) continue;
      int planes = 0;
      for (const auto& p : weight.planes) planes += p.count;
      CHECK(planes == (quantizer == std::string("dorefa") ? 8 + 6 + 4 + 2 : 8));  // its signs are the highest bits
    }
  }
}

TEST_CASE("pack: a network with layers fixed to precisions of their own holds one width of each weight") {
  const auto switches = parse_switches("w1a1,w2a2,w4a4,w8a8,w32a32");
  for (const char* name : {"resnet20", "mobilenet_v2"}) {
    for (const char* quantizer : {"dorefa", "lsq", "double_rounding"}) {
      CAPTURE(std::string(name));
      CAPTURE(std::string(quantizer));
      const auto net = models::make_model(name, {.width = 0.25,
                                                 .quantization = {.switches = switches,
                                                                  .weight_quantizer = quantizer,
                                                                  .activation_quantizer = "lsq",
                                                                  .norm = nn::NormKind::kShared}});
      test::settle(*net, switches, {4, 16, 16, 3});
      const auto layers = nn::quantized_layers(*net);
      Random random(3);
      for (const auto& l : layers)
        l.layer->fix_precision({switches[random.below(5)].weight_bits, switches[random.below(5)].activation_bits});
      layers[0].layer->fix_precision({1, 2});
      layers[1].layer->fix_precision({32, 32});
      const runtime::Graph graph = pack::pack_fixed(*net, {16, 16, 3}, "found");
      for (const runtime::Weight& weight : graph.weights) CHECK(weight.codes.size() <= 1);
      CHECK(runtime::uniform_precisions(graph).empty());
      const auto bytes = std::make_shared<const std::vector<std::byte>>(runtime::pack_bytes(graph));
      const auto model = std::make_shared<const runtime::Model>(runtime::parse_packed("bytes", {bytes, *bytes}));
      REQUIRE(model->graph().configurations.size() == 1);
      CHECK(model->graph().configurations[0].name == "found");
      const auto& found = model->graph().configurations[0].layers;
      for (std::size_t l = 0; l < layers.size(); ++l) {
        const auto at = std::find(graph.layers.begin(), graph.layers.end(), layers[l].name);
        if (layers[l].layer->precision() == Precision{}) {
          CHECK(at == graph.layers.end());
          continue;
        }
        REQUIRE(at != graph.layers.end());
        CHECK(graph.precisions[found[static_cast<std::size_t>(at - graph.layers.begin())]] ==
              layers[l].layer->precision());
      }
      const Tensor<float> x = images({3, 16, 16, 3});
      const NoGradGuard no_grad;
      runtime::Engine engine(model);
      CHECK(testing::bit_equal(engine.run(x), (*net)(Variable<float>(x)).value()));
      // Nothing else can be set, and what runs stays.
      const Precision first = graph.precisions[found[0]];
      CHECK(error_of<ValueError>([&] { engine.set_precision(first); }) ==
            message("engine: ", first, " given, the network was not packed for it in all layers"));
      runtime::Configuration other = found;
      other[0] = static_cast<std::uint8_t>(found[0] == 0 ? 1 : 0);
      CHECK(error_of<ValueError>([&] { engine.set_configuration(other); }) ==
            message("engine: the network was not packed with ", graph.layers[0], " at ", graph.precisions[other[0]]));
      CHECK(testing::bit_equal(engine.run(x), (*net)(Variable<float>(x)).value()));
      CHECK(runtime::uniform_choices(*model).empty());
      CHECK(runtime::model_choices(*model).size() == 1);
      CHECK_THROWS_AS(runtime::cost_of(*model, other), ValueError);
    }
  }
}

TEST_CASE("pack: fixed layers that differ in nothing but a float input") {
  const auto switches = parse_switches("w2a2,w2a32");
  test::OwnNetwork net({.switches = switches, .norm = nn::NormKind::kShared});
  test::settle(net, switches, {4, 8, 8, 3});
  for (const auto& l : nn::quantized_layers(net)) l.layer->fix_precision({2, 2});
  net.wide().conv.fix_precision({2, 32});
  const auto model = std::make_shared<const runtime::Model>(pack::pack_fixed(net, {8, 8, 3}, "found"));
  const Tensor<float> x = images({2, 8, 8, 3});
  const NoGradGuard no_grad;
  runtime::Engine engine(model);
  CHECK(testing::bit_equal(engine.run(x), net(Variable<float>(x)).value()));
  CHECK(runtime::uniform_precisions(model->graph()).empty());
}

namespace {

// One layer, and whatever the test does around it.
class Probe : public nn::Module {
 public:
  using Forward = std::function<Variable<float>(nn::Conv2d&, const Variable<float>&)>;
  Probe(const nn::Quantization& q, Forward forward) : Probe(q, std::move(forward), Random(1)) {}
  Variable<float> forward(const Variable<float>& x) override { return forward_(conv_, x); }

 private:
  Probe(const nn::Quantization& q, Forward forward, Random random)
      : conv_(3, 4, 1, {}, q, random), forward_(std::move(forward)) {
    register_module("conv", conv_);
  }
  nn::Conv2d conv_;
  Forward forward_;
};

std::string refusal(Probe::Forward forward, const nn::Quantization& q = {.switches = {{2, 2}, {32, 32}}}) {
  Probe net(q, std::move(forward));
  return error_of<ValueError>([&] { pack::pack(net, {4, 4, 3}, q.switches); });
}

}  // namespace

TEST_CASE("pack: what the output does not depend on is not run") {
  const auto switches = parse_switches("w2a2,w32a32");
  Probe net({.switches = switches}, [](nn::Conv2d& conv, const Variable<float>& x) {
    const Tensor<float> ones = Tensor<float>::ones({4}), zeros = Tensor<float>::zeros({4});
    batch_norm(conv(x), Variable<float>(ones), Variable<float>(zeros), zeros, ones, {.training = false});
    return conv(x);
  });
  const runtime::Graph graph = pack::pack(net, {4, 4, 3}, switches);
  CHECK(graph.nodes.size() == 4);
  check_parity(net, graph);
  runtime::Engine engine(std::make_shared<const runtime::Model>(graph));
  CHECK(engine.plan().products.size() == 1);
}

TEST_CASE("pack: what has no packed form is refused with the reason") {
  CHECK(refusal([](nn::Conv2d& conv, const Variable<float>& x) { return exp(conv(x)); }) ==
        "pack: the network calls an operator that has no packed form, after node 1; its result is [2,4,4,4]");
  CHECK(refusal([](nn::Conv2d& conv, const Variable<float>& x) {
          conv(x);
          return Variable<float>(Tensor<float>::ones({2, 1}));
        }) == "pack: the network's output does not depend on its input");
  CHECK(refusal([](nn::Conv2d& conv, const Variable<float>& x) {
          return conv.precision().weight_bits == 2 ? relu(conv(x)) : conv(x);
        }) == "pack: the number of operators depends on the precision, at node 0 (input)");
  CHECK(refusal([](nn::Conv2d& conv, const Variable<float>& x) {
          return reshape(conv(x), {4, 4, 8});
        }) == "pack: a value [4,4,8] of the network does not keep the batch as its first axis");
  // What goes past the operators is found out at the end.
  CHECK(refusal([](nn::Conv2d& conv, const Variable<float>& x) {
          return conv(x) + Variable<float>(Tensor<float>::full({4}, x.value()(0, 0, 0, 0)));
        }) == "pack: at w2a2 the packed network computes other logits than the module");
  test::register_own_quantizers();
  CHECK(refusal([](nn::Conv2d& conv, const Variable<float>& x) { return conv(x); },
                {.switches = {{1, 32}}, .weight_quantizer = "test_ternary"}) ==
        "pack: a weight's quantizer has codes up to 2 at 1 bits");
  const auto plain = [](nn::Conv2d& conv, const Variable<float>& x) { return conv(x); };
  CHECK(refusal(plain, {.switches = {{2, 2}}, .activation_quantizer = "log"}) ==
        "pack: activation quantizer log at 2 bits: its codes depend on more than their own element (has it been "
        "trained at this "
        "width?)");
  CHECK(refusal(plain) == "");
}
