// From a decoded image to the floats a network reads. All randomness comes in as a `Random`, so that what happens to an
// image depends on (seed, epoch, index) alone.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "spnet/core/error.hpp"
#include "spnet/core/random.hpp"
#include "spnet/data/image.hpp"
#include "spnet/data/resample.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

/// What is done to every image, in the order of the fields. The defaults change nothing but the range: 0..255 to 0..1.
struct Augmentation {
  /// Size of the output; {0, 0} keeps the images' own, which must then all be the same. Other sizes are brought there:
  /// the shorter side is resized, the centre cropped.
  ImageSize size{};
  /// Share of the resized image that the centre crop keeps, per side, in (0, 1]; ImageNet's 224 of 256 is 0.875.
  float centre_share = 1;
  /// In place of resize and centre crop: a random region of `scale` times the area, with a ratio width/height in
  /// `ratio`.
  bool random_resized_crop = false;
  std::array<float, 2> scale{0.08f, 1.0f};
  std::array<float, 2> ratio{3.0f / 4, 4.0f / 3};
  /// Shifts by up to so many pixels, black outside (a random crop of the padded image).
  int padding = 0;
  bool flip = false;  ///< mirrors every second image, left and right
  /// Factors drawn from [1 − x, 1 + x] for brightness, contrast and saturation, each in [0, 1].
  float brightness = 0, contrast = 0, saturation = 0;
  /// Of the channels in 0..1: out = (in − mean)/deviation.
  std::array<float, 3> mean{0, 0, 0};
  std::array<float, 3> deviation{1, 1, 1};

  /// The same preparation without anything random, for evaluation.
  Augmentation evaluation() const {
    Augmentation out = *this;
    out.random_resized_crop = out.flip = false;
    out.padding = 0;
    out.brightness = out.contrast = out.saturation = 0;
    return out;
  }
};

/// Applies an Augmentation to one image after another and keeps its working memory. One object serves one thread.
class Augmenter {
 public:
  /// Writes images of `size`. Throws ValueError where an option is outside its range.
  Augmenter(const Augmentation& options, ImageSize size) : options_(options), size_(size) {
    const auto unit = [](float x) { return x >= 0 && x <= 1; };
    check<ValueError>(size.known(), "Augmentation: the images differ in size; give the size they are to have");
    check<ValueError>(options.padding >= 0 && options.padding <= 1024, "Augmentation: padding ", options.padding,
                      " given, expected 0 to 1024");
    check<ValueError>(options.centre_share > 0 && options.centre_share <= 1, "Augmentation: centre_share ",
                      options.centre_share, " given, expected above 0, to 1");
    check<ValueError>(unit(options.brightness) && unit(options.contrast) && unit(options.saturation),
                      "Augmentation: brightness, contrast and saturation must be in 0..1");
    check<ValueError>(options.scale[0] > 0 && options.scale[0] <= options.scale[1] && options.scale[1] <= 1,
                      "Augmentation: scale ", options.scale[0], " to ", options.scale[1],
                      " given, expected 0 < low <= high <= 1");
    check<ValueError>(options.ratio[0] > 0 && options.ratio[0] <= options.ratio[1] && std::isfinite(options.ratio[1]),
                      "Augmentation: ratio ", options.ratio[0], " to ", options.ratio[1],
                      " given, expected 0 < low <= high");
    for (std::size_t c = 0; c < 3; ++c) {
      check<ValueError>(
          std::isfinite(options.mean[c]) && std::isfinite(options.deviation[c]) && options.deviation[c] > 0,
          "Augmentation: mean ", options.mean[c], " and deviation ", options.deviation[c],
          " given, expected finite, deviation above 0");
      for (std::size_t value = 0; value < 256; ++value) {
        const float level = static_cast<float>(value) / 255;
        levels_[c][value] = jitters() ? level : (level - options.mean[c]) / options.deviation[c];
      }
    }
  }

  ImageSize size() const { return size_; }

  /// Prepares `image` into `out` [height, width, 3]; draws at most 64 words, from `random`'s position on. Each option
  /// has words of its own, so that switching one on or off leaves the others as they were.
  void apply(const Image& image, const Random& random, float* out) {
    const auto part = [&](std::uint64_t words) {
      return Random(random.seed(), random.stream(), random.position() + words);
    };
    const Image* source = &image;
    if (options_.random_resized_crop || image.size() != size_ || options_.centre_share < 1) {
      resized_.resize(size_);
      const Region region =
          options_.random_resized_crop ? random_region(image.size(), part(16)) : centre_region(image.size());
      resampler_.resize(image, region, resized_);
      source = &resized_;
    }
    std::int64_t down = 0, right = 0;
    if (options_.padding > 0) {
      Random shift = part(0);
      const auto choices = static_cast<std::uint32_t>(2 * options_.padding + 1);
      down = static_cast<std::int64_t>(shift.below(choices)) - options_.padding;
      right = static_cast<std::int64_t>(shift.below(choices)) - options_.padding;
    }
    const bool mirrored = options_.flip && part(2).below(2) == 1;
    place(*source, down, right, mirrored, out);
    if (jitters()) jitter(part(4), out);
  }

 private:
  bool jitters() const { return options_.brightness > 0 || options_.contrast > 0 || options_.saturation > 0; }

  // The largest centred region with the output's ratio, times centre_share.
  Region centre_region(ImageSize given) const {
    const auto height = static_cast<double>(given.height), width = static_cast<double>(given.width);
    const double scale =
        std::min(height / static_cast<double>(size_.height), width / static_cast<double>(size_.width)) *
        static_cast<double>(options_.centre_share);
    const double h = scale * static_cast<double>(size_.height), w = scale * static_cast<double>(size_.width);
    return {(height - h) / 2, (width - w) / 2, h, w};
  }

  // Inception's crop: area and ratio at random, ten attempts to fit, then the largest centred region within the ratios.
  Region random_region(ImageSize given, Random random) const {
    const auto height = static_cast<double>(given.height), width = static_cast<double>(given.width);
    const double low = std::log(static_cast<double>(options_.ratio[0])),
                 high = std::log(static_cast<double>(options_.ratio[1]));
    for (int attempt = 0; attempt < 10; ++attempt) {
      const double area = height * width * static_cast<double>(random.uniform(options_.scale[0], options_.scale[1]));
      const double ratio = std::exp(low + (high - low) * static_cast<double>(random.uniform()));
      const double h = std::round(std::sqrt(area / ratio)), w = std::round(std::sqrt(area * ratio));
      const double top = static_cast<double>(random.uniform()), left = static_cast<double>(random.uniform());
      if (h >= 1 && w >= 1 && h <= height && w <= width)
        return {std::floor(top * (height - h + 1)), std::floor(left * (width - w + 1)), h, w};
    }
    const double ratio =
        std::clamp(width / height, static_cast<double>(options_.ratio[0]), static_cast<double>(options_.ratio[1]));
    const double w = std::min(width, height * ratio), h = std::min(height, width / ratio);
    return {(height - h) / 2, (width - w) / 2, h, w};
  }

  // out(y, x) = source(y + down, x + right), black outside, mirrored after the shift. Normalised unless colours are
  // still to be changed.
  void place(const Image& source, std::int64_t down, std::int64_t right, bool mirrored, float* out) const {
    const std::int64_t height = size_.height, width = size_.width;
    const std::array<float, 3> black{level(0, 0), level(1, 0), level(2, 0)};
    const std::int64_t begin = std::clamp<std::int64_t>(-right, 0, width),
                       end = std::clamp<std::int64_t>(width - right, begin, width);
    const std::int64_t step = mirrored ? -3 : 3;
    for (std::int64_t y = 0; y < height; ++y, out += width * 3) {
      float* target = mirrored ? out + (width - 1) * 3 : out;
      const bool outside = y + down < 0 || y + down >= height;
      const std::int64_t from = outside ? width : begin, to = outside ? width : end;
      for (std::int64_t x = 0; x < from; ++x, target += step) std::copy(black.begin(), black.end(), target);
      if (outside) continue;
      const std::uint8_t* pixel = source.row(y + down) + (from + right) * 3;
      for (std::int64_t x = from; x < to; ++x, target += step, pixel += 3) {
        target[0] = level(0, pixel[0]);
        target[1] = level(1, pixel[1]);
        target[2] = level(2, pixel[2]);
      }
      for (std::int64_t x = to; x < width; ++x, target += step) std::copy(black.begin(), black.end(), target);
    }
  }
  float level(std::size_t channel, std::uint8_t value) const { return levels_[channel][value]; }

  // Brightness, contrast (against the mean grey), saturation (against each pixel's grey), in this order, in 0..1.
  void jitter(Random random, float* out) const {
    const auto factor = [&](float range) { return 1 + range * (2 * random.uniform() - 1); };
    const float brightness = factor(options_.brightness), contrast = factor(options_.contrast);
    const float saturation = factor(options_.saturation);
    const std::int64_t count = size_.height * size_.width * 3;
    const auto grey = [](const float* p) { return 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2]; };
    const auto clamped = [](float x) { return std::min(std::max(x, 0.0f), 1.0f); };
    double sum = 0;
    for (std::int64_t i = 0; i < count; i += 3) {
      for (std::int64_t c = i; c < i + 3; ++c) out[c] = clamped(brightness * out[c]);
      sum += static_cast<double>(grey(out + i));
    }
    const float mean = static_cast<float>(3 * sum / static_cast<double>(count));
    for (std::int64_t i = 0; i < count; i += 3) {
      for (std::int64_t c = i; c < i + 3; ++c) out[c] = clamped(mean + contrast * (out[c] - mean));
      const float own = grey(out + i);
      for (std::size_t c = 0; c < 3; ++c) {
        float& value = out[i + static_cast<std::int64_t>(c)];
        value = (clamped(own + saturation * (value - own)) - options_.mean[c]) / options_.deviation[c];
      }
    }
  }

  Augmentation options_;
  ImageSize size_;
  std::array<std::array<float, 256>, 3> levels_;  // what each 8-bit value of a channel becomes
  Resampler resampler_;
  Image resized_;
};

}  // namespace data
}  // namespace v0
}  // namespace spnet
