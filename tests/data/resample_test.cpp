#include "spnet/data/resample.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>

using namespace spnet;
using data::Image;

namespace {
// Channel c of pixel (y, x) is 10y + 3x + 40c.
Image ramp(std::int64_t height, std::int64_t width) {
  Image image({height, width});
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (std::int64_t c = 0; c < 3; ++c) image.row(y)[3 * x + c] = static_cast<std::uint8_t>(10 * y + 3 * x + 40 * c);
  return image;
}
}  // namespace

TEST_CASE("data: resizing to the same size changes nothing") {
  const Image image = ramp(7, 5);
  CHECK(data::resized(image, {7, 5}) == image);
}

TEST_CASE("data: enlarging interpolates between pixel centres and repeats the edges") {
  Image image({1, 2});
  std::fill_n(image.data(), 3, std::uint8_t{0});
  std::fill_n(image.data() + 3, 3, std::uint8_t{100});
  const Image wide = data::resized(image, {2, 4});
  const int expected[] = {0, 25, 75, 100};
  for (int y = 0; y < 2; ++y)
    for (int x = 0; x < 4; ++x)
      for (int c = 0; c < 3; ++c) CHECK(wide.row(y)[3 * x + c] == expected[x]);
}

TEST_CASE("data: shrinking averages every pixel it covers") {
  // A one-pixel checkerboard must become grey; plain bilinear sampling would keep black or white.
  Image board({64, 64});
  for (std::int64_t y = 0; y < 64; ++y)
    for (std::int64_t x = 0; x < 64; ++x)
      std::fill_n(board.row(y) + 3 * x, 3, (x + y) % 2 ? std::uint8_t{255} : std::uint8_t{0});
  const Image small = data::resized(board, {9, 9});
  for (std::int64_t i = 0; i < small.bytes(); ++i) CHECK(std::abs(small.data()[i] - 128) < 12);
}

TEST_CASE("data: a region of whole pixels is a crop, a constant stays constant at any size") {
  const Image image = ramp(8, 9);
  Image out({3, 4});
  data::Resampler resampler;
  resampler.resize(image, {2, 5, 3, 4}, out);
  for (std::int64_t y = 0; y < 3; ++y)
    for (std::int64_t i = 0; i < 12; ++i) CHECK(out.row(y)[i] == image.row(y + 2)[i + 15]);
  Image flat({5, 3});
  std::fill_n(flat.data(), flat.bytes(), std::uint8_t{201});
  for (data::ImageSize size : {data::ImageSize{1, 1}, {2, 7}, {13, 2}, {40, 41}}) {
    const Image other = data::resized(flat, size);
    CHECK(std::all_of(other.data(), other.data() + other.bytes(), [](std::uint8_t v) { return v == 201; }));
  }
}

TEST_CASE("data: sizes and regions outside the range are refused") {
  const Image image = ramp(4, 4);
  Image out({2, 2});
  data::Resampler resampler;
  CHECK_THROWS_WITH_AS(resampler.resize(image, {1, 0, 4, 4}, out), "Resampler: region 4x4 at (1, 0) of an image of 4x4",
                       ValueError);
  CHECK_THROWS_AS(resampler.resize(image, {0, 0, 0, 4}, out), ValueError);
  CHECK_THROWS_AS(resampler.resize(image, {-1, 0, 2, 2}, out), ValueError);
  CHECK_THROWS_WITH_AS(Image({0, 3}), "Image: 0x3 given, both sides must be in 1..65535", ValueError);
  CHECK_THROWS_AS(Image({3, 70000}), ValueError);
}
