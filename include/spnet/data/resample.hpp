// Resizing of image regions: bilinear where it enlarges, a triangle filter over all covered pixels where it shrinks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/data/image.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

/// A rectangle of an image, in pixels; edges may lie between pixels.
struct Region {
  double top = 0, left = 0, height = 0, width = 0;
};

/// Resizes regions and keeps its working memory from one call to the next. One object serves one thread.
class Resampler {
 public:
  /// Writes the part of `image` inside `region`, resized to the size of `out` (rounded to 8 bits; edges repeat).
  /// Throws ValueError where the region is empty or reaches outside the image.
  void resize(const Image& image, const Region& region, Image& out) {
    check<ValueError>(region.height > 0 && region.width > 0 && region.top >= 0 && region.left >= 0 &&
                          region.top + region.height <= static_cast<double>(image.height()) + 1e-6 &&
                          region.left + region.width <= static_cast<double>(image.width()) + 1e-6,
                      "Resampler: region ", region.height, "x", region.width, " at (", region.top, ", ", region.left,
                      ") of an image of ", image.size());
    vertical_.compute(region.top, region.height, image.height(), out.height());
    horizontal_.compute(region.left, region.width, image.width(), out.width());

    // Columns first, only for rows that are needed.
    const std::int64_t first = vertical_.begin.front();
    const std::int64_t last = vertical_.begin.back() + vertical_.taps;
    const std::int64_t out_row = out.width() * Image::kChannels;
    rows_.resize(static_cast<std::size_t>((last - first) * out_row));
    for (std::int64_t y = first; y < last; ++y)
      filter_row(image.row(y), &rows_[static_cast<std::size_t>((y - first) * out_row)]);
    sums_.resize(static_cast<std::size_t>(out_row));
    for (std::int64_t y = 0; y < out.height(); ++y) {
      const auto at = static_cast<std::size_t>(y);
      std::fill(sums_.begin(), sums_.end(), 0.5f);
      for (std::int64_t tap = 0; tap < vertical_.taps; ++tap) {
        const float weight = vertical_.weight[static_cast<std::size_t>(y * vertical_.taps + tap)];
        const float* row = &rows_[static_cast<std::size_t>((vertical_.begin[at] + tap - first) * out_row)];
        for (std::int64_t i = 0; i < out_row; ++i) sums_[static_cast<std::size_t>(i)] += weight * row[i];
      }
      std::uint8_t* target = out.row(y);
      for (std::int64_t i = 0; i < out_row; ++i)
        target[i] = static_cast<std::uint8_t>(std::clamp(sums_[static_cast<std::size_t>(i)], 0.0f, 255.0f));
    }
  }

 private:
  // For every output position: the first source pixel and `taps` weights that sum to 1.
  struct Filter {
    std::vector<std::int64_t> begin;
    std::vector<float> weight;
    std::int64_t taps = 0;

    void compute(double from, double length, std::int64_t source, std::int64_t target) {
      const double scale = length / static_cast<double>(target);
      const double support = std::max(scale, 1.0);
      taps = std::min(source, static_cast<std::int64_t>(std::ceil(support)) * 2 + 1);
      begin.resize(static_cast<std::size_t>(target));
      weight.resize(static_cast<std::size_t>(target * taps));
      for (std::int64_t i = 0; i < target; ++i) {
        const double centre = from + (static_cast<double>(i) + 0.5) * scale;
        const auto wanted = static_cast<std::int64_t>(std::floor(centre - support));
        const std::int64_t start = std::clamp<std::int64_t>(wanted, 0, source - taps);
        double sum = 0;
        float* weights = &weight[static_cast<std::size_t>(i * taps)];
        for (std::int64_t tap = 0; tap < taps; ++tap) {
          const double distance = std::abs(static_cast<double>(start + tap) + 0.5 - centre) / support;
          const double value = std::max(0.0, 1 - distance);
          weights[tap] = static_cast<float>(value);
          sum += value;
        }
        for (std::int64_t tap = 0; tap < taps; ++tap) weights[tap] = static_cast<float>(weights[tap] / sum);
        begin[static_cast<std::size_t>(i)] = start;
      }
    }
  };

  void filter_row(const std::uint8_t* row, float* out) const {
    const auto width = static_cast<std::int64_t>(horizontal_.begin.size());
    for (std::int64_t x = 0; x < width; ++x) {
      const std::uint8_t* source = row + horizontal_.begin[static_cast<std::size_t>(x)] * Image::kChannels;
      const float* weights = &horizontal_.weight[static_cast<std::size_t>(x * horizontal_.taps)];
      float r = 0, g = 0, b = 0;
      for (std::int64_t tap = 0; tap < horizontal_.taps; ++tap, source += 3) {
        r += weights[tap] * source[0];
        g += weights[tap] * source[1];
        b += weights[tap] * source[2];
      }
      out[0] = r;
      out[1] = g;
      out[2] = b;
      out += 3;
    }
  }

  Filter vertical_, horizontal_;
  std::vector<float> rows_, sums_;
};

/// The whole of `image`, resized; throws ValueError where `size` is not that of an image.
inline Image resized(const Image& image, ImageSize size) {
  Image out(size);
  Resampler().resize(image, {0, 0, static_cast<double>(image.height()), static_cast<double>(image.width())}, out);
  return out;
}

}  // namespace data
}  // namespace v0
}  // namespace spnet
