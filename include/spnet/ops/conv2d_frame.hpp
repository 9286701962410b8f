// Copies of images with what lies around them, so that all output pixels see all taps and a product may take many rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "spnet/kernels/conv.hpp"
#include "spnet/ops/conv2d_geometry.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

/// Whether every tap of the first phase lies within the image, for all of its outputs.
inline bool reads_inside(const Correlation& c) {
  const Phase& phase = c.phases[0];
  return std::all_of(phase.taps.begin(), phase.taps.end(), [&](const Tap& tap) {
    return tap.row >= 0 && tap.col >= 0 && (phase.rows - 1) * c.stride_h + tap.row < c.in_rows &&
           (phase.cols - 1) * c.stride_w + tap.col < c.in_cols;
  });
}

/// What a copy holds: from the first input row and column on that a tap of output (0, 0) of any phase reads.
struct Frame {
  std::int64_t row = 0, col = 0;
  std::int64_t more_rows = 0;  ///< than an output row's first one
  std::int64_t cols;           ///< that all outputs of a row read

  explicit Frame(const Correlation& c) {
    std::int64_t last_row = 0, last_col = 0, outputs = 1;
    bool is_first = true;
    for (const Phase& phase : c.phases) {
      outputs = std::max(outputs, phase.cols);
      for (const Tap& tap : phase.taps) {
        row = is_first ? tap.row : std::min(row, tap.row);
        col = is_first ? tap.col : std::min(col, tap.col);
        last_row = is_first ? tap.row : std::max(last_row, tap.row);
        last_col = is_first ? tap.col : std::max(last_col, tap.col);
        is_first = false;
      }
    }
    more_rows = last_row - row;
    cols = (outputs - 1) * c.stride_w + last_col - col + 1;
  }
  /// Rows for so many output rows.
  std::int64_t rows(const Correlation& c, std::int64_t outputs) const {
    return (outputs - 1) * c.stride_h + more_rows + 1;
  }
  /// Whether copies are of a size with the image, and not mostly what lies around it: their sizes are safe then.
  bool is_tight(const Correlation& c) const {
    constexpr std::int64_t kMargin = 16;
    return rows(c, c.most_rows()) <= 2 * c.in_rows + kMargin && cols <= 2 * c.in_cols + kMargin;
  }
  /// The image's columns [begin, end) in those of the copy.
  std::int64_t begin() const { return std::clamp<std::int64_t>(-col, 0, cols); }
  std::int64_t end(const Correlation& c) const { return std::clamp(c.in_cols - col, begin(), cols); }
  /// Goes through the copy of what output rows [first, last) of an image read, in pixels of the copy: calls pad(at, count)
  /// for those around the image, and copy(at, row, col, count) for those of an image's row from a column on.
  template <class Pad, class Copy>
  void for_each_row(const Correlation& c, std::int64_t first, std::int64_t last, const Pad& pad, const Copy& copy) const {
    const std::int64_t top = first * c.stride_h + row, count = rows(c, last - first), left = begin(), right = end(c);
    for (std::int64_t i = 0; i < count; ++i) {
      const bool is_inside = top + i >= 0 && top + i < c.in_rows && left < right;
      pad(i * cols, is_inside ? left : cols);
      if (!is_inside) continue;
      copy(i * cols + left, top + i, left + col, right - left);
      pad(i * cols + right, cols - right);
    }
  }
  /// Where a tap reads for an output, in pixels from the first that the output reads.
  std::int64_t offset(const Tap& tap) const { return (tap.row - row) * cols + tap.col - col; }
};

/// A direction of the output: positions, and how far they lie in x, in y, and counted in pixels.
struct Direction {
  std::int64_t count, x, y, pixel = 0;
};

/// The pixels of some rows of some images, as lines of products: `outer` products of lines of pixels.
struct FrameLines {
  Direction pixels, lines, outer;

  FrameLines(const Direction& of_row, const Direction& rows, const Direction& images)
      : pixels(of_row), lines(rows), outer(images) {
    // Of images of few pixels, the same pixel of all.
    constexpr std::int64_t kFewPixels = 12;
    if (pixels.count * lines.count >= kFewPixels || outer.count <= pixels.count) return;
    std::swap(pixels, outer);
    std::swap(outer, lines);
  }
  kernels::Lines of_product() const { return {lines.count, lines.x, lines.y}; }
};

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
