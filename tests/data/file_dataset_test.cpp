#include "spnet/data/file_dataset.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "image_files.hpp"
#include "spnet/data/loader.hpp"

using namespace spnet;
using test::file_error;

namespace {
data::FileDataset open_files(const test::TemporaryFolder& folder, std::vector<data::ImageFile> files,
                       data::OpenOptions options = {}) {
  return data::FileDataset(folder.path(), {"a", "b"}, std::move(files), test::test_codecs(), options,
                           data::FaultLog(options.skip_bad));
}
}  // namespace

TEST_CASE("data: image files are decoded when they are read; one size is found out, several are said to differ") {
  const test::TemporaryFolder folder;
  folder.write("x.png", test::image_bytes(4, 5, 9));
  folder.write("y.png", test::image_bytes(4, 5, 7));
  folder.write("z.png", test::image_bytes(6, 5, 7));
  const data::FileDataset same = open_files(folder, {{"x.png", 1}, {"y.png", 0}});
  CHECK(same.image_size() == data::ImageSize{4, 5});
  CHECK(same.get(0).label == 1);
  CHECK(same.get(0).image.data()[0] == 9);
  CHECK(same.name(1) == folder / "y.png");
  CHECK_THROWS_AS(same.get(2), ValueError);
  const auto mixed = std::make_shared<data::FileDataset>(
      folder.path(), std::vector<std::string>{"a"}, std::vector<data::ImageFile>{{"x.png", 0}, {"z.png", 0}},
      test::test_codecs(), data::OpenOptions{}, data::FaultLog(false));
  CHECK_FALSE(mixed->image_size().known());
  CHECK_THROWS_WITH_AS(data::Loader(mixed, {}),
                       "Augmentation: the images differ in size; give the size they are to have", ValueError);
  data::Loader loader(mixed, {.augmentation = {.size = {3, 3}}});
  CHECK(loader.next()->images.shape() == Shape{2, 3, 3, 3});
}

TEST_CASE("data: an image file that is cut off at any byte is refused by name, or skipped and listed once") {
  const test::TemporaryFolder folder;
  folder.write("good.png", test::image_bytes(2, 2, 1));
  const std::vector<std::uint8_t> whole = test::image_bytes(2, 2, 3);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    folder.write("bad.png", std::span(whole).first(length));
    REQUIRE(file_error([&] { open_files(folder, {{"good.png", 0}, {"bad.png", 0}}); }).starts_with(folder / "bad.png: "));
    const data::FileDataset skipping = open_files(folder, {{"good.png", 0}, {"bad.png", 0}}, {.skip_bad = true});
    data::Sample sample;
    CHECK(skipping.read(0, sample));
    CHECK_FALSE(skipping.read(1, sample));
    CHECK_FALSE(skipping.read(1, sample));
    REQUIRE(skipping.faults().size() == 1);
    CHECK(skipping.faults()[0].name == folder / "bad.png");
    CHECK_THROWS_WITH_AS(skipping.get(1), (folder / "bad.png: a bad image, skipped").c_str(), FileError);
  }
}

TEST_CASE("data: missing, oversized and undecodable image files say what is wrong") {
  const test::TemporaryFolder folder;
  folder.write("good.png", test::image_bytes(4, 4, 1));
  CHECK(file_error([&] { open_files(folder, {{"none.png", 0}}); }) == folder / "none.png: no such file");
  CHECK(file_error([&] {
          open_files(folder, {{"good.png", 0}}, {.max_pixels = 15});
        }) == folder / "good.png: too many pixels");
  CHECK(file_error([&] {
          open_files(folder, {{"good.png", 0}}, {.max_file_bytes = 20});
        }) == folder / "good.png: 53 bytes, at most 20 are read");
  CHECK(file_error([&] { open_files(folder, {}); }) == folder.path().string() + ": holds no image");
  const data::FileDataset missing = open_files(folder, {{"good.png", 0}, {"none.png", 0}}, {.skip_bad = true});
  CHECK(missing.faults().at(0).reason == "no such file");
  CHECK_THROWS_WITH_AS(data::FileDataset(folder.path(), {"a"}, {{"good.png", 0}}, {}, {}, data::FaultLog(false)),
                       (folder.path().string() + ": the program has no decoder for image files").c_str(), ValueError);
}

TEST_CASE("data: a bad file deep in a set surfaces while loading, or leaves its batch smaller") {
  const test::TemporaryFolder folder;
  std::vector<data::ImageFile> files;
  for (int i = 0; i < 40; ++i) {
    files.push_back({message("i", i, ".png"), i % 2});
    folder.write(files.back().path, test::image_bytes(2, 2, static_cast<std::uint8_t>(i)));
  }
  folder.write("i13.png", "IM");
  const auto make = [&](bool skip) {
    return std::make_shared<data::FileDataset>(folder.path(), std::vector<std::string>{"a", "b"}, files,
                                               test::test_codecs(), data::OpenOptions{.skip_bad = skip},
                                               data::FaultLog(skip));
  };
  data::Loader strict(make(false), {.batch_size = 10, .shuffle = false, .workers = 2});
  CHECK(strict.next()->size() == 10);
  CHECK_THROWS_WITH_AS(strict.next(), (folder / "i13.png: not an image").c_str(), FileError);
  const auto set = make(true);
  data::Loader lenient(set, {.batch_size = 10, .shuffle = false, .workers = 2});
  std::vector<std::int64_t> sizes;
  for (int epoch = 0; epoch < 2; ++epoch)
    while (auto batch = lenient.next()) sizes.push_back(batch->size());
  CHECK(sizes == std::vector<std::int64_t>{10, 9, 10, 10, 10, 9, 10, 10});
  CHECK(set->faults().size() == 1);
}
