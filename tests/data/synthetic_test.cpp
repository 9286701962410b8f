#include "spnet/data/synthetic.hpp"

#include <doctest/doctest.h>

#include <set>
#include <vector>

using namespace spnet;
using data::SyntheticDataset;

TEST_CASE("data: a synthetic image is a pure function of seed, split and index") {
  const SyntheticDataset a({.count = 40, .seed = 7}), longer({.count = 400, .seed = 7});
  const SyntheticDataset other({.count = 40, .seed = 8}), test({.count = 40, .seed = 7, .split = data::Split::kTest});
  for (std::int64_t index : {39, 0, 17}) {
    const data::Sample sample = a.get(index);
    CHECK(sample.label == index % 10);
    CHECK(sample.image.size() == data::ImageSize{32, 32});
    CHECK(sample.image == a.get(index).image);
    CHECK(sample.image == longer.get(index).image);
    CHECK_FALSE(sample.image == other.get(index).image);
    CHECK_FALSE(sample.image == test.get(index).image);
    CHECK_FALSE(sample.image == a.get((index + 10) % 40).image);
  }
}

TEST_CASE("data: synthetic images use the whole range and every class") {
  const SyntheticDataset set({.count = 50});
  CHECK(set.classes().size() == 10);
  CHECK(std::set<std::string>(set.classes().begin(), set.classes().end()).size() == 10);
  for (std::int64_t i = 0; i < set.size(); ++i) {
    const data::Sample sample = set.get(i);
    std::set<std::uint8_t> levels(sample.image.data(), sample.image.data() + sample.image.bytes());
    CHECK(levels.size() > 30);
  }
}

TEST_CASE("data: synthetic sizes, class counts and difficulties") {
  for (std::int64_t size : {8, 33, 96}) {
    const SyntheticDataset set({.count = 6, .size = size, .classes = 3, .difficulty = 1});
    CHECK(set.image_size() == data::ImageSize{size, size});
    CHECK(set.get(5).label == 2);
    CHECK(set.get(5).image.bytes() == size * size * 3);
  }
  CHECK_FALSE(SyntheticDataset({.difficulty = 0}).get(3).image == SyntheticDataset({.difficulty = 1}).get(3).image);
}

TEST_CASE("data: a clean flat disc is what it says") {
  data::Nuisance clean;
  clean.contrast = 0.5f;
  clean.least_radius = clean.most_radius = 0.4f;
  const SyntheticDataset set({.count = 10}, clean);
  const data::Image disc = set.get(0).image, ring = set.get(3).image;
  const auto pixel = [](const data::Image& image, std::int64_t y, std::int64_t x) {
    return std::vector<std::uint8_t>(image.row(y) + 3 * x, image.row(y) + 3 * x + 3);
  };
  CHECK(pixel(disc, 16, 16) == pixel(disc, 16, 24));
  CHECK(pixel(disc, 16, 16) != pixel(disc, 0, 0));
  CHECK(pixel(ring, 16, 25) != pixel(ring, 16, 16));
}

TEST_CASE("data: synthetic options outside their range are refused") {
  CHECK_THROWS_WITH_AS(SyntheticDataset({.count = 0}), "SyntheticDataset: 0 images given, expected at least 1",
                       ValueError);
  CHECK_THROWS_AS(SyntheticDataset({.size = 4}), ValueError);
  CHECK_THROWS_AS(SyntheticDataset({.classes = 11}), ValueError);
  CHECK_THROWS_WITH_AS(SyntheticDataset({.difficulty = 2}), "Nuisance: difficulty 2 given, expected 0 to 1",
                       ValueError);
  CHECK_THROWS_WITH_AS(SyntheticDataset({.count = 5}).get(5), "Dataset: index 5 given, expected 0 to 4", ValueError);
  CHECK_THROWS_AS(SyntheticDataset({.count = 5}).get(-1), ValueError);
}
