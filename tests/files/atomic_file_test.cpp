#include "spnet/files/atomic_file.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <string>

#include "faulty_calls.hpp"
#include "text_files.hpp"

using namespace spnet;
using namespace spnet::test;

namespace {

const std::string kOld = "the earlier file";
const std::string kNew = "the new file, which is longer";

void write_new(const std::filesystem::path& path) {
  const std::array<std::span<const std::byte>, 2> pieces{std::as_bytes(std::span(kNew)).first(10),
                                                         std::as_bytes(std::span(kNew)).subspan(10)};
  files::write_file_atomically(path, pieces, faulty_calls());
}

}  // namespace

TEST_CASE("io: a file is written, replaced and read back") {
  TemporaryFolder folder;
  files::write_file_atomically(folder / "a", kOld);
  CHECK(text_of(folder / "a") == kOld);
  fault = {};
  write_new(folder / "a");
  CHECK(text_of(folder / "a") == kNew);
  CHECK(folder.file_count() == 1);
  const files::FileBytes bytes = files::read_file(folder / "a", 100);
  CHECK(std::string(reinterpret_cast<const char*>(bytes.data.get()), bytes.size) == kNew);
  files::write_file_atomically(folder / "empty", "");
  CHECK(files::read_file(folder / "empty", 0).size == 0);
}

TEST_CASE("io: a fault at every system call of a save leaves the old file or the new one, whole") {
  TemporaryFolder folder;
  const auto path = folder / "a";
  write_text(path, kOld);
  fault = {};
  write_new(path);
  const int calls = fault.calls;
  // Open the folder, open, write twice, flush, close, rename, flush the folder, close it.
  REQUIRE(calls == 9);
  for (bool existing : {true, false}) {
    for (Fault::Kind kind : {Fault::kError, Fault::kKill}) {
      for (int error : {ENOSPC, EIO, EACCES, EDQUOT, EROFS}) {
        for (int at = 0; at < calls; ++at) {
          CAPTURE(existing);
          CAPTURE(kind);
          CAPTURE(at);
          std::filesystem::remove(path);
          if (existing) write_text(path, kOld);
          fault = {.kind = kind, .at = at, .error = error};
          bool failed = false;
          try {
            write_new(path);
          } catch (const FileError& e) {
            failed = true;
            CHECK(std::string(e.what()).find(path) == 0);
            if (kind == Fault::kError)
              CHECK(std::string(e.what()).find(std::generic_category().message(error)) != std::string::npos);
          } catch (const Killed&) {
            failed = true;
          }
          // Only the last close of the folder, after everything is on the disk, may fail without a word.
          CHECK(failed == (at < calls - 1));
          const std::string expected = at > 6 || (at == 6 && !failed) ? kNew : existing ? kOld : "";
          CHECK(text_of(path) == expected);
          if (kind == Fault::kError) CHECK(folder.file_count() == (expected.empty() ? 0 : 1));
          files::remove_abandoned_temporaries(path);
          CHECK(folder.file_count() == (expected.empty() ? 0 : 1));
        }
      }
    }
  }
}

TEST_CASE("io: interrupted and short calls are carried through") {
  TemporaryFolder folder;
  for (Fault::Kind kind : {Fault::kInterrupt, Fault::kShort}) {
    // Not the calls that POSIX never interrupts: rename.
    for (int at = 0; at < 6; ++at) {
      fault = {.kind = kind, .at = at};
      write_new(folder / "a");
      CHECK(text_of(folder / "a") == kNew);
      fault = {.kind = kind, .at = at == 1 ? 0 : at};
      CHECK(files::read_file(folder / "a", 100, faulty_calls()).size == kNew.size());
      std::filesystem::remove(folder / "a");
    }
  }
}

TEST_CASE("io: a write that takes nothing is an error, not a loop") {
  TemporaryFolder folder;
  files::SystemCalls calls;
  calls.write = [](int, const void*, std::size_t) -> ssize_t { return 0; };
  CHECK_THROWS_WITH_AS(files::write_file_atomically(folder / "a", "1234", calls),
                       doctest::Contains("the system took 0 of 4 bytes"), FileError);
  CHECK(folder.file_count() == 0);
}

TEST_CASE("io: a folder that cannot be flushed is passed over only where the file system has no such thing") {
  TemporaryFolder folder;
  fault = {.kind = Fault::kError, .at = 7, .error = EINVAL};
  write_new(folder / "a");
  CHECK(text_of(folder / "a") == kNew);
  fault = {.kind = Fault::kError, .at = 7, .error = EIO};
  CHECK_THROWS_WITH_AS(write_new(folder / "a"), doctest::Contains("written, but its folder cannot be flushed"),
                       FileError);
}

TEST_CASE("io: unwritable targets are named") {
  TemporaryFolder folder;
  const auto missing = folder / "no/file";
  CHECK(error_of<FileError>([&] { files::write_file_atomically(missing, "x"); }) ==
        missing + ": cannot open its folder: No such file or directory");
  std::filesystem::create_directory(folder / "sub");
  CHECK(error_of<FileError>([&] { files::write_file_atomically(folder / "sub", "x"); }) ==
        (folder / "sub") + ": cannot rename the temporary file: Is a directory");
  CHECK(error_of<FileError>([&] { files::write_file_atomically(folder / "sub/", "x"); }) ==
        (folder / "sub/") + ": not the name of a file");
  CHECK(folder.file_count() == 1);
  CHECK(std::filesystem::is_empty(folder / "sub"));
}

TEST_CASE("io: only temporaries of the same file are swept") {
  TemporaryFolder folder;
  for (const char* name : {".a.12-0.tmp", ".a.7-31.tmp", ".ab.12-0.tmp", ".a.mine.tmp", "a", "a.12-0.tmp", ".a..tmp"})
    write_text(folder / name, "x");
  CHECK(files::remove_abandoned_temporaries(folder / "a") == 2);
  CHECK(folder.file_count() == 5);
  CHECK(files::remove_abandoned_temporaries(folder / "none/a") == 0);
}

TEST_CASE("io: what cannot be read is named") {
  TemporaryFolder folder;
  const std::string path = folder / "a", name = path;
  CHECK(error_of<FileError>([&] { files::read_file(path, 10); }) == name + ": cannot open: No such file or directory");
  CHECK(error_of<FileError>([&] { files::read_file(folder.path(), 10); }) ==
        folder.path().string() + ": not a regular file");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(error_of<FileError>([&] { files::read_file(folder / "pipe", 10); }) ==
        (folder / "pipe") + ": not a regular file");
  write_text(path, "12345678901");
  CHECK(error_of<FileError>([&] { files::read_file(path, 10); }) == name + ": 11 bytes, at most 10 are read");
  for (int at = 0; at < 3; ++at) {
    fault = {.kind = Fault::kError, .at = at, .error = EIO};
    const std::string text = error_of<FileError>([&] { files::read_file(path, 100, faulty_calls()); });
    CHECK(text == name +
                      (at == 0   ? ": cannot open: "
                       : at == 1 ? ": cannot inspect: "
                                 : ": cannot read: ") +
                      "Input/output error");
  }
}

TEST_CASE("io: a file that changes while it is read is refused") {
  TemporaryFolder folder;
  write_text(folder / "a", "12345");
  files::SystemCalls calls;
  calls.fstat = [](int file, struct stat* out) {
    const int result = ::fstat(file, out);
    out->st_size += 2;
    return result;
  };
  CHECK_THROWS_WITH_AS(files::read_file(folder / "a", 100, calls), doctest::Contains("ends after 5 of 7 bytes"),
                       FileError);
  calls.fstat = [](int file, struct stat* out) {
    const int result = ::fstat(file, out);
    out->st_size -= 2;
    return result;
  };
  CHECK_THROWS_WITH_AS(files::read_file(folder / "a", 100, calls), doctest::Contains("grew while it was read"), FileError);
}
