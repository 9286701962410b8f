// A folder of its own for a test, and what the tests of data sets write into it.
#pragma once

#include <algorithm>
#include <array>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/data/codecs.hpp"

namespace spnet::test {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    static std::atomic<int> count{0};
    path_ = std::filesystem::temp_directory_path() / message("spnet-data-", ::getpid(), "-", count++);
    std::filesystem::create_directories(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

  void write(const std::string& name, std::span<const std::uint8_t> bytes) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream file(path_ / name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  void write(const std::string& name, std::string_view text) const {
    write(name, std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
  }

 private:
  std::filesystem::path path_;
};

// A stand-in for real formats: "IMG", height, width, pixels; for .gz, "GZ" and the bytes themselves.
inline std::vector<std::uint8_t> image_bytes(std::uint8_t height, std::uint8_t width, std::uint8_t level) {
  std::vector<std::uint8_t> out(5 + std::size_t{3} * height * width, level);
  std::ranges::copy(std::array<std::uint8_t, 5>{'I', 'M', 'G', height, width}, out.begin());
  return out;
}
inline data::Codecs test_codecs() {
  return {[](std::span<const std::uint8_t> bytes, std::int64_t max_pixels, data::Image& out) {
            check<FileError>(bytes.size() >= 5 && bytes[0] == 'I' && bytes[1] == 'M' && bytes[2] == 'G',
                             "not an image");
            check<FileError>(bytes[3] * bytes[4] <= max_pixels, "too many pixels");
            check<FileError>(bytes.size() == 5 + std::size_t{3} * bytes[3] * bytes[4], "cut off");
            out.resize({bytes[3], bytes[4]});
            std::copy(bytes.begin() + 5, bytes.end(), out.data());
          },
          [](std::span<const std::uint8_t> bytes, std::size_t max_bytes) {
            check<FileError>(bytes.size() >= 2 && bytes[0] == 'G' && bytes[1] == 'Z', "not packed");
            check<FileError>(bytes.size() - 2 <= max_bytes, "too much");
            return std::vector<std::uint8_t>(bytes.begin() + 2, bytes.end());
          }};
}

// The text of the FileError that `action` throws; empty where it throws none.
template <class Action>
std::string file_error(const Action& action) {
  try {
    action();
  } catch (const FileError& error) {
    return error.what();
  }
  return "";
}

}  // namespace spnet::test
