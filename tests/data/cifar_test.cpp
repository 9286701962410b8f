#include "spnet/data/cifar.hpp"

#include <doctest/doctest.h>

#include <span>
#include <string>
#include <vector>

#include "image_files.hpp"

using namespace spnet;
using test::file_error;

namespace {
// Record i: label (i + 1) mod 10 (coarse label i before it), planes of i, i + 100, i + 200.
std::vector<std::uint8_t> records(int count, bool coarse = false) {
  std::vector<std::uint8_t> out;
  for (int i = 0; i < count; ++i) {
    if (coarse) out.push_back(static_cast<std::uint8_t>(i));
    out.push_back(static_cast<std::uint8_t>((i + 1) % 10 + (coarse ? 90 : 0)));
    for (int plane = 0; plane < 3; ++plane) out.insert(out.end(), 1024, static_cast<std::uint8_t>(i + 100 * plane));
  }
  return out;
}
const std::string kNames = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
}  // namespace

TEST_CASE("data: CIFAR-10 is read from its binary files, in the order of their names") {
  const test::TemporaryFolder folder;
  for (const char* where : {"", "below/cifar-10-batches-bin/"}) {
    const std::string prefix = where;
    folder.write(prefix + "data_batch_2.bin", records(1));
    folder.write(prefix + "data_batch_1.bin", records(3));
    folder.write(prefix + "test_batch.bin", records(2));
    folder.write(prefix + "batches.meta.txt", kNames);
    const data::DataSplits splits = data::open_cifar10(folder.path() / (prefix.empty() ? "" : "below"));
    CHECK(splits.train->size() == 4);
    CHECK(splits.test->size() == 2);
    CHECK(splits.train->classes().size() == 10);
    CHECK(splits.test->classes()[3] == "cat");
    const data::Sample sample = splits.train->get(2);
    CHECK(sample.label == 3);
    CHECK(sample.image.data()[3 * 1023] == 2);
    CHECK(sample.image.data()[3 * 1023 + 1] == 102);
    CHECK(sample.image.data()[3 * 1023 + 2] == 202);
    CHECK(splits.train->get(3).label == 1);
    CHECK(splits.train->name(3) == folder / (prefix + "data_batch_2.bin, record 0"));
  }
}

TEST_CASE("data: CIFAR-100 takes the fine labels; names are optional") {
  const test::TemporaryFolder folder;
  folder.write("train.bin", records(3, true));
  folder.write("test.bin", records(1, true));
  const data::DataSplits splits = data::open_cifar100(folder.path());
  CHECK(splits.train->size() == 3);
  CHECK(splits.train->classes().size() == 100);
  CHECK(splits.train->get(1).label == 92);
  CHECK(splits.train->get(1).image.data()[1] == 101);
}

TEST_CASE("data: CIFAR files that end anywhere inside a record are refused by name") {
  const test::TemporaryFolder folder;
  folder.write("data_batch_1.bin", records(1));
  const std::vector<std::uint8_t> whole = records(1);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    folder.write("test_batch.bin", std::span(whole).first(length));
    const std::string error = file_error([&] { data::open_cifar10(folder.path()); });
    REQUIRE(error ==
            folder / message("test_batch.bin: ", length, " bytes, expected a whole number of records of 3073 bytes"));
  }
}

TEST_CASE("data: bad CIFAR records are named, or skipped and listed") {
  const test::TemporaryFolder folder;
  std::vector<std::uint8_t> bytes = records(4);
  bytes[3073] = 10;
  bytes.resize(bytes.size() - 5);
  folder.write("data_batch_1.bin", bytes);
  folder.write("test_batch.bin", records(1));
  CHECK(file_error([&] { data::open_cifar10(folder.path()); }).starts_with(folder / "data_batch_1.bin: 12287 bytes"));
  const data::DataSplits splits = data::open_cifar10(folder.path(), {.skip_bad = true});
  CHECK(splits.train->size() == 2);
  CHECK(splits.train->get(1).label == 3);
  REQUIRE(splits.train->faults().size() == 2);
  CHECK(splits.train->faults()[1].name == folder / "data_batch_1.bin, record 1");
  CHECK(splits.train->faults()[1].reason == "label 10, expected 0 to 9");
  CHECK(splits.test->faults().empty());

  bytes.resize(2 * 3073);
  folder.write("data_batch_1.bin", bytes);
  CHECK(file_error([&] { data::open_cifar10(folder.path()); }) ==
        folder / "data_batch_1.bin, record 1: label 10, expected 0 to 9");
  folder.write("data_batch_1.bin", "");
  CHECK(file_error([&] { data::open_cifar10(folder.path(), {.skip_bad = true}); }) ==
        folder.path().string() + ": 0 training and 1 test images, expected at least one of each");
}

TEST_CASE("data: a CIFAR-10 batch missing between others is named") {
  const test::TemporaryFolder folder;
  folder.write("data_batch_1.bin", records(1));
  folder.write("data_batch_3.bin", records(1));
  folder.write("test_batch.bin", records(1));
  CHECK(file_error([&] { data::open_cifar10(folder.path()); }).starts_with(folder / "data_batch_2.bin"));
}

TEST_CASE("data: missing CIFAR files and wrong name lists are refused") {
  const test::TemporaryFolder folder;
  CHECK(file_error([&] { data::open_cifar10(folder / "none"); }) == folder / "none: no such folder");
  CHECK(file_error([&] { data::open_cifar10(folder.path()); }) == folder / "test_batch.bin: no such file");
  folder.write("train/cat/1.jpg", "x");
  CHECK(file_error([&] { data::open_cifar10(folder.path()); }) ==
        folder / "test_batch.bin: no such file; for a folder of images use folder:PATH");
  folder.write("test.bin", records(1, true));
  CHECK(file_error([&] { data::open_cifar100(folder.path()); }) == folder / "train.bin: no such file");
  folder.write("test_batch.bin", records(1));
  folder.write("data_batch_1.bin", records(1));
  folder.write("batches.meta.txt", "cat\ndog\n");
  CHECK(file_error([&] { data::open_cifar10(folder.path()); }) == folder / "batches.meta.txt: 2 names, expected 10");
  folder.write("batches.meta.txt", kNames);
  CHECK(file_error([&] { data::open_cifar10(folder.path(), {.max_file_bytes = 3000}); }) ==
        folder / "data_batch_1.bin: 3073 bytes, at most 3000 are read");
}
