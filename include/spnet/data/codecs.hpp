// Decoders are the program's: the library links none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "spnet/data/image.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

/// What the program that links decoders hands to the data sets that need them. Both are called from several threads.
struct Codecs {
  /// Decodes the bytes of an image file to `out`. Throws FileError where they are damaged, or where the image has more
  /// than `max_pixels` pixels, which it finds out before it allocates them.
  std::function<void(std::span<const std::uint8_t> bytes, std::int64_t max_pixels, Image& out)> decode_image;
  /// Unpacks the bytes of a .gz file. Throws FileError where they are damaged or unpack to more than `max_bytes` bytes.
  std::function<std::vector<std::uint8_t>(std::span<const std::uint8_t> bytes, std::size_t max_bytes)> inflate;
};

}  // namespace data
}  // namespace v0
}  // namespace spnet
