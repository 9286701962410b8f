// Images as data sets hand them out: 8 bits a channel, red-green-blue, rows from the top.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <vector>

#include "spnet/core/error.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

/// Height and width in pixels; {0, 0} where it is not known or differs from image to image.
struct ImageSize {
  std::int64_t height = 0;
  std::int64_t width = 0;
  bool known() const { return height > 0 && width > 0; }
  friend bool operator==(const ImageSize&, const ImageSize&) = default;
  friend std::ostream& operator<<(std::ostream& out, const ImageSize& size) {
    return out << size.height << "x" << size.width;
  }
};

/// Largest height and width of an image, so that no product of sizes overflows.
inline constexpr std::int64_t kMaxImageSide = 65535;

/// Pixels [height, width, 3], row-major. Grey images hold three equal channels.
class Image {
 public:
  static constexpr std::int64_t kChannels = 3;

  Image() = default;
  explicit Image(ImageSize size) { resize(size); }

  ImageSize size() const { return size_; }
  std::int64_t height() const { return size_.height; }
  std::int64_t width() const { return size_.width; }
  std::int64_t bytes() const { return static_cast<std::int64_t>(pixels_.size()); }
  std::uint8_t* data() { return pixels_.data(); }
  const std::uint8_t* data() const { return pixels_.data(); }
  const std::uint8_t* row(std::int64_t y) const { return pixels_.data() + y * size_.width * kChannels; }
  std::uint8_t* row(std::int64_t y) { return pixels_.data() + y * size_.width * kChannels; }

  /// Changes the size and keeps the memory where it suffices; pixels are unspecified. Throws ValueError unless both
  /// sides are in 1..kMaxImageSide.
  void resize(ImageSize size) {
    check<ValueError>(
        size.height >= 1 && size.height <= kMaxImageSide && size.width >= 1 && size.width <= kMaxImageSide,
        "Image: ", size, " given, both sides must be in 1..", kMaxImageSide);
    pixels_.resize(static_cast<std::size_t>(size.height * size.width * kChannels));
    size_ = size;
  }
  friend bool operator==(const Image&, const Image&) = default;

 private:
  ImageSize size_;
  std::vector<std::uint8_t> pixels_;
};

}  // namespace data
}  // namespace v0
}  // namespace spnet
