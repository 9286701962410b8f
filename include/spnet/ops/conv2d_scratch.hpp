// The padded copy of a band of input rows that the convolution kernels read: blocks of kBlock channels in which
// neighbouring output pixels are neighbours, whatever the stride, and borders are zeros like any other pixel.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "spnet/ops/conv2d_copy.hpp"
#include "spnet/ops/conv2d_geometry.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

/// Largest scratch of one band: it stays in a core's second-level cache beside a panel of weights.
inline constexpr std::int64_t kBandFloats = 48 * 1024;

/// Positions along one direction. Inputs of one residue modulo the stride form a part of their own, and residues that
/// no tap reads have none: output i finds its tap at position(tap) + i.
struct Axis {
  struct Part {
    std::int64_t residue, first, size;
  };
  std::int64_t origin = 0, stride = 1, length = 0;
  PoolVector<Part> parts;

  Axis(const Correlation& c, bool vertical, std::int64_t count) : stride(vertical ? c.stride_h : c.stride_w) {
    auto offset = [&](const Tap& tap) { return vertical ? tap.row : tap.col; };
    bool any = false;
    for (const Phase& phase : c.phases) {
      for (const Tap& tap : phase.taps) {
        origin = any ? std::min(origin, offset(tap)) : offset(tap);
        any = true;
      }
    }
    for (const Phase& phase : c.phases) {
      for (const Tap& tap : phase.taps) {
        const std::int64_t residue = (offset(tap) - origin) % stride;
        const std::int64_t size = count + (offset(tap) - origin) / stride;
        auto part = std::find_if(parts.begin(), parts.end(), [&](const Part& p) { return p.residue == residue; });
        if (part == parts.end()) part = parts.insert(part, {residue, 0, 0});
        part->size = std::max(part->size, size);
      }
    }
    for (Part& part : parts) {
      part.first = length;
      length += part.size;
    }
  }
  std::int64_t position(std::int64_t offset) const {
    const std::int64_t residue = (offset - origin) % stride;
    for (const Part& part : parts) {
      if (part.residue == residue) return part.first + (offset - origin) / stride;
    }
    return 0;
  }
};

/// The layout [row][block][column][kBlock] of the scratch for bands of at most `band` output rows. Where the input has
/// few channels, and `may_fold`, the taps of a row are folded into the channels; only floats are copied so.
class ScratchLayout {
 public:
  ScratchLayout(const Correlation& c, std::int64_t band, bool may_fold)
      : c_(c),
        band_(band),
        folded_(may_fold && folds(c)),
        channels_(folded_ ? c.channels * fold_width(c) : c.channels),
        blocks_(ceil_div(channels_, kBlock)),
        cols_(c, false, columns(c)),
        rows_(c, true, band) {
    if (folded_) cols_.length = columns(c);
  }

  /// Rows in a band so that the scratch stays within kBandFloats; fewer where the batch alone makes too few tasks.
  static std::int64_t band_rows(const Correlation& c, std::int64_t least_bands, bool may_fold) {
    const ScratchLayout one(c, 1, may_fold);
    const std::int64_t rows = c.most_rows();
    const std::int64_t parts = std::max<std::int64_t>(1, static_cast<std::int64_t>(one.rows_.parts.size()));
    const std::int64_t fitting = (kBandFloats / std::max<std::int64_t>(one.row_step(), 1) - one.rows_.length) / parts + 1;
    const std::int64_t bands = std::max(ceil_div(rows, std::max<std::int64_t>(fitting, 1)), least_bands);
    return std::max<std::int64_t>(ceil_div(rows, std::max<std::int64_t>(bands, 1)), 1);
  }

  std::int64_t row_step() const { return blocks_ * block_step(); }
  std::int64_t block_step() const { return cols_.length * kBlock; }
  std::int64_t blocks() const { return blocks_; }
  /// Channels of block `b`.
  std::int64_t channels(std::int64_t b) const { return std::min(kBlock, channels_ - b * kBlock); }
  /// Elements to allocate: the scratch, and one pixel's window where taps are folded.
  std::int64_t elements() const { return rows_.length * row_step() + (folded_ ? channels_ : 0) + kBlock; }

  /// True where the taps of a row are folded into the channels.
  bool folded() const { return folded_; }
  /// Where the segment of (tap, block) begins for output pixel 0; tap is the leftmost of its row where folded.
  std::int64_t offset(const Tap& tap, std::int64_t block) const {
    const std::int64_t col = folded_ ? 0 : cols_.position(tap.col);
    return rows_.position(tap.row) * row_step() + block * block_step() + col * kBlock;
  }

  /// Copies what output rows [first, first + count) of one image read, from the image at the group's first channel.
  template <class Copy>
  void fill(const Copy& copy, std::int64_t first, std::int64_t count) const {
    for (const Axis::Part& part : rows_.parts) {
      const std::int64_t used = part.size - band_ + count;
      for (std::int64_t j = 0; j < used; ++j) {
        const std::int64_t row = rows_.origin + part.residue + (first + j) * rows_.stride;
        const std::int64_t line = (part.first + j) * row_step(), from = row * c_.in_cols * c_.in_step;
        if (row < 0 || row >= c_.in_rows) {
          copy.zero(line, row_step());
        } else if (!folded_) {
          fill_row(copy, from, line);
        } else if constexpr (std::is_same_v<Copy, FloatCopy>) {
          fill_folded(copy.k, copy.x + from, copy.to + line, copy.to + rows_.length * row_step());
        }
      }
    }
  }

 private:
  static std::int64_t columns(const Correlation& c) {
    std::int64_t cols = 0;
    for (const Phase& phase : c.phases) cols = std::max(cols, phase.cols);
    return cols;
  }
  // Number of taps in a row, where they are adjacent and the same in every row; 0 otherwise.
  static std::int64_t fold_width(const Correlation& c) {
    if (c.phases.size() != 1 || c.phases[0].taps.empty()) return 0;
    const auto& taps = c.phases[0].taps;
    std::size_t width = 1;
    while (width < taps.size() && taps[width].row == taps[0].row) ++width;
    if (taps.size() % width != 0) return 0;
    for (std::size_t t = 0; t < taps.size(); ++t) {
      if (taps[t].col != taps[0].col + static_cast<std::int64_t>(t % width)) return 0;
      if (taps[t].row != taps[t - t % width].row) return 0;
      if (taps[t].weight != taps[t - t % width].weight + static_cast<std::int64_t>(t % width) * c.channels) return 0;
    }
    return static_cast<std::int64_t>(width);
  }
  // Few channels (an image's three) would leave most of a block empty.
  static bool folds(const Correlation& c) {
    return c.w_channel == 1 && c.channels > 0 && c.channels < kBlock / 2 && fold_width(c) > 1;
  }

  template <class Copy>
  void fill_row(const Copy& copy, std::int64_t from, std::int64_t line) const {
    for (std::int64_t b = 0; b < blocks_; ++b, line += block_step()) {
      for (const Axis::Part& part : cols_.parts) {
        const std::int64_t left = cols_.origin + part.residue;
        const std::int64_t begin = std::clamp<std::int64_t>(ceil_div(-left, cols_.stride), 0, part.size);
        const std::int64_t end =
            std::clamp<std::int64_t>(ceil_div(c_.in_cols - left, cols_.stride), begin, part.size);
        const std::int64_t to = line + part.first * kBlock;
        copy.zero(to, begin * kBlock);
        if (end > begin) {
          copy.gather(from + (left + begin * cols_.stride) * c_.in_step + b * kBlock,
                      cols_.stride * c_.in_step, end - begin, channels(b), to + begin * kBlock,
                      rows_.stride * c_.in_cols * c_.in_step);
        }
        copy.zero(to + end * kBlock, (part.size - end) * kBlock);
      }
    }
  }
  // Pixels whose taps all lie within the row are gathered where they are, others through `window`.
  void fill_folded(const kernels::ConvKernels& k, const float* x, float* line, float* window) const {
    const std::int64_t width = channels_ / c_.channels;
    const bool dense = c_.in_step == c_.channels;
    const std::int64_t begin = std::clamp<std::int64_t>(ceil_div(-cols_.origin, cols_.stride), 0, cols_.length);
    const std::int64_t end = std::clamp<std::int64_t>(
        ceil_div(c_.in_cols - width + 1 - cols_.origin, cols_.stride), begin, cols_.length);
    if (dense && end > begin) {
      for (std::int64_t b = 0; b < blocks_; ++b) {
        k.gather({x + (cols_.origin + begin * cols_.stride) * c_.channels + b * kBlock, cols_.stride * c_.channels,
                  end - begin, channels(b), line + b * block_step() + begin * kBlock,
                  rows_.stride * c_.in_cols * c_.in_step});
      }
    }
    for (std::int64_t j = 0; j < cols_.length; ++j) {
      if (dense && j == begin) j = end;
      if (j == cols_.length) break;
      for (std::int64_t t = 0; t < width; ++t) {
        const std::int64_t col = cols_.origin + j * cols_.stride + t;
        float* to = window + t * c_.channels;
        if (col < 0 || col >= c_.in_cols) {
          std::fill_n(to, c_.channels, 0.0f);
        } else {
          std::copy_n(x + col * c_.in_step, c_.channels, to);
        }
      }
      for (std::int64_t b = 0; b < blocks_; ++b)
        k.gather({window + b * kBlock, channels_, 1, channels(b), line + b * block_step() + j * kBlock, 0});
    }
  }

  const Correlation& c_;
  std::int64_t band_;
  bool folded_;
  std::int64_t channels_, blocks_;
  Axis cols_, rows_;
};

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
