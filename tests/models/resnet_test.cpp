#include "spnet/models/resnet.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "spnet/autograd/loss.hpp"
#include "spnet/models/mobilenet_v1.hpp"
#include "spnet/models/mobilenet_v2.hpp"

using namespace spnet;

namespace {

std::int64_t float_parameters(const nn::Module& module) {
  std::int64_t count = 0;
  for (const auto& p : module.parameters())
    if (p.kind != nn::ParameterKind::kScale) count += p.variable.size();
  return count;
}

Tensor<float> images(std::int64_t side, std::int64_t count = 2) {
  Random random(1);
  Tensor<float> out({count, side, side, 3});
  for (float& value : out.span()) value = random.normal();
  return out;
}

}  // namespace

TEST_CASE("models: parameter counts are those of the published networks" * doctest::test_suite("size")) {
  CHECK(float_parameters(*models::make_model("resnet18", {.classes = 1000, .stem = "imagenet"})) == 11689512);
  CHECK(float_parameters(*models::make_model("resnet34", {.classes = 1000, .stem = "imagenet"})) == 21797672);
  CHECK(float_parameters(*models::make_model("resnet50", {.classes = 1000, .stem = "imagenet"})) == 25557032);
  CHECK(float_parameters(*models::make_model("mobilenet_v1", {.classes = 1000, .stem = "imagenet"})) == 4231976);
  CHECK(float_parameters(*models::make_model("mobilenet_v2", {.classes = 1000, .stem = "imagenet"})) == 3504872);
  // 269,722 with parameter-free shortcuts; two 1×1 shortcuts with batch norm add 2,752.
  CHECK(float_parameters(*models::make_model("resnet20", {})) == 269722 + 16 * 32 + 32 * 64 + 2 * 32 + 2 * 64);
}

TEST_CASE("models: names are those of the usual float networks") {
  const auto net = models::make_model("resnet20", {.width = 0.25, .quantization = {.switches = parse_switches("w1a1,w2a2")}});
  std::vector<std::string> names;
  for (const auto& p : net->parameters()) names.push_back(p.name);
  for (const char* name : {"conv1.weight", "bn1.w1a1.weight", "layer1.0.conv1.weight", "layer2.0.downsample.0.weight",
                           "layer2.0.downsample.1.w2a2.bias", "layer3.2.conv2.weight", "fc.weight", "fc.bias"})
    CHECK_MESSAGE(std::count(names.begin(), names.end(), name) == 1, name);
}

TEST_CASE("models: every network runs at every switch and gives logits") {
  const auto switches = parse_switches("w1a1,w2a4,w1a32,w32a32");
  NoGradGuard no_grad;
  for (const char* name : {"resnet20", "resnet18", "resnet50", "mobilenet_v1", "mobilenet_v2"})
    for (const char* stem : {"cifar", "tiny-imagenet", "imagenet"}) {
      const auto net =
          models::make_model(name, {.classes = 7, .width = 0.125, .stem = stem, .quantization = {.switches = switches}});
      for (Precision p : switches) {
        net->set_precision(p);
        const auto logits = (*net)(Variable<float>(images(32))).value();
        CHECK(logits.shape() == Shape{2, 7});
        CHECK(std::ranges::all_of(logits.span(), [](float v) { return std::isfinite(v); }));
      }
    }
}

TEST_CASE("models: networks with the ImageNet stem train on images that shrink to one pixel") {
  const auto switches = parse_switches("w2a2,w32a32");
  for (const char* name : {"resnet20", "resnet18", "resnet50", "mobilenet_v1", "mobilenet_v2"}) {
    CAPTURE(std::string(name));
    const auto net = models::make_model(name, {.width = 0.25, .stem = "imagenet", .quantization = {.switches = switches}});
    for (const Precision p : switches) {
      net->set_precision(p);
      const auto logits = (*net)(Variable<float>(images(8, 6)));
      cross_entropy(logits, Tensor<std::int32_t>::from({6}, {0, 1, 2, 3, 4, 5})).backward();
    }
    for (const auto& p : net->parameters()) {
      if (!p.variable.grad().defined()) continue;
      const Tensor<float> grad = p.variable.grad().contiguous();
      for (const float g : grad.span()) REQUIRE(std::isfinite(g));
    }
  }
}

TEST_CASE("models: one block of a network may have a precision of its own, and gives it back") {
  const auto net = models::make_model("resnet20", {.width = 0.25, .quantization = {.switches = parse_switches("w2a2,w32a32")}});
  net->eval();
  const NoGradGuard no_grad;
  const Variable<float> x(images(8));
  const auto logits = [&] { return net->forward(x).value().clone(); };
  const Tensor<float> whole = logits();
  nn::Module* block = nullptr;
  for (const auto& [name, child] : net->children())
    if (name == "layer2.1") block = child;
  REQUIRE(block != nullptr);
  block->set_precision({2, 2});
  const Tensor<float> mixed = logits();
  CHECK_FALSE(std::ranges::equal(mixed.span(), whole.span()));
  net->set_precision({2, 2});
  const Tensor<float> low = logits();
  CHECK_FALSE(std::ranges::equal(mixed.span(), low.span()));
  net->set_precision({32, 32});
  CHECK(std::ranges::equal(logits().span(), whole.span()));
  CHECK_THROWS_WITH_AS(block->set_precision({4, 4}), doctest::Contains("w4a4 given, but conv1 was made for w2a2, w32a32"),
                       ValueError);
  CHECK(std::ranges::equal(logits().span(), whole.span()));
}

TEST_CASE("models: the seed decides the weights") {
  const auto weights = [](std::uint64_t seed) {
    return models::make_model("resnet20", {.width = 0.25, .seed = seed})->parameters()[0].variable.value();
  };
  CHECK(std::ranges::equal(weights(1).span(), weights(1).span()));
  CHECK_FALSE(std::ranges::equal(weights(1).span(), weights(2).span()));
}

TEST_CASE("models: bad names and options are refused") {
  CHECK_THROWS_WITH_AS(models::make_model("vgg", {}),
                       doctest::Contains("model: 'vgg' is not known; there are mobilenet_v1, "), ValueError);
  CHECK_THROWS_AS(models::make_model("resnet20", {.classes = 0}), ValueError);
  CHECK_THROWS_AS(models::make_model("resnet20", {.width = 0}), ValueError);
  CHECK_THROWS_AS(models::make_model("resnet20", {.stem = "huge"}), ValueError);
  CHECK_THROWS_AS(models::make_model("mobilenet_v1", {.stem = "huge"}), ValueError);
}
