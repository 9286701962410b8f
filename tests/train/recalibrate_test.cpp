#include "spnet/train/recalibrate.hpp"

#include <doctest/doctest.h>

#include <map>
#include <string>

#include "spnet/data/synthetic.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/nn/quantized_layer.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

TEST_CASE("train: recalibration replaces the statistics in use by those of the images, and nothing else") {
  const auto net = models::make_model(
      "resnet20",
      {.width = 0.25, .quantization = {.switches = parse_switches("w2a2,w4a4"), .norm = nn::NormKind::kTransitional}});
  net->set_precision({4, 4});
  for (const auto& l : nn::quantized_layers(*net))
    if (l.name == "layer1.1.conv1") l.layer->set_precision({2, 2});
  for (const auto& b : net->buffers()) Tensor<float>(b.tensor).fill(7);
  std::map<std::string, Tensor<float>> parameters;
  for (const auto& p : net->parameters()) parameters[p.name] = p.variable.value().clone();
  const auto set = std::make_shared<data::SyntheticDataset>(data::SyntheticOptions{.count = 48, .size = 16});
  data::Loader loader(set, {.batch_size = 16, .shuffle = false});
  CHECK(train::recalibrate_norms(*net, loader, 32) == 32);

  for (const auto& p : net->parameters()) CHECK(testing::bit_equal(p.variable.value(), parameters.at(p.name)));
  const auto is_new = [&](const std::string& name) {
    for (const auto& b : net->buffers())
      if (b.name == name + ".running_mean") return b.tensor(0) != 7.0f;
    FAIL(name);
    return false;
  };
  CHECK(is_new("bn1.w4a4"));
  CHECK(is_new("layer1.0.bn2.w4a4-w2a2"));
  CHECK(is_new("layer1.1.bn1.w2a2-w4a4"));
  CHECK_FALSE(is_new("bn1.w2a2"));
  CHECK_FALSE(is_new("layer1.1.bn1.w4a4"));
  CHECK_FALSE(is_new("layer1.1.bn1.w4a4-w2a2"));
  CHECK_FALSE(net->training());

  // Those of the first norm are the means of two batches' own.
  Tensor<float> expected;
  net->for_each([&](nn::Module& module) {
    auto* norm = dynamic_cast<nn::SwitchableBatchNorm*>(&module);
    if (!norm || expected.defined()) return;
    CHECK(norm->momentum() == 0.1);
    CHECK_FALSE(norm->training());
    expected = norm->buffers()[2].tensor;  // of w4a4
  });
  const auto* conv = dynamic_cast<nn::Conv2d*>(net->children()[0].second->children()[0].second->children()[0].second);
  REQUIRE(conv != nullptr);
  data::Loader again(set, {.batch_size = 16, .shuffle = false});
  double sum = 0;
  for (int i = 0; i < 2; ++i) {
    const auto batch = again.next();
    const Tensor<float> y = conv2d(Variable<float>(batch->images), conv->weight(), {.padding = 1}).value();
    for (std::int64_t at = 0; at < y.size(); at += y.dim(3)) sum += static_cast<double>(y.data()[at]);
    if (i == 1)
      CHECK(expected(0) == doctest::Approx(sum / (2.0 * static_cast<double>(y.size() / y.dim(3)))).epsilon(1e-3));
  }

  // Norms and weights come back as they were.
  const train::KeptState before(*net);
  std::map<std::string, Tensor<float>> values;
  for (const auto& b : net->buffers()) values[b.name] = b.tensor.clone();
  for (const auto& b : net->buffers()) Tensor<float>(b.tensor).fill(7);
  for (const auto& p : net->parameters()) Variable<float>(p.variable).value().fill(7);
  before.restore();
  for (const auto& b : net->buffers()) CHECK(testing::bit_equal(b.tensor, values.at(b.name)));
  for (const auto& p : net->parameters()) CHECK(testing::bit_equal(p.variable.value(), parameters.at(p.name)));

  data::Loader none(set, {.batch_size = 16, .shuffle = false});
  CHECK_THROWS_AS(train::recalibrate_norms(*net, none, 0), ValueError);
}
