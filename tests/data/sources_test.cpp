#include "spnet/data/sources.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "image_files.hpp"

using namespace spnet;

TEST_CASE("data: the built-in set opens by name, with and without arguments") {
  const data::DataSplits plain = data::open_dataset("synthetic");
  CHECK(plain.train->classes().size() == 10);
  CHECK(plain.train->image_size() == data::ImageSize{32, 32});
  CHECK_FALSE(plain.train->get(0).image == plain.test->get(0).image);
  const data::DataSplits small =
      data::open_dataset("synthetic:train=30,test=20,size=16,classes=4,seed=5,difficulty=0.75");
  CHECK(small.train->size() == 30);
  CHECK(small.test->size() == 20);
  CHECK(small.train->get(7).label == 3);
  CHECK(small.train->get(7).image ==
        data::SyntheticDataset({.count = 30, .seed = 5, .size = 16, .classes = 4, .difficulty = 0.75f}).get(7).image);
  CHECK_THROWS_WITH_AS(data::open_dataset("synthetic:train=x"), "synthetic: \"train=x\" given, expected train=NUMBER",
                       ValueError);
  CHECK_THROWS_AS(data::open_dataset("synthetic:train="), ValueError);
  CHECK_THROWS_AS(data::open_dataset("synthetic:train"), ValueError);
  CHECK_THROWS_WITH_AS(data::open_dataset("synthetic:colour=2"),
                       "synthetic: \"colour\" is not known; known are train, test, difficulty, seed, size, classes",
                       ValueError);
}

TEST_CASE("data: every kind opens by name and path") {
  const test::TemporaryFolder folder;
  for (const char* name : {"f/train/a/1.png", "f/val/a/1.png"}) folder.write(name, test::image_bytes(3, 3, 8));
  const data::DataSplits splits = data::open_dataset("folder:" + (folder / "f"), test::test_codecs());
  CHECK(splits.train->size() == 1);
  const auto cached = std::dynamic_pointer_cast<const data::CachedDataset>(splits.train);
  REQUIRE(cached);
  CHECK(cached->get(0).image.data()[0] == 8);
  CHECK(cached->cached_bytes() == 27);
  CHECK_FALSE(std::dynamic_pointer_cast<const data::CachedDataset>(
      data::open_dataset("folder:" + (folder / "f"), test::test_codecs(), {.cache_bytes = 0}).train));
  for (const char* name : {"cifar10", "cifar100", "mnist", "folder", "tiny-imagenet"}) {
    CHECK_THROWS_AS(data::open_dataset(std::string(name) + ":" + (folder / "none"), test::test_codecs()), FileError);
    CHECK_THROWS_WITH_AS(data::open_dataset(name),
                         message("open_dataset: ", name, " needs a path: ", name, ":PATH").c_str(), ValueError);
  }
}

TEST_CASE("data: an unknown name lists the known ones, and a program may add its own") {
  CHECK_THROWS_WITH_AS(data::open_dataset("imagenet:/here"),
                       "open_dataset: \"imagenet\" is not known; known are cifar10:PATH, cifar100:PATH, folder:PATH, "
                       "mnist:PATH, synthetic, tiny-imagenet:PATH",
                       ValueError);
  data::register_dataset(
      "twins", "twins:COUNT", [](const std::string& argument, const data::Codecs&, const data::OpenOptions&) {
        const auto set =
            std::make_shared<data::SyntheticDataset>(data::SyntheticOptions{.count = std::stoi(argument), .size = 8});
        return data::DataSplits{set, set};
      });
  CHECK(data::open_dataset("twins:12").train->size() == 12);
  const std::vector<std::string> usages = data::dataset_usages();
  CHECK(std::find(usages.begin(), usages.end(), "twins:COUNT") != usages.end());
  CHECK_THROWS_WITH_AS(
      data::register_dataset("synthetic", "", data::DatasetOpener([](auto&&...) { return data::DataSplits{}; })),
      "register_dataset: \"synthetic\" is there already", ValueError);
  CHECK_THROWS_AS(data::register_dataset("a:b", "", nullptr), ValueError);
}
