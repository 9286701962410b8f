#include "spnet/io/checkpoint.hpp"

#include <doctest/doctest.h>

#include <fstream>

#include "../files/faulty_calls.hpp"
#include "../files/text_files.hpp"

using namespace spnet;
using namespace spnet::test;

namespace {

io::TensorFile tensor_file(float value) {
  io::TensorFile file;
  file.put("x", Tensor<float>::full({3}, value));
  return file;
}

void damage(const std::filesystem::path& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-1, std::ios::end);
  file.put('\x55');
}

}  // namespace

TEST_CASE("io: a checkpoint folder keeps the newest checkpoint and the one before") {
  const TemporaryFolder temporary;
  const io::CheckpointFolder folder(temporary.path());
  CHECK_THROWS_AS(folder.load(), FileError);
  for (std::uint64_t step : {5u, 10u, 900u, 1000u}) folder.save(tensor_file(static_cast<float>(step)), step);
  CHECK(folder.list() == std::vector<std::uint64_t>{1000, 900});
  const auto loaded = folder.load();
  CHECK(loaded.messages.empty());
  CHECK(loaded.file.get<float>("x")(0) == 1000);
}

TEST_CASE("io: a damaged newest checkpoint falls back, and is dropped once overtaken") {
  const TemporaryFolder temporary;
  const io::CheckpointFolder folder(temporary.path());
  folder.save(tensor_file(1), 1);
  folder.save(tensor_file(2), 2);
  damage(temporary / "checkpoint-2.safetensors");
  const auto loaded = folder.load();
  CHECK(loaded.file.get<float>("x")(0) == 1);
  REQUIRE(loaded.messages.size() == 1);
  CHECK(loaded.messages[0].find("checkpoint-2.safetensors") != std::string::npos);

  std::ofstream(temporary / "checkpoint-9.safetensors") << "not a checkpoint";
  folder.save(tensor_file(3), 3);
  CHECK(folder.list() == std::vector<std::uint64_t>{3, 2});
  CHECK(folder.load().file.get<float>("x")(0) == 3);

  damage(temporary / "checkpoint-3.safetensors");
  CHECK_THROWS_AS(folder.load(), FileError);  // both are damaged now
}

TEST_CASE("io: other files in the folder are left alone") {
  const TemporaryFolder temporary;
  for (const char* name : {"checkpoint-x.safetensors", "checkpoint-07.safetensors", "checkpoint-.safetensors", "best.safetensors"})
    std::ofstream(temporary / name) << "mine";
  const io::CheckpointFolder folder(temporary.path());
  for (std::uint64_t step = 1; step < 5; ++step) folder.save(tensor_file(0), step);
  CHECK(folder.list().size() == 2);
  CHECK(std::filesystem::exists(temporary / "checkpoint-07.safetensors"));
  CHECK(std::filesystem::exists(temporary / "checkpoint-x.safetensors"));
}

TEST_CASE("io: a fault at any system call of a save leaves a whole checkpoint") {
  for (int at = 0; at < 64; ++at) {
    const TemporaryFolder temporary;
    const io::CheckpointFolder folder(temporary.path());
    folder.save(tensor_file(1), 1);
    fault = {.kind = Fault::kError, .at = at, .error = ENOSPC};
    bool failed = false;
    try {
      folder.save(tensor_file(2), 2, faulty_calls());
    } catch (const FileError&) {
      failed = true;
    }
    const bool reached = fault.calls > at;
    fault = {};
    const float value = folder.load().file.get<float>("x")(0);
    CHECK((value == 1 || value == 2));
    if (!failed) CHECK(value == 2);
    if (!reached) return;
  }
  FAIL("the save never ran through");
}
