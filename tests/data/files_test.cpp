#include "spnet/data/files.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "image_files.hpp"

using namespace spnet;
using test::file_error;

TEST_CASE("data: folders are listed bytewise, without hidden entries") {
  const test::TemporaryFolder folder;
  for (const char* name : {"b.png", "B.png", "a.png", "a10.png", "a9.png", ".hidden.png", "sub/x.png"})
    folder.write(name, "x");
  CHECK(data::list_folder(folder.path(), false) ==
        std::vector<std::string>{"B.png", "a.png", "a10.png", "a9.png", "b.png"});
  CHECK(data::list_folder(folder.path(), true) == std::vector<std::string>{"sub"});
  CHECK(file_error([&] { data::list_folder(folder / "nowhere", false); }).starts_with(folder / "nowhere: cannot list"));
}

TEST_CASE("data: files are read whole or refused by name") {
  const test::TemporaryFolder folder;
  folder.write("five", "12345");
  folder.write("empty", "");
  CHECK(data::read_file(folder / "five", 5).size() == 5);
  CHECK(data::read_file(folder / "empty", 5).empty());
  CHECK(file_error([&] { data::read_file(folder / "five", 4); }) == folder / "five: 5 bytes, at most 4 are read");
  CHECK(file_error([&] { data::read_file(folder / "none", 4); }) == folder / "none: no such file");
  CHECK(file_error([&] { data::read_file(folder.path(), 4); }) == folder.path().string() + ": not a regular file");
  std::filesystem::create_symlink("missing", folder / "link");
  CHECK(file_error([&] { data::read_file(folder / "link", 4); }) == folder / "link: no such file");
}

TEST_CASE("data: lines end with or without a carriage return, the last perhaps with neither") {
  const test::TemporaryFolder folder;
  folder.write("lines", "one\r\n\ntwo");
  CHECK(data::read_lines(folder / "lines", 100) == std::vector<std::string>{"one", "", "two"});
  folder.write("ended", "one\n");
  CHECK(data::read_lines(folder / "ended", 100) == std::vector<std::string>{"one"});
}

TEST_CASE("data: image files are known by their names") {
  for (const char* name : {"a.jpg", "a.JPEG", "b.c.Png"}) CHECK(data::is_image_name(name));
  for (const char* name : {"a", "jpg", "a.txt", "a.jpg.bak", "a."}) CHECK_FALSE(data::is_image_name(name));
}

TEST_CASE("data: a fault is an error, or kept once") {
  data::FaultLog strict(false), lenient(true);
  CHECK_THROWS_WITH_AS(strict.add("b.png", "cut off"), "b.png: cut off", FileError);
  CHECK(strict.faults().empty());
  lenient.add("b.png", "cut off");
  lenient.add("a.png", "empty");
  lenient.add("b.png", "cut off");
  REQUIRE(lenient.faults().size() == 2);
  CHECK(lenient.faults()[0].name == "a.png");
  CHECK(lenient.faults()[1].reason == "cut off");
}
