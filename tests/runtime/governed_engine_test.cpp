#include "spnet/runtime/governed_engine.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <string>

#include "../pack/own_network.hpp"
#include "../temporary_folder.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {

const std::vector<Precision> kGoverned = parse_switches("w1a1,w4a4,w32a32");

runtime::Graph make_governed() {
  const auto net = models::make_model("resnet20", {.width = 0.25, .quantization = {.switches = kGoverned}});
  test::settle(*net, kGoverned, {4, 16, 16, 3});
  runtime::Graph graph = pack::pack(*net, {16, 16, 3}, kGoverned);
  for (std::size_t i = 0; i < 3; ++i)
    graph.accuracies[i] = runtime::Accuracy{100, 60.0 + 10.0 * static_cast<double>(i)};
  return graph;
}
std::shared_ptr<const runtime::Model> governed_model() {
  static const runtime::Graph graph = make_governed();
  return std::make_shared<const runtime::Model>(graph);
}

}  // namespace

TEST_CASE("governed_engine: runs what the governor chooses, by any clock") {
  const auto shared = governed_model();
  // A clock that goes on by what the running choice is said to take.
  auto now = std::make_shared<double>(0);
  auto calls = std::make_shared<int>(0);
  auto load = std::make_shared<double>(1);
  // Calibration asks for 3 choices twice each; later each image asks twice.
  const auto clock = [=] {
    const int call = (*calls)++;
    if (call % 2 == 1) *now += call < 12 ? 2.0 * (1 + call / 4) : *load;
    return *now;
  };
  runtime::GovernedEngine engine(shared, runtime::uniform_choices(*shared), {.latency_ms = 5},
                                 {.engine = {.threads = 1}, .governor = {}, .calibration_runs = 2, .clock = clock});
  REQUIRE(engine.candidates().size() == 3);
  CHECK(engine.candidates()[0].latency_ms == 2);
  CHECK(engine.candidates()[2].latency_ms == 6);
  CHECK(engine.candidates()[0].bytes < engine.candidates()[2].bytes);
  CHECK(engine.candidates()[0].energy < engine.candidates()[1].energy);
  CHECK(engine.candidates()[1].energy < engine.candidates()[2].energy);
  const Tensor<float> x = testing::random_normal<float>({1, 16, 16, 3}, 5);
  runtime::Engine plain(shared, {.threads = 1});
  const auto expect = [&](Precision p) {
    plain.set_precision(p);
    const Tensor<float> logits = engine.run(x);
    CHECK(engine.last_choice().name == to_string(p));
    CHECK(testing::bit_equal(logits, plain.run(x)));
  };
  *load = 4;
  for (int i = 0; i < 10; ++i) expect({4, 4});
  CHECK(engine.last_ms() == 4);
  CHECK_THROWS_AS(engine.run(testing::random_normal<float>({2, 16, 16, 3}, 5)), ShapeError);
  *load = 8;
  for (int i = 0; i < 2; ++i) expect({4, 4});
  expect({1, 1});
}

TEST_CASE("governed_engine: a budget of energy chooses among what keeps it") {
  const auto shared = governed_model();
  const auto choices = runtime::uniform_choices(*shared);
  const runtime::GovernedEngine all(shared, choices, {}, {.engine = {.threads = 1}});
  CHECK(all.governor().current() == 2);
  const Tensor<float> x = testing::random_normal<float>({1, 16, 16, 3}, 5);
  for (std::size_t i = 0; i < 3; ++i) {
    // A little more than this one takes is less than the next one does.
    runtime::GovernedEngine engine(shared, choices, {.energy = 1.01 * all.candidates()[i].energy},
                                   {.engine = {.threads = 1}});
    runtime::Engine plain(shared, {.threads = 1});
    plain.set_configuration(choices[i].configuration);
    for (int image = 0; image < 20; ++image) CHECK(testing::bit_equal(engine.run(x), plain.run(x)));
    CHECK(engine.last_choice().name == choices[i].name);
  }
  CHECK_THROWS_AS(runtime::GovernedEngine(shared, choices, {.energy = 0.5 * all.candidates()[0].energy}), ValueError);
}

TEST_CASE("governed_engine: configurations that a model carries are rungs of a finer ladder") {
  const auto shared = governed_model();
  runtime::Graph graph = shared->graph();
  runtime::Configuration between(graph.layers.size(), 1);
  between[0] = 2;
  graph.configurations = {{"measured", between, runtime::Accuracy{100, 75}}, {"not measured", between, {}}};
  const runtime::Model model(graph);
  const auto choices = runtime::model_choices(model);
  REQUIRE(choices.size() == 4);
  CHECK(choices[3].name == "measured");
  CHECK(choices[3].configuration == between);
  CHECK(choices[3].accuracy == 75);
  // Between those of all layers at one precision, it is what a governor goes to.
  runtime::Governor governor({{"low", 70, 1}, {"measured", 75, 2}, {"high", 80, 4}}, {.latency_ms = 3});
  CHECK(governor.current() == 1);
  graph.accuracies[0].reset();
  CHECK(runtime::model_choices(runtime::Model(graph)).size() == 3);
}

TEST_CASE("governed_engine: without measured accuracies choices are ranked by their bits") {
  const auto shared = governed_model();
  runtime::Graph graph = shared->graph();
  graph.accuracies[1].reset();
  const auto choices = runtime::uniform_choices(runtime::Model(graph));
  CHECK(choices[0].accuracy < choices[1].accuracy);
  CHECK(choices[1].accuracy < choices[2].accuracy);
}

TEST_CASE("governed_engine: under a budget of memory only the present choice stays expanded") {
  const auto shared = governed_model();
  const auto choices = runtime::uniform_choices(*shared);
  const runtime::EngineOptions same_kernels{.tune = false};  // which take as many bytes each time
  const runtime::GovernedEngine all(shared, choices, {}, {.engine = same_kernels});
  const std::int64_t everything = shared->cached_bytes();
  const auto fresh = governed_model();
  const double bytes = static_cast<double>(all.candidates()[1].bytes);
  // A clock that stands still but for what the second choice's images take.
  auto now = std::make_shared<double>(0);
  runtime::GovernedEngine engine(
      fresh, choices, {.latency_ms = 1e3, .bytes = bytes},
      {.engine = same_kernels, .governor = {}, .calibration_runs = 1, .clock = [=] { return *now += 1; }});
  CHECK(fresh->cached_bytes() == 0);
  // Whose weights alone are too many, and none keeps a budget of nothing: the least that is named is what one takes.
  CHECK(std::isinf(engine.candidates()[2].latency_ms));
  const double least = static_cast<double>(all.candidates()[0].bytes);
  const auto refused = [&](double most) {
    return test::error_of<ValueError>(
        [&] { runtime::GovernedEngine(fresh, choices, {.bytes = most}, {.engine = same_kernels}); });
  };
  CHECK(refused(10) ==
        message("governor: the budget of memory, 10 bytes, cannot be kept; the least is ", least, " (w1a1)"));
  CHECK(refused(least).empty());
  const Tensor<float> x = testing::random_normal<float>({1, 16, 16, 3}, 5);
  engine.run(x);
  CHECK(engine.last_choice().name == "w4a4");
  CHECK(static_cast<double>(fresh->cached_bytes()) <= bytes);
  CHECK(fresh->cached_bytes() < everything);
}
