#include "spnet/data/tiny_imagenet.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "image_files.hpp"

using namespace spnet;
using test::file_error;

namespace {
const std::string kAnnotations =
    "val_1.JPEG\tn02\t0\t0\t3\t3\nval_0.JPEG\tn01\t0\t32\t44\t62\nval_2.JPEG\tn02\t1\t1\t2\t2\n";

void write_tiny(const test::TemporaryFolder& folder) {
  folder.write("wnids.txt", "n02\nn01\n");
  folder.write("words.txt", "n00\tnothing\nn01\tgoldfish, Carassius auratus\nn99\tother\n");
  for (const char* name : {"train/n01/images/n01_0.JPEG", "train/n02/images/n02_1.JPEG", "train/n02/images/n02_0.JPEG",
                           "val/images/val_0.JPEG", "val/images/val_1.JPEG", "val/images/val_2.JPEG"})
    folder.write(name, test::image_bytes(2, 2, 1));
  folder.write("val/val_annotations.txt", kAnnotations);
}
data::DataSplits open_tiny(const test::TemporaryFolder& folder, bool skip_bad = false) {
  return data::open_tiny_imagenet(folder.path(), test::test_codecs(), {.skip_bad = skip_bad});
}
}  // namespace

TEST_CASE("data: Tiny ImageNet's layout is read; labels follow wnids.txt, files their names") {
  const test::TemporaryFolder folder;
  write_tiny(folder);
  const data::DataSplits splits = open_tiny(folder);
  CHECK(splits.train->classes() == std::vector<std::string>{"n02", "goldfish, Carassius auratus"});
  CHECK(splits.train->size() == 3);
  CHECK(splits.train->name(0) == folder / "train/n01/images/n01_0.JPEG");
  CHECK(splits.train->get(0).label == 1);
  CHECK(splits.train->name(1) == folder / "train/n02/images/n02_0.JPEG");
  CHECK(splits.train->get(1).label == 0);
  CHECK(splits.test->size() == 3);
  CHECK(splits.test->name(0) == folder / "val/images/val_0.JPEG");
  CHECK(splits.test->get(0).label == 1);
  CHECK(splits.test->get(2).label == 0);
}

TEST_CASE("data: Tiny ImageNet lists that are cut off at any byte are refused by name") {
  const test::TemporaryFolder folder;
  write_tiny(folder);
  const std::string_view whole = kAnnotations;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    folder.write("val/val_annotations.txt", whole.substr(0, length));
    const std::string error = file_error([&] { open_tiny(folder); });
    // The box behind the class is not read: a cut in that of the last line loses nothing.
    const bool complete = length >= whole.rfind("n02") + 3;
    REQUIRE(error.empty() == complete);
    REQUIRE((complete || error.starts_with(folder / "val")));
  }
  write_tiny(folder);
  for (std::string_view wnids : {"", "n", "n0", "n02", "n02\n", "n02\nn", "n02\nn0"}) {
    folder.write("wnids.txt", wnids);
    REQUIRE_FALSE(file_error([&] { open_tiny(folder); }).empty());
  }
}

TEST_CASE("data: faults in Tiny ImageNet's files are named, or skipped and listed") {
  const test::TemporaryFolder folder;
  const auto with = [&](std::string_view annotations) {
    folder.write("val/val_annotations.txt", annotations);
    return file_error([&] { open_tiny(folder); });
  };
  write_tiny(folder);
  const std::string name = folder / "val/val_annotations.txt, line ";
  CHECK(with("val_0.JPEG\tn77\t\n") == name + "1: class \"n77\" is not in wnids.txt");
  CHECK(with("val_0.JPEG\tn01\n\nval_1.JPEG\tn01\n") == name + "2: expected a file name, a tab and a class");
  CHECK(with("../../secret.JPEG\tn01\n") == name + "1: expected a file name, a tab and a class");
  CHECK(with("val_0.JPEG\tn01\nval_0.JPEG\tn02\n") == name + "2: val_0.JPEG is listed twice");
  CHECK(with("val_0.JPEG\tn01\n") == folder / "val/images/val_1.JPEG: not listed in val_annotations.txt");
  CHECK(with(kAnnotations + "val_3.JPEG\tn01\n") == folder / "val/images/val_3.JPEG: no such file");
  folder.write("val/val_annotations.txt", "val_0.JPEG\tn77\nval_1.JPEG\tn01\nx\n");
  const data::DataSplits skipped = open_tiny(folder, true);
  CHECK(skipped.test->size() == 1);
  CHECK(skipped.test->faults().size() == 4);  // two lines, and the two images that are not listed

  write_tiny(folder);
  folder.write("wnids.txt", "n02\n..\n");
  CHECK(file_error([&] { open_tiny(folder); }) == folder / "wnids.txt: \"..\" is not the name of a class");
  folder.write("wnids.txt", "n02\nn02\n");
  CHECK(file_error([&] { open_tiny(folder); }) == folder / "wnids.txt: n02 is listed twice");
  folder.write("wnids.txt", "n02\nn01\nn03\n");
  CHECK(file_error([&] { open_tiny(folder); }) == folder / "train/n03/images: the class has no folder");
  CHECK(open_tiny(folder, true).train->size() == 3);
  std::filesystem::remove(folder / "wnids.txt");
  CHECK(file_error([&] { open_tiny(folder, true); }) == folder / "wnids.txt: no such file");
}
