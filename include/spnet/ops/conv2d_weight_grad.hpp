// The engine behind the gradient with respect to the weights: sums over pixels, chunk by chunk. Chunks depend on sizes
// alone and their sums are added in one order, so that the result has the same bits for any number of threads. Floats
// are read where they lie; output pixels that see the same taps are summed together, so that no zero is multiplied.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <type_traits>
#include <utility>

#include "spnet/core/memory.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_copy.hpp"
#include "spnet/ops/conv2d_direct.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_panels.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

inline constexpr std::int64_t kMostChunks = 16;
/// Partial sums of all chunks together stay below this many floats.
inline constexpr std::int64_t kPartialFloats = 4 * 1024 * 1024;
/// Floats of both factors that are read again and again: they stay in the second-level cache; of many small images
/// those of the channels at hand do.
inline constexpr std::int64_t kUnitFloats = 96 * 1024;
inline constexpr std::int64_t kMostImages = 8;
/// Pixels for which it is worth to load and store the sums.
inline constexpr std::int64_t kUnitPixels = 512;

/// The work of a weight gradient, cut into units: bands of rows of a group of images.
struct GradUnits {
  std::int64_t images, band, bands, count;

  struct Unit {
    std::int64_t first, last;  // rows
    std::int64_t image, images;
  };
  /// Of images with so many floats in both factors; `least` units.
  GradUnits(const Correlation& c, std::int64_t floats, std::int64_t least) {
    const std::int64_t rows = c.phases[0].rows, pixels = std::max<std::int64_t>(rows * c.phases[0].cols, 1);
    images = std::clamp<std::int64_t>(
        std::min(ceil_div(kUnitPixels, pixels), kUnitFloats * kMostImages / std::max<std::int64_t>(floats, 1)), 1,
        std::max<std::int64_t>(c.batch / least, 1));
    const std::int64_t groups = ceil_div(c.batch, images);
    band = std::max<std::int64_t>(ceil_div(rows, std::max(ceil_div(floats, kUnitFloats), ceil_div(least, groups))), 1);
    bands = ceil_div(rows, band);
    count = groups * bands;
  }
  Unit at(const Correlation& c, std::int64_t unit) const {
    const std::int64_t first = unit % bands * band, image = unit / bands * images;
    return {first, std::min(first + band, c.phases[0].rows), image, std::min(images, c.batch - image)};
  }
};

/// Those of floats or codes, `c` being the forward correlation.
inline GradUnits grad_units(const Correlation& c) {
  const std::int64_t x = c.in_rows * c.in_cols * c.channels, dy = c.phases[0].rows * c.phases[0].cols * c.outputs;
  const std::int64_t dw = c.outputs * std::ssize(c.phases[0].taps) * c.channels;
  return {c, x + dy, dw > c.in_rows * c.in_cols * c.in_step ? 1 : ceil_div(kLeastTasks, c.batch)};
}

/// Units in chunks of neighbours, each with sums of its own: those of the first in `dw`, the others' in a buffer.
class GradChunks {
 public:
  GradChunks(std::int64_t units, std::int64_t size, float* dw, std::int64_t most = kMostChunks)
      : units_(units),
        size_(size),
        count_(std::min(std::clamp<std::int64_t>(kPartialFloats / std::max<std::int64_t>(size, 1), 1, most), units)),
        dw_(dw),
        partial_(static_cast<std::size_t>(size * (count_ - 1)) * sizeof(float)) {}
  std::int64_t count() const { return count_; }
  std::int64_t begin(std::int64_t chunk) const { return chunk * units_ / count_; }
  float* sums(std::int64_t chunk) const {
    return chunk == 0 ? dw_ : static_cast<float*>(partial_.data()) + (chunk - 1) * size_;
  }
  /// Adds the sums of all chunks in ascending order.
  void add() const {
    if (count_ == 1) return;
    parallel_ranges(size_, 4096, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t chunk = 1; chunk < count_; ++chunk) {
        const float* const from = sums(chunk);
        for (std::int64_t i = begin; i < end; ++i) dw_[i] += from[i];
      }
    });
  }

 private:
  std::int64_t units_, size_, count_;
  float* dw_;
  Buffer partial_;
};

/// Values in blocks of kBlock channels: how far the next pixel, row, image and block lie.
struct BlockSteps {
  std::int64_t pixel, row, image, block;

  /// Where they lie.
  static BlockSteps in_place(std::int64_t pixel, std::int64_t row, std::int64_t image) {
    return {pixel, row, image, kBlock};
  }
  /// Of a dense copy of `rows` rows of `images` images.
  static BlockSteps copied(std::int64_t cols, std::int64_t rows, std::int64_t images) {
    return {kBlock, cols * kBlock, rows * cols * kBlock, images * rows * cols * kBlock};
  }
};

/// The gradient of one group. `by_outputs`: its vectors are outputs and its scalars are inputs, which suits few
/// channels; else the other way round.
template <class Source>
class WeightGrad {
 public:
  WeightGrad(const Correlation& c, const float* dy, const Source& x)
      : c_(c),
        phase_(c.phases[0]),
        dy_(dy),
        x_(x),
        spans_(c, phase_),
        by_outputs_(c.channels % kBlock != 0),
        length_(std::ssize(phase_.taps) * c.channels),
        units_(grad_units(c)),
        // Of a pointwise convolution at a stride most of the copy would not be read.
        copies_x_(!kFloats || (c.in_step > kDirectChannels && std::ssize(phase_.taps) >= c.stride_h * c.stride_w)),
        x_steps_(copies_x_ ? BlockSteps::copied(c.in_cols, c.most_input_rows(units_.band), units_.images)
                           : BlockSteps::in_place(c.in_step, c.in_cols * c.in_step, c.in_rows * c.in_cols * c.in_step)),
        copies_dy_(by_outputs_ ? c.outputs % kBlock != 0 : c.y_step > kDirectChannels),
        dy_steps_(copies_dy_ ? BlockSteps::copied(phase_.cols, units_.band, units_.images)
                             : BlockSteps::in_place(c.y_step, c.y_row, c.y_image)) {
    spans_.for_each_pair([&](const TapSpan& rows, const TapSpan& cols, std::size_t) { add_pair(rows, cols); });
  }

  void operator()(float* dw) const {
    // Sums by outputs are transposed in the end.
    const std::int64_t out_blocks = ceil_div(c_.outputs, kBlock), width = out_blocks * kBlock;
    const std::int64_t size = by_outputs_ ? length_ * width : c_.outputs * length_;
    const Buffer transposed(by_outputs_ ? static_cast<std::size_t>(size) * sizeof(float) : 0);
    const GradChunks chunks(units_.count, size, by_outputs_ ? static_cast<float*>(transposed.data()) : dw);
    // Where there are few chunks, the outputs are cut too.
    const std::int64_t splits = std::min(ceil_div(kLeastTasks, chunks.count()), out_blocks);
    const std::int64_t x_copy = !copies_x_ ? 0 : ceil_div(c_.channels, kBlock) * x_steps_.block;
    const std::int64_t dy_copy = copies_dy_ ? out_blocks * dy_steps_.block : 0;
    parallel_for_scratch<float>(chunks.count() * splits, x_copy + dy_copy, [&](std::int64_t task, float* scratch) {
      const std::int64_t chunk = task % chunks.count(), split = task / chunks.count();
      const std::int64_t first_block = split * out_blocks / splits, last_block = (split + 1) * out_blocks / splits;
      const std::int64_t begin = first_block * kBlock,
                         end = std::min(last_block * kBlock, by_outputs_ ? width : c_.outputs);
      float* const sums = chunks.sums(chunk);
      // Where all pixels see all taps, the first unit sets all sums.
      const bool fill =
          pairs_.size() > 1 || taps_in(spans_.rows[0]) * taps_in(spans_.cols[0]) != std::ssize(phase_.taps);
      if (fill && by_outputs_) {
        for (std::int64_t k = 0; k < length_; ++k) std::fill(sums + k * width + begin, sums + k * width + end, 0.0f);
      } else if (fill) {
        std::fill(sums + begin * length_, sums + end * length_, 0.0f);
      }
      for (std::int64_t i = chunks.begin(chunk); i < chunks.begin(chunk + 1); ++i) {
        const GradUnits::Unit unit = units_.at(c_, i);
        const ImageRows x = x_values(unit, scratch), dy = dy_values(unit, begin, end, scratch + x_copy);
        const bool accumulate = fill || i > chunks.begin(chunk);
        const auto of_pair = [&](const TapSpan& rows, const TapSpan& cols, std::size_t pair) {
          multiply(pairs_[pair], rows, cols, unit, x, dy, begin, end, sums, width, accumulate);
        };
        spans_.for_each_pair(unit.first, unit.last, of_pair);
      }
    });
    chunks.add();
    if (by_outputs_) {
      const float* const from = chunks.sums(0);
      parallel_ranges(c_.outputs, 64, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t o = begin; o < end; ++o)
          for (std::int64_t k = 0; k < length_; ++k) dw[o * length_ + k] = from[k * width + o];
      });
    }
  }

 private:
  static constexpr bool kFloats = std::is_pointer_v<Source>;
  using Side = kernels::WeightGradArgs::Side;
  // Channels that follow each other in the input and in the weights.
  struct Run {
    std::int64_t offset, weight, length;
  };
  // What a pair of spans sees: blocks of channels, or runs.
  struct Pair {
    PoolVector<std::int64_t> offsets, targets;
    PoolVector<Run> runs;
  };

  static std::int64_t taps_in(const TapSpan& span) { return span.last - span.first; }
  void add_pair(const TapSpan& rows, const TapSpan& cols) {
    Pair& pair = pairs_.emplace_back();
    spans_.for_each_tap(phase_, rows, cols, [&](std::int64_t t, const Tap& tap) {
      for (std::int64_t channel = 0; channel < c_.channels; channel += kBlock) {
        const Run run{tap.row * x_steps_.row + tap.col * x_steps_.pixel + channel / kBlock * x_steps_.block,
                      t * c_.channels + channel, std::min(kBlock, c_.channels - channel)};
        if (!by_outputs_) {
          pair.offsets.push_back(run.offset);
          pair.targets.push_back(run.weight);
        } else if (!pair.runs.empty() && pair.runs.back().offset + pair.runs.back().length == run.offset &&
                   pair.runs.back().weight + pair.runs.back().length == run.weight) {
          pair.runs.back().length += run.length;
        } else {
          pair.runs.push_back(run);
        }
      }
    });
    for (std::int64_t b = 0; by_outputs_ && b < ceil_div(c_.outputs, kBlock); ++b) {
      pair.offsets.push_back(b * dy_steps_.block);
      pair.targets.push_back(b * kBlock);
    }
  }

  // Both factors' values, of a unit's first image.
  ImageRows x_values(const GradUnits::Unit& unit, float* copy) const {
    const std::int64_t image = c_.in_rows * c_.in_cols * c_.in_step;
    if constexpr (kFloats) {
      if (!copies_x_) return {x_ + unit.image * image, 0};
    }
    const auto [first, last] = c_.input_rows(unit.first, unit.last);
    for (std::int64_t i = 0; i < unit.images; ++i) {
      const auto to =
          copy_of(x_ + ((unit.image + i) * image + first * c_.in_cols * c_.in_step), copy + i * x_steps_.image);
      for (std::int64_t channel = 0; channel < c_.channels; channel += kBlock)
        to.gather(channel, c_.in_step, (last - first) * c_.in_cols, std::min(kBlock, c_.channels - channel),
                  channel / kBlock * x_steps_.block, kBlock);
    }
    return {copy, first};
  }
  ImageRows dy_values(const GradUnits::Unit& unit, std::int64_t begin, std::int64_t end, float* copy) const {
    const float* const dy = dy_ + unit.image * c_.y_image;
    if (!copies_dy_) return {dy, 0};
    const kernels::ConvKernels& k = kernels::active().conv;
    for (std::int64_t i = 0; i < unit.images; ++i)
      for (std::int64_t row = unit.first; row < unit.last; ++row)
        for (std::int64_t b = begin; b < end; b += kBlock)
          k.gather({dy + i * c_.y_image + row * c_.y_row + b, c_.y_step, phase_.cols, std::min(kBlock, c_.outputs - b),
                    copy + i * dy_steps_.image + (row - unit.first) * dy_steps_.row + b / kBlock * dy_steps_.block,
                    c_.y_row});
    return {copy, unit.first};
  }

  // Outputs [begin, end) of the pixels of two spans.
  void multiply(const Pair& pair, const TapSpan& rows, const TapSpan& cols, const GradUnits::Unit& unit,
                const ImageRows& x, const ImageRows& dy, std::int64_t begin, std::int64_t end, float* sums,
                std::int64_t width, bool accumulate) const {
    const kernels::ConvKernels& k = kernels::active().conv;
    const Side inputs{
        x.data + (rows.begin * c_.stride_h - x.skipped) * x_steps_.row + cols.begin * c_.stride_w * x_steps_.pixel,
        c_.stride_w * x_steps_.pixel, c_.stride_h * x_steps_.row, x_steps_.image};
    const Side outputs{dy.data + (rows.begin - dy.skipped) * dy_steps_.row + cols.begin * dy_steps_.pixel,
                       dy_steps_.pixel, dy_steps_.row, dy_steps_.image};
    std::int64_t row_count = rows.size(), col_count = cols.size();
    if (inputs.row == col_count * inputs.step && outputs.row == col_count * outputs.step)
      col_count *= std::exchange(row_count, 1);
    if (!by_outputs_) {
      // Those of a copy lie in blocks.
      const std::int64_t most = copies_dy_ ? kBlock : end - begin;
      for (std::int64_t o = begin; o < end; o += most) {
        const Side scalars{outputs.data + o / kBlock * dy_steps_.block, outputs.step, outputs.row, outputs.image};
        k.weight_grad({inputs, scalars, unit.images, row_count, col_count, pair.offsets.data(), pair.targets.data(),
                       std::ssize(pair.offsets), std::min(most, end - o), sums + o * length_, length_, accumulate});
      }
      return;
    }
    for (const Run& run : pair.runs) {
      const Side scalars{inputs.data + run.offset, inputs.step, inputs.row, inputs.image};
      k.weight_grad({outputs, scalars, unit.images, row_count, col_count, pair.offsets.data() + begin / kBlock,
                     pair.targets.data() + begin / kBlock, ceil_div(end - begin, kBlock), run.length,
                     sums + run.weight * width, width, accumulate});
    }
  }

  const Correlation& c_;
  const Phase& phase_;
  const float* dy_;
  Source x_;
  TapSpans spans_;
  bool by_outputs_;
  std::int64_t length_;  // of an output's weights
  GradUnits units_;
  bool copies_x_;
  BlockSteps x_steps_;
  bool copies_dy_;
  BlockSteps dy_steps_;
  PoolVector<Pair> pairs_;  // [row span][column span]
};

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
