#include "spnet/train/bit_mixer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "../counted_news.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/optim/sgd.hpp"
#include "spnet/testing/compare.hpp"
#include "spnet/train/parameter_groups.hpp"

using namespace spnet;
using train::BitMixerStage;

namespace {

const std::vector<Precision> kWidths = parse_switches("w2a2,w3a3,w4a4");

struct Run {
  explicit Run(const train::BitMixerOptions& options, const char* distillation = "top")
      : net(models::make_model("resnet20", {.width = 0.25,
                                            .quantization = {.switches = kWidths,
                                                             .weight_quantizer = "floor_nested",
                                                             .activation_quantizer = "lsq",
                                                             .norm = nn::NormKind::kTransitional},
                                            .seed = 3})),
        optimizer(train::parameter_groups(*net), {}),
        trainer(*net, kWidths, optimizer, options, {.name = distillation}, 7),
        images(testing::random_normal<float>({8, 8, 8, 3}, 5)),
        labels({8}) {
    for (std::int64_t i = 0; i < 8; ++i) labels(i) = static_cast<std::int32_t>(i);
  }
  const std::vector<train::SwitchResult>& step(std::uint64_t number) {
    return trainer.step(images, labels, 0.01, number);
  }
  Tensor<float> parameter(const std::string& name) const {
    for (const auto& p : net->parameters())
      if (p.name == name) return p.variable.value();
    for (const auto& b : net->buffers())
      if (b.name == name) return b.tensor;
    return {};
  }

  std::unique_ptr<nn::Classifier> net;
  optim::SGD optimizer;
  train::BitMixerTrainer trainer;
  Tensor<float> images;
  Tensor<std::int32_t> labels;
};

std::vector<std::string> trained(const std::vector<train::SwitchResult>& results) {
  std::vector<std::string> out;
  for (const auto& r : results)
    if (r.trained) out.push_back(r.name());
  return out;
}

}  // namespace

TEST_CASE("train: Bit-Mixer goes through its stages, and redraws rise from none to a half") {
  Run run({.stage_steps = {4, 6, 20}});
  CHECK(run.trainer.stage(3) == BitMixerStage::kActivations);
  CHECK(run.trainer.stage(4) == BitMixerStage::kNetworkWide);
  CHECK(run.trainer.stage(9) == BitMixerStage::kNetworkWide);
  CHECK(run.trainer.stage(10) == BitMixerStage::kLayerWide);
  CHECK(run.trainer.stage(100) == BitMixerStage::kLayerWide);
  CHECK(run.trainer.redraws(9) == 0);
  CHECK(run.trainer.redraws(10) == 0);
  CHECK(run.trainer.redraws(20) == 0.25);
  CHECK(run.trainer.redraws(30) == 0.5);
  Run last({.stage_steps = {0, 0, 5}});
  CHECK(last.trainer.stage(0) == BitMixerStage::kLayerWide);
}

TEST_CASE("train: a step of Bit-Mixer teaches what it drew and its teacher, and no other switch") {
  Run run({.stage_steps = {0, 40, 0}});
  std::map<std::string, int> seen;
  for (std::uint64_t i = 0; i < 40; ++i) {
    const auto names = trained(run.step(i));
    REQUIRE(names.front() == "w4a4");
    REQUIRE(names.size() <= 2);
    ++seen[names.back()];
  }
  CHECK(seen.size() == 3);
  for (const auto& [name, count] : seen) CHECK_MESSAGE(count > 5, name);

  Run alone({.stage_steps = {0, 10, 0}}, "none");
  for (std::uint64_t i = 0; i < 10; ++i) CHECK(trained(alone.step(i)).size() == 1);
}

TEST_CASE("train: a step of Bit-Mixer with several draws teaches each of them") {
  Run one({.stage_steps = {0, 0, 40}, .most_redraws = 1, .continues = true});
  Run three({.stage_steps = {0, 0, 40}, .most_redraws = 1, .draws = 3, .continues = true});
  Run uniform({.stage_steps = {0, 40, 0}, .draws = 8});
  std::size_t most = 0;
  for (std::uint64_t i = 0; i < 12; ++i) {
    one.step(i);
    three.step(i);
    const auto names = trained(uniform.step(i));
    REQUIRE(names.front() == "w4a4");
    most = std::max(most, names.size());
  }
  CHECK(most == 3);
  CHECK_FALSE(testing::bit_equal(one.parameter("conv1.weight"), three.parameter("conv1.weight")));

  Run alone({.stage_steps = {0, 10, 0}, .draws = 8}, "none");
  most = 0;
  for (std::uint64_t i = 0; i < 10; ++i) most = std::max(most, trained(alone.step(i)).size());
  CHECK(most == 3);
}

TEST_CASE("train: a step of Bit-Mixer with the lowest precision teaches it every time, and no precision twice") {
  for (const char* distillation : {"top", "none"}) {
    CAPTURE(distillation);
    const bool taught = distillation == std::string("top");
    Run run({.stage_steps = {0, 30, 0}, .lowest = true}, distillation);
    std::set<std::string> drawn;
    std::size_t most = 0;
    for (std::uint64_t i = 0; i < 30; ++i) {
      const auto names = trained(run.step(i));
      REQUIRE(names.back() == "w2a2");
      REQUIRE((names.front() == "w4a4" || !taught));
      most = std::max(most, names.size());
      drawn.insert(names.begin(), names.end());
    }
    CHECK(drawn.size() == 3);
    CHECK(most == (taught ? 3 : 2));
  }
  // What is drawn does not depend on what learns beside it; the steps of other precisions are those without.
  Run with({.stage_steps = {0, 0, 4}, .most_redraws = 1, .lowest = true, .continues = true});
  Run without({.stage_steps = {0, 0, 4}, .most_redraws = 1, .continues = true});
  const auto results = with.step(0);
  CHECK(trained(results) == std::vector<std::string>{"w4a4", "w2a2", "mixed"});
  CHECK(trained(without.step(0)) == std::vector<std::string>{"w4a4", "mixed"});
  CHECK(results[0].loss == without.trainer.results()[0].loss);
}

TEST_CASE("train: a step of Bit-Mixer with all precisions teaches each, and a mixture beside them") {
  Run run({.stage_steps = {0, 10, 10}, .most_redraws = 1, .draws = 2, .all_widths = true});
  for (std::uint64_t i = 0; i < 10; ++i)
    CHECK(trained(run.step(i)) == std::vector<std::string>{"w4a4", "w3a3", "w2a2"});
  for (std::uint64_t i = 10; i < 20; ++i) {
    auto names = trained(run.step(i));
    if (names.back() == "mixed") names.pop_back();
    CHECK(names == std::vector<std::string>{"w4a4", "w3a3", "w2a2"});
  }
  CHECK(trained(run.trainer.results()).back() == "mixed");
}

TEST_CASE("train: in the first stage weights are float, in the last each layer has a width of its own") {
  Run run({.stage_steps = {2, 2, 30}});
  const std::string scale = "layer2.1.conv1.weight_quantizer.scale", transition = "layer2.1.bn1.w2a2-w4a4.running_mean";
  run.step(0);
  run.step(1);
  CHECK(run.parameter(scale)(0) == 0);  // not started: no weight has been quantized
  run.step(2);
  CHECK(run.parameter(scale)(0) > 0);
  run.step(3);
  const Tensor<float> before = run.parameter(transition).clone();
  CHECK(testing::bit_equal(before, Tensor<float>::zeros({8})));
  const Tensor<float> entered = run.parameter("layer2.1.bn1.w4a4.running_mean").clone();
  run.step(4);  // none redraws yet
  CHECK(testing::bit_equal(run.parameter(transition), entered));
  int mixed = 0;
  for (std::uint64_t i = 5; i < 34; ++i) {
    const auto names = trained(run.step(i));
    mixed += names.back() == "mixed";
    std::set<std::string> widths;
    for (const auto& l : nn::quantized_layers(*run.net)) widths.insert(to_string(l.layer->precision()));
    CHECK((widths.size() > 1) == (names.back() == "mixed"));
  }
  CHECK(mixed > 15);
  CHECK_FALSE(testing::bit_equal(run.parameter(transition), entered));
}

TEST_CASE("train: without a last stage, transitions start from what the second one learned") {
  Run run({.stage_steps = {2, 2, 0}});
  const std::string transition = "layer2.1.bn1.w2a2-w4a4.running_mean";
  for (std::uint64_t i = 0; i < 3; ++i) run.step(i);
  CHECK(testing::bit_equal(run.parameter(transition), Tensor<float>::zeros({8})));
  run.step(3);
  CHECK(testing::bit_equal(run.parameter(transition), run.parameter("layer2.1.bn1.w4a4.running_mean")));
  CHECK_FALSE(testing::bit_equal(run.parameter(transition), Tensor<float>::zeros({8})));
}

TEST_CASE("train: Bit-Mixer goes on from any step as if it had never stopped") {
  const train::BitMixerOptions options{.stage_steps = {2, 2, 6}};
  Run whole(options);
  for (std::uint64_t i = 0; i < 10; ++i) whole.step(i);
  for (const std::uint64_t stop : {1, 2, 3, 4, 7}) {
    CAPTURE(stop);
    Run first(options), second(options);
    for (std::uint64_t i = 0; i < stop; ++i) first.step(i);
    const auto from = first.net->parameters(), to = second.net->parameters();
    for (std::size_t i = 0; i < from.size(); ++i)
      Variable<float>(to[i].variable).value().copy_from(from[i].variable.value());
    const auto from_buffers = first.net->buffers(), to_buffers = second.net->buffers();
    for (std::size_t i = 0; i < from_buffers.size(); ++i)
      Tensor<float>(to_buffers[i].tensor).copy_from(from_buffers[i].tensor);
    const auto from_state = first.optimizer.state(), to_state = second.optimizer.state();
    for (std::size_t i = 0; i < from_state.size(); ++i)
      Tensor<float>(to_state[i].tensor).copy_from(from_state[i].tensor);
    // What was restored is evaluated as what was stopped, before any step.
    second.trainer.restored(stop);
    const auto logits = [](Run& run) {
      const NoGradGuard no_grad;
      run.net->eval();
      run.net->set_precision({2, 2});
      const Tensor<float> out = (*run.net)(Variable<float>(run.images)).value();
      run.net->train();
      return out;
    };
    CHECK(testing::bit_equal(logits(first), logits(second)));
    for (std::uint64_t i = stop; i < 10; ++i) second.step(i);
    const auto expected = whole.net->parameters(), found = second.net->parameters();
    for (std::size_t i = 0; i < expected.size(); ++i)
      CHECK_MESSAGE(testing::bit_equal(expected[i].variable.value(), found[i].variable.value()), expected[i].name);
  }
}

TEST_CASE("train: a network that went through the stages keeps its transitions, and layers draw from the first step") {
  const char* name = "layer1.0.bn1.w2a2-w4a4.weight";
  for (const bool continues : {false, true}) {
    CAPTURE(continues);
    Run run({.stage_steps = {0, 0, 10}, .continues = continues});
    CHECK(run.trainer.redraws(0) == (continues ? 0.5 : 0.0));
    run.parameter(name).fill(7);
    run.step(0);
    CHECK((run.parameter(name)(0) > 6) == continues);
  }
}

TEST_CASE("train: a step of Bit-Mixer asks the system for no memory once all widths were seen") {
  Run run({.stage_steps = {0, 8, 400}, .draws = 2, .lowest = true});
  std::uint64_t step = 0;
  for (; step < 60; ++step) run.step(step);
  const auto news = test::news.load();
  for (; step < 70; ++step) run.step(step);
  CHECK(test::news.load() - news == 0);
}

TEST_CASE("train: what Bit-Mixer cannot train is refused") {
  CHECK_THROWS_AS(Run({.stage_steps = {0, 0, 0}}), ValueError);
  CHECK_THROWS_AS(Run({.stage_steps = {1, 1, 1}, .most_redraws = 1.5}), ValueError);
  CHECK_THROWS_AS(Run({.stage_steps = {1, 1, 1}, .draws = 0}), ValueError);
  CHECK_THROWS_WITH_AS(Run({.stage_steps = {1, 1, 1}, .draws = 2}, "recursive"),
                       "BitMixerTrainer: several draws with distillation 'recursive' given, expected 'top' or 'none'",
                       ValueError);
  CHECK_THROWS_AS(Run({.stage_steps = {1, 1, 1}, .all_widths = true}, "recursive"), ValueError);
  CHECK_THROWS_WITH_AS(Run({.stage_steps = {1, 1, 1}, .lowest = true}, "recursive"),
                       "BitMixerTrainer: the lowest precision in every step with distillation 'recursive' given, "
                       "expected 'top' or 'none'",
                       ValueError);
  CHECK_THROWS_AS(Run({.stage_steps = {1, 1, 1}}, "nonesuch"), ValueError);
}
