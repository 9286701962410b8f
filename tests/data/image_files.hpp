// Image files for the tests of data sets, in a format that needs no library.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "../temporary_folder.hpp"
#include "spnet/core/error.hpp"
#include "spnet/data/codecs.hpp"

namespace spnet::test {

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

template <class Action>
std::string file_error(const Action& action) {
  return error_of<FileError>(action);
}

}  // namespace spnet::test
