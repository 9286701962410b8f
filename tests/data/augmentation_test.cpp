#include "spnet/data/augmentation.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <vector>

#include "spnet/data/random_streams.hpp"

using namespace spnet;
using data::Augmentation;
using data::Augmenter;
using data::Image;

namespace {
Image coloured(std::int64_t height, std::int64_t width) {
  Image image({height, width});
  const Random random(5);
  for (std::int64_t i = 0; i < image.bytes(); ++i)
    image.data()[i] = static_cast<std::uint8_t>(1 + random.bits_at(static_cast<std::uint64_t>(i)) % 255);
  return image;
}
std::vector<float> apply(const Augmentation& options, const Image& image, std::int64_t index = 0,
                         std::int64_t epoch = 0) {
  const data::ImageSize size = options.size.known() ? options.size : image.size();
  std::vector<float> out(static_cast<std::size_t>(size.height * size.width * 3), -99.0f);
  Augmenter(options, size).apply(image, data::augmentation_random(3, epoch, index), out.data());
  return out;
}
float at(const std::vector<float>& image, std::int64_t width, std::int64_t y, std::int64_t x, std::int64_t c) {
  return image[static_cast<std::size_t>((y * width + x) * 3 + c)];
}
}  // namespace

TEST_CASE("data: without options the pixels are scaled to 0..1") {
  const Image image = coloured(5, 4);
  const std::vector<float> out = apply({}, image);
  for (std::size_t i = 0; i < out.size(); ++i) CHECK(out[i] == static_cast<float>(image.data()[i]) / 255);
}

TEST_CASE("data: normalisation is per channel") {
  const Image image = coloured(3, 3);
  const std::vector<float> out = apply({.mean = {0.1f, 0.2f, 0.3f}, .deviation = {0.5f, 0.25f, 2}}, image);
  const std::array<float, 3> mean{0.1f, 0.2f, 0.3f}, deviation{0.5f, 0.25f, 2};
  for (std::size_t i = 0; i < out.size(); ++i)
    CHECK(out[i] == doctest::Approx((image.data()[i] / 255.0f - mean[i % 3]) / deviation[i % 3]));
}

TEST_CASE("data: padding shifts by every distance, with black outside, and flipping mirrors what was shifted") {
  const std::int64_t height = 6, width = 7;
  const Image image = coloured(height, width);
  std::set<std::array<std::int64_t, 3>> seen;
  for (std::int64_t index = 0; index < 400; ++index) {
    const std::vector<float> out = apply({.padding = 2, .flip = true}, image, index);
    int matches = 0;
    for (std::int64_t mirrored = 0; mirrored < 2; ++mirrored)
      for (std::int64_t down = -2; down <= 2; ++down)
        for (std::int64_t right = -2; right <= 2; ++right) {
          bool same = true;
          for (std::int64_t y = 0; y < height; ++y)
            for (std::int64_t x = 0; x < width; ++x)
              for (std::int64_t c = 0; c < 3; ++c) {
                const std::int64_t sy = y + down, sx = (mirrored ? width - 1 - x : x) + right;
                const bool outside = sy < 0 || sy >= height || sx < 0 || sx >= width;
                const float expected = outside ? 0 : static_cast<float>(image.row(sy)[3 * sx + c]) / 255;
                same = same && at(out, width, y, x, c) == expected;
              }
          if (same) {
            ++matches;
            seen.insert({mirrored, down, right});
          }
        }
    CHECK(matches == 1);
  }
  CHECK(seen.size() == 50);
}

TEST_CASE("data: augmentation depends on seed, epoch and index alone, and options draw their own numbers") {
  const Image image = coloured(12, 12);
  const Augmentation all{.random_resized_crop = true,
                         .padding = 2,
                         .flip = true,
                         .brightness = 0.4f,
                         .contrast = 0.4f,
                         .saturation = 0.4f};
  CHECK(apply(all, image, 4, 2) == apply(all, image, 4, 2));
  CHECK(apply(all, image, 4, 2) != apply(all, image, 4, 3));
  CHECK(apply(all, image, 4, 2) != apply(all, image, 5, 2));
  // One Augmenter for many images leaves no trace of the earlier ones.
  Augmenter used(all, image.size());
  std::vector<float> out(12 * 12 * 3);
  used.apply(coloured(30, 20), data::augmentation_random(3, 0, 9), out.data());
  used.apply(image, data::augmentation_random(3, 2, 4), out.data());
  CHECK(out == apply(all, image, 4, 2));
  // The shift stays where the flip is switched on.
  for (std::int64_t index = 0; index < 20; ++index) {
    const std::vector<float> plain = apply({.padding = 3}, image, index);
    const std::vector<float> flipped = apply({.padding = 3, .flip = true}, image, index);
    std::vector<float> mirrored = plain;
    for (std::int64_t y = 0; y < 12; ++y)
      for (std::int64_t x = 0; x < 12; ++x)
        for (std::int64_t c = 0; c < 3; ++c)
          mirrored[static_cast<std::size_t>((y * 12 + x) * 3 + c)] = at(plain, 12, y, 11 - x, c);
    CHECK((flipped == plain || flipped == mirrored));
  }
}

TEST_CASE("data: random resized crops stay inside and vary, whatever the image's shape") {
  for (data::ImageSize size : {data::ImageSize{40, 40}, {1, 1}, {3, 200}, {200, 3}, {17, 31}}) {
    Image flat(size);
    std::fill_n(flat.data(), flat.bytes(), std::uint8_t{51});
    for (std::int64_t index = 0; index < 50; ++index)
      for (float value : apply({.size = {8, 6}, .random_resized_crop = true}, flat, index)) CHECK(value == 0.2f);
  }
  const Image image = coloured(40, 40);
  std::set<std::vector<float>> seen;
  for (std::int64_t index = 0; index < 20; ++index)
    seen.insert(apply({.size = {8, 8}, .random_resized_crop = true}, image, index));
  CHECK(seen.size() == 20);
  // The whole area, at its own ratio, is a plain resize.
  const std::vector<float> whole =
      apply({.size = {8, 8}, .random_resized_crop = true, .scale = {1, 1}, .ratio = {1, 1}}, image);
  CHECK(whole == apply({.size = {8, 8}}, image));
}

TEST_CASE("data: colour jitter changes brightness, contrast and saturation within its range") {
  Image grey({4, 4});
  std::fill_n(grey.data(), grey.bytes(), std::uint8_t{100});
  float least = 1, most = 0;
  for (std::int64_t index = 0; index < 200; ++index) {
    const std::vector<float> out = apply({.brightness = 0.5f, .contrast = 0.5f, .saturation = 0.5f}, grey, index);
    for (float value : out) CHECK(value == doctest::Approx(out[0]));  // grey stays grey, flat stays flat
    least = std::min(least, out[0]);
    most = std::max(most, out[0]);
  }
  CHECK(least >= 100 / 255.0f * 0.5f - 1e-5f);
  CHECK(most <= 100 / 255.0f * 1.5f + 1e-5f);
  CHECK(most - least > 0.3f);
  // Saturation keeps each pixel's brightness.
  Image pastel({1, 1});
  pastel.data()[0] = 120, pastel.data()[1] = 100, pastel.data()[2] = 110;
  const std::vector<float> out = apply({.saturation = 0.9f}, pastel, 1);
  CHECK(0.299f * out[0] + 0.587f * out[1] + 0.114f * out[2] ==
        doctest::Approx((0.299f * 120 + 0.587f * 100 + 0.114f * 110) / 255));
  CHECK(out[0] - out[1] != doctest::Approx(20 / 255.0f));
  // Normalisation comes last.
  const std::vector<float> normal =
      apply({.saturation = 0.9f, .mean = {0.5f, 0.5f, 0.5f}, .deviation = {2, 2, 2}}, pastel, 1);
  CHECK(normal[0] == doctest::Approx((out[0] - 0.5f) / 2));
}

TEST_CASE("data: evaluation resizes the shorter side and crops the centre") {
  Image image({4, 12});  // black, white, black in thirds
  std::fill_n(image.data(), image.bytes(), std::uint8_t{0});
  for (std::int64_t y = 0; y < 4; ++y) std::fill_n(image.row(y) + 3 * 4, 3 * 4, std::uint8_t{255});
  const Augmentation train{.size = {4, 4},
                           .random_resized_crop = true,
                           .padding = 2,
                           .flip = true,
                           .brightness = 0.3f,
                           .mean = {0.5f, 0.5f, 0.5f}};
  for (float value : apply(train.evaluation(), image)) CHECK(value == 0.5f);
  // Half of the side, enlarged twice: the centre pixels of a ramp.
  Image ramp({8, 8});
  for (std::int64_t y = 0; y < 8; ++y)
    for (std::int64_t x = 0; x < 8; ++x) std::fill_n(ramp.row(y) + 3 * x, 3, static_cast<std::uint8_t>(20 * x));
  const std::vector<float> centre = apply({.size = {4, 4}, .centre_share = 0.5f}, ramp);
  for (std::int64_t x = 0; x < 4; ++x) CHECK(at(centre, 4, 1, x, 0) == static_cast<float>(20 * (x + 2)) / 255);
}

TEST_CASE("data: augmentation options outside their range are refused") {
  const data::ImageSize size{8, 8};
  CHECK_THROWS_WITH_AS(Augmenter({}, {}), "Augmentation: the images differ in size; give the size they are to have",
                       ValueError);
  CHECK_THROWS_WITH_AS(Augmenter({.padding = -1}, size), "Augmentation: padding -1 given, expected 0 to 1024",
                       ValueError);
  CHECK_THROWS_AS(Augmenter({.centre_share = 0}, size), ValueError);
  CHECK_THROWS_AS(Augmenter({.brightness = 2}, size), ValueError);
  CHECK_THROWS_AS(Augmenter({.scale = {0.5f, 0.2f}}, size), ValueError);
  CHECK_THROWS_AS(Augmenter({.ratio = {0, 1}}, size), ValueError);
  CHECK_THROWS_AS(Augmenter({.deviation = {1, 0, 1}}, size), ValueError);
  CHECK_THROWS_AS(Augmenter({.mean = {std::numeric_limits<float>::quiet_NaN(), 0, 0}}, size), ValueError);
}
