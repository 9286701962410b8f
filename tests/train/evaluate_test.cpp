#include "spnet/train/evaluate.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "spnet/data/synthetic.hpp"
#include "spnet/models/resnet.hpp"

using namespace spnet;

TEST_CASE("train: the first highest logit decides") {
  const auto logits = Tensor<float>::from({3, 3}, {1, 2, 0, 5, 5, 1, 0, 0, 3});
  CHECK(train::count_correct(logits, Tensor<std::int32_t>::from({3}, {1, 0, 2})) == 3);
  CHECK(train::count_correct(logits, Tensor<std::int32_t>::from({3}, {1, 1, 0})) == 1);
  CHECK_THROWS_AS(train::count_correct(logits, Tensor<std::int32_t>::from({2}, {1, 1})), ShapeError);
}

TEST_CASE("train: evaluation counts every image at every switch and changes nothing") {
  const auto switches = parse_switches("w1a1,w32a32");
  const auto net = models::make_model("resnet20", {.width = 0.25, .quantization = {.switches = switches}});
  const auto set = std::make_shared<data::SyntheticDataset>(
      data::SyntheticOptions{.count = 50, .split = data::Split::kTest, .size = 16});
  data::Loader loader(set, {.batch_size = 16, .shuffle = false});
  std::vector<Tensor<float>> before;
  for (const auto& b : net->buffers()) before.push_back(b.tensor.clone());

  std::int64_t seen = 0;
  const auto results = train::evaluate(*net, switches, loader, [&](std::int64_t images) {
    seen = images;
    return true;
  });
  CHECK(seen == 50);
  REQUIRE(results.size() == 2);
  for (const auto& r : results) {
    CHECK(r.images == 50);
    CHECK(r.correct >= 0);
    CHECK(r.seconds > 0);
    CHECK(r.top1_percent() == doctest::Approx(2.0 * static_cast<double>(r.correct)));
  }
  CHECK(net->training());
  const auto after = net->buffers();
  for (std::size_t i = 0; i < after.size(); ++i) CHECK(std::ranges::equal(before[i].span(), after[i].tensor.span()));

  loader.seek({0, 0});
  const auto stopped = train::evaluate(*net, switches, loader, [](std::int64_t) { return false; });
  CHECK(stopped[0].images == 16);
}

TEST_CASE("train: logits that are not finite are no answer") {
  const auto switches = parse_switches("w2a2,w32a32");
  const auto net = models::make_model("resnet20", {.width = 0.25, .quantization = {.switches = switches}});
  for (auto& p : net->parameters())
    if (p.name == "fc.bias") p.variable.value()(3) = std::numeric_limits<float>::quiet_NaN();
  const auto set = std::make_shared<data::SyntheticDataset>(
      data::SyntheticOptions{.count = 8, .split = data::Split::kTest, .size = 16});
  data::Loader loader(set, {.batch_size = 8, .shuffle = false});
  CHECK_THROWS_WITH_AS(train::evaluate(*net, switches, loader), doctest::Contains("at switch w2a2: the logits of image 0"),
                       NumericError);
}
