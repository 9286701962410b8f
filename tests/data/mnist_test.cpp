#include "spnet/data/mnist.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "image_files.hpp"

using namespace spnet;
using test::file_error;

namespace {
void append_size(std::vector<std::uint8_t>& out, std::uint32_t size) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(size >> shift));
}
// Image i of 2×3 pixels, all of them 10·i.
std::vector<std::uint8_t> images(int count) {
  std::vector<std::uint8_t> out{0, 0, 8, 3};
  append_size(out, static_cast<std::uint32_t>(count));
  append_size(out, 2);
  append_size(out, 3);
  for (int i = 0; i < count; ++i) out.insert(out.end(), 6, static_cast<std::uint8_t>(10 * i));
  return out;
}
std::vector<std::uint8_t> labels(std::vector<std::uint8_t> values) {
  std::vector<std::uint8_t> out{0, 0, 8, 1};
  append_size(out, static_cast<std::uint32_t>(values.size()));
  out.insert(out.end(), values.begin(), values.end());
  return out;
}
std::vector<std::uint8_t> packed(std::vector<std::uint8_t> bytes) {
  bytes.insert(bytes.begin(), {'G', 'Z'});
  return bytes;
}
void write_mnist(const test::TemporaryFolder& folder) {
  folder.write("train-images-idx3-ubyte", images(3));
  folder.write("train-labels-idx1-ubyte", labels({7, 0, 9}));
  folder.write("t10k-images-idx3-ubyte", images(2));
  folder.write("t10k-labels-idx1-ubyte", labels({1, 2}));
}
}  // namespace

TEST_CASE("data: MNIST is read from plain and packed files, under both ways of writing their names") {
  const test::TemporaryFolder plain, other;
  write_mnist(plain);
  other.write("train-images.idx3-ubyte", images(3));
  other.write("train-labels-idx1-ubyte.gz", packed(labels({7, 0, 9})));
  other.write("t10k-images-idx3-ubyte.gz", packed(images(2)));
  other.write("t10k-labels.idx1-ubyte", labels({1, 2}));
  for (const auto* folder : {&plain, &other}) {
    const data::DataSplits splits = data::open_mnist(folder->path(), test::test_codecs());
    CHECK(splits.train->size() == 3);
    CHECK(splits.test->size() == 2);
    CHECK(splits.train->image_size() == data::ImageSize{2, 3});
    const data::Sample sample = splits.train->get(2);
    CHECK(sample.label == 9);
    CHECK(sample.image.data()[17] == 20);
    CHECK(splits.test->get(1).label == 2);
  }
  CHECK_THROWS_WITH_AS(data::open_mnist(other.path()),
                       (other / "train-labels-idx1-ubyte.gz: the program has no decoder for .gz files").c_str(),
                       ValueError);
}

TEST_CASE("data: MNIST files that are cut off at any byte are refused by name") {
  const test::TemporaryFolder folder;
  write_mnist(folder);
  for (const auto& [name, whole] :
       {std::pair<std::string, std::vector<std::uint8_t>>{"train-images-idx3-ubyte", images(3)},
        {"train-labels-idx1-ubyte", labels({7, 0, 9})}}) {
    for (std::size_t length = 0; length < whole.size(); ++length) {
      folder.write(name, std::span(whole).first(length));
      REQUIRE(file_error([&] { data::open_mnist(folder.path()); }).starts_with(folder / name + ": "));
      // What is whole may be used, on demand; never a crash.
      file_error([&] { data::open_mnist(folder.path(), {}, {.skip_bad = true}).train->get(0); });
    }
    folder.write(name, whole);
  }
  folder.write("train-images-idx3-ubyte.gz", "GX");
  std::filesystem::remove(folder.path() / "train-images-idx3-ubyte");
  CHECK(file_error([&] { data::open_mnist(folder.path(), test::test_codecs()); }) ==
        folder / "train-images-idx3-ubyte.gz: not packed");
}

TEST_CASE("data: MNIST headers that lie are refused before anything is allocated") {
  const test::TemporaryFolder folder;
  write_mnist(folder);
  const auto with = [&](std::size_t at, std::uint8_t value) {
    std::vector<std::uint8_t> bytes = images(3);
    bytes[at] = value;
    folder.write("train-images-idx3-ubyte", bytes);
    return file_error([&] { data::open_mnist(folder.path()); });
  };
  const std::string name = folder / "train-images-idx3-ubyte: ";
  CHECK(with(2, 13) == name + "not an IDX file of unsigned bytes with 3 sizes");
  CHECK(with(3, 1) == name + "not an IDX file of unsigned bytes with 3 sizes");
  CHECK(with(4, 255) == name + "18 bytes of elements, the header says 25669140498");
  CHECK(with(8, 255) == name + "size 4278190082 on axis 1");
  CHECK(with(11, 0) == name + "size 0 on axis 1");
  CHECK(with(7, 2) == name + "18 bytes of elements, the header says 12");
  std::vector<std::uint8_t> huge{0, 0, 8, 3, 255, 255, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255};
  folder.write("train-images-idx3-ubyte", huge);
  CHECK(file_error([&] { data::open_mnist(folder.path()); }).starts_with(name + "0 bytes of elements"));
}

TEST_CASE("data: MNIST labels out of range and counts that differ are named, or skipped and listed") {
  const test::TemporaryFolder folder;
  write_mnist(folder);
  folder.write("train-labels-idx1-ubyte", labels({7, 10, 9}));
  CHECK(file_error([&] { data::open_mnist(folder.path()); }) == folder / "train, record 1: label 10, expected 0 to 9");
  const data::DataSplits skipped = data::open_mnist(folder.path(), {}, {.skip_bad = true});
  CHECK(skipped.train->size() == 2);
  CHECK(skipped.train->get(1).label == 9);
  CHECK(skipped.train->faults().size() == 1);
  folder.write("train-labels-idx1-ubyte", labels({7, 1}));
  CHECK(file_error([&] { data::open_mnist(folder.path()); }) == folder / "train: 3 images, but 2 labels");
  CHECK(data::open_mnist(folder.path(), {}, {.skip_bad = true}).train->size() == 2);
  std::filesystem::remove(folder.path() / "t10k-images-idx3-ubyte");
  CHECK(file_error([&] { data::open_mnist(folder.path(), {}, {.skip_bad = true}); }) ==
        folder / "t10k-images-idx3-ubyte: no such file, nor with .gz");
}
