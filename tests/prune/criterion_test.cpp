#include "spnet/prune/criterion.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "../pack/own_network.hpp"
#include "spnet/models/mobilenet_v1.hpp"
#include "spnet/models/resnet.hpp"

using namespace spnet;
using prune::CriterionOptions;
using prune::Kernels;
using prune::Measure;
using prune::Order;

namespace {

struct Ranked {
  explicit Ranked(const char* model = "resnet20", const char* switches_text = "w1a2",
                  nn::Quantization quantization = {})
      : switches(parse_switches(switches_text)) {
    quantization.switches = switches;
    net = models::make_model(model, {.width = 0.25, .quantization = quantization});
    graph = prune::channel_graph(*net, {8, 8, 3}, switches);
  }
  std::size_t group(const std::string& name) const {
    for (std::size_t g = 0; g < graph.groups.size(); ++g)
      if (graph.groups[g].name == name) return g;
    return graph.groups.size();
  }
  Tensor<float> weight(const std::string& name) const {
    for (const auto& p : net->parameters())
      if (p.name == name) return p.variable.value();
    return {};
  }
  std::vector<double> scores(const std::string& name, CriterionOptions options = {}) const {
    return prune::channel_scores(graph, group(name), switches, options);
  }

  std::vector<Precision> switches;
  std::unique_ptr<nn::Classifier> net;
  prune::ChannelGraph graph;
};

}  // namespace

TEST_CASE("prune: the angle of binary kernels is that of the paper's formula, over the next layer's kernels") {
  const Ranked f;
  const Tensor<float> w = f.weight("layer1.0.conv2.weight");
  const auto scores = f.scores("layer1.0.conv1");
  REQUIRE(scores.size() == 4);
  for (std::int64_t c = 0; c < 4; ++c) {
    double mean = 0;
    for (std::int64_t o = 0; o < 4; ++o) {
      double one = 0, two = 0;
      for (std::int64_t i = 0; i < 3; ++i)
        for (std::int64_t j = 0; j < 3; ++j) {
          const auto v = static_cast<double>(w(o, i, j, c));
          one += std::abs(v);
          two += v * v;
        }
      mean += std::acos(one / (std::sqrt(two) * 3)) / 4;
    }
    CHECK(scores[static_cast<std::size_t>(c)] == doctest::Approx(mean).epsilon(1e-5));
  }
}

TEST_CASE("prune: the distance over own filters, and the mean over switches") {
  const CriterionOptions options{.measure = Measure::kDistance, .kernels = Kernels::kOwn};
  const auto distance = [&](const Ranked& f, int bits, std::int64_t c) {
    const Tensor<float> w = f.weight("layer1.0.conv1.weight");
    const auto quantizer = make_weight_quantizer("dorefa", {});
    const Tensor<float> q = ops::decode(quantizer->lower(w, bits, false));
    double sum = 0;
    for (std::int64_t k = 0; k < 9; ++k)
      for (std::int64_t i = 0; i < 4; ++i) {
        const auto d = static_cast<double>(w(c, k / 3, k % 3, i) - q(c, k / 3, k % 3, i));
        sum += d * d / 4;
      }
    return sum;
  };
  const Ranked one, both("resnet20", "w1a2,w4a4,w4a2,w32a32");
  for (std::int64_t c = 0; c < 4; ++c) {
    const auto at = static_cast<std::size_t>(c);
    CHECK(one.scores("layer1.0.conv1", options)[at] == doctest::Approx(distance(one, 1, c)));
    CHECK(both.scores("layer1.0.conv1", options)[at] ==
          doctest::Approx((distance(both, 1, c) + distance(both, 4, c)) / 2));
  }
}

TEST_CASE("prune: where the next layer is float, a channel's own filters count") {
  const Ranked f;
  const std::string last = "layer3.0.downsample.0+layer3.0.conv2+layer3.1.conv2+layer3.2.conv2";
  // Read by layers of the stage as well; so look at a network where nothing else reads.
  const Ranked mobile("mobilenet_v1");
  std::string name;
  for (const auto& g : mobile.graph.groups)
    if (g.obstacle.empty()) name = g.name;
  CHECK(mobile.scores(name) == mobile.scores(name, {.kernels = Kernels::kOwn}));
  CHECK(f.scores(last) != f.scores(last, {.kernels = Kernels::kOwn}));
}

TEST_CASE("prune: a float network has no scores") {
  const auto net = models::make_model("resnet20", {.width = 0.25});
  const auto graph = prune::channel_graph(*net, {8, 8, 3}, {});
  for (std::size_t g = 0; g < graph.groups.size(); ++g) CHECK(prune::channel_scores(graph, g, {{2, 2}}, {}).empty());
}

TEST_CASE("prune: orders of channels, and what they leave") {
  const std::vector<double> scores{0.3, 0.9, 0.1, 0.9};
  CHECK(prune::pruning_order(scores, {}) == prune::Channels{1, 3, 0, 2});
  CHECK(prune::pruning_order(scores, {.order = Order::kSmallest}) == prune::Channels{2, 0, 1, 3});
  auto random = prune::pruning_order(scores, {.order = Order::kRandom, .seed = 3});
  CHECK(random == prune::pruning_order(scores, {.order = Order::kRandom, .seed = 3}));
  CHECK(prune::kept_without({1, 3, 0, 2}, 1) == prune::Channels{0, 2, 3});
  CHECK(prune::kept_without(random, 0) == prune::Channels{0, 1, 2, 3});
}
