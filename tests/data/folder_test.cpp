#include "spnet/data/folder.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "image_files.hpp"

using namespace spnet;
using test::file_error;

namespace {
void write_folder(const test::TemporaryFolder& folder, const std::string& test_name) {
  for (const char* name :
       {"train/dog/b.jpg", "train/dog/a.png", "train/Cat/c.JPEG", "train/dog/a10.jpg", "train/dog/a9.jpg"})
    folder.write(name, test::image_bytes(2, 2, static_cast<std::uint8_t>(name[11])));
  folder.write("train/dog/notes.txt", "no image");
  for (const char* name : {"/dog/x.png", "/Cat/y.png"}) folder.write(test_name + name, test::image_bytes(2, 2, 5));
}
data::DataSplits open_folder(const test::TemporaryFolder& folder, bool skip_bad = false) {
  return data::open_image_folder(folder.path(), test::test_codecs(), {.skip_bad = skip_bad});
}
}  // namespace

TEST_CASE("data: an image folder lists classes and files bytewise") {
  for (const char* test_name : {"test", "val"}) {
    const test::TemporaryFolder folder;
    write_folder(folder, test_name);
    const data::DataSplits splits = open_folder(folder);
    CHECK(splits.train->classes() == std::vector<std::string>{"Cat", "dog"});
    CHECK(splits.test->classes() == splits.train->classes());
    std::vector<std::string> names;
    for (std::int64_t i = 0; i < splits.train->size(); ++i) names.push_back(splits.train->name(i));
    CHECK(names == std::vector<std::string>{folder / "train/Cat/c.JPEG", folder / "train/dog/a.png",
                                            folder / "train/dog/a10.jpg", folder / "train/dog/a9.jpg",
                                            folder / "train/dog/b.jpg"});
    CHECK(splits.train->get(0).label == 0);
    CHECK(splits.train->get(4).label == 1);
    CHECK(splits.test->size() == 2);
    CHECK(splits.test->name(1) == folder / test_name + "/dog/x.png");
  }
}

TEST_CASE("data: empty, missing and unknown class folders are named, or skipped and listed") {
  const test::TemporaryFolder folder;
  write_folder(folder, "test");
  std::filesystem::create_directories(folder / "train/bird");
  const std::string empty = ": an empty class folder: no .jpg, .jpeg or .png in it";
  CHECK(file_error([&] { open_folder(folder); }) == folder / "train/bird" + empty);
  const data::DataSplits skipped = open_folder(folder, true);
  CHECK(skipped.train->classes().size() == 3);
  CHECK(skipped.train->size() == 5);
  REQUIRE(skipped.train->faults().size() == 1);
  CHECK(skipped.train->faults()[0].name == folder / "train/bird");
  CHECK(skipped.test->faults().at(0).reason == "the class has no folder");
  std::filesystem::remove(folder / "train/bird");
  folder.write("test/fish/1.png", test::image_bytes(2, 2, 1));
  CHECK(file_error([&] { open_folder(folder); }) == folder / "test/fish: not among the classes of the training images");
  CHECK(open_folder(folder, true).test->size() == 2);
  std::filesystem::remove_all(folder / "test/fish");
  std::filesystem::remove_all(folder / "test/Cat");
  CHECK(file_error([&] { open_folder(folder); }) == folder / "test/Cat: the class has no folder");
}

TEST_CASE("data: an image folder without its parts is refused") {
  const test::TemporaryFolder folder;
  CHECK(file_error([&] { data::open_image_folder(folder / "none", test::test_codecs()); }) ==
        folder / "none: no such folder");
  CHECK(file_error([&] { open_folder(folder); }) == folder / "train: no such folder");
  std::filesystem::create_directories(folder / "train");
  CHECK(file_error([&] { open_folder(folder); }) == folder / "train: holds no class folder");
  folder.write("train/a/1.png", test::image_bytes(2, 2, 1));
  CHECK(file_error([&] { open_folder(folder); }) == folder.path().string() + ": neither test/ nor val/ beside train/");
}
