// The gradient with respect to the weights by bf16 products, in which an input channel is a "pixel", the gradients of an
// output are its weights, and what is summed over are output pixels: those of an image's rows, one after the other, each
// row padded with zeros to `pitch` gradients. Chunks of sums are those of WeightGrad.
//
// A channel's values lie as the pixels that read them do, so that each tap finds them `pitch` times its row and its
// column further on, whatever the zeros between rows meet. At a stride s, rows s·m + r of one residue r are kept
// together, and so are columns.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_bf16.hpp"
#include "spnet/ops/conv2d_copy.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_panels.hpp"
#include "spnet/ops/conv2d_weight_grad.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

/// What taps read along one direction: positions stride·(m + shift) + residue for outputs m.
struct TapShifts {
  PoolVector<std::int64_t> residues;
  std::int64_t least = 0, most = 0;  // shift

  void add(std::int64_t offset, std::int64_t stride) {
    const std::int64_t shift = floor_div(offset, stride), residue = offset - shift * stride;
    least = residues.empty() ? shift : std::min(least, shift);
    most = residues.empty() ? shift : std::max(most, shift);
    if (index(residue) == std::ssize(residues)) residues.push_back(residue);
  }
  std::int64_t index(std::int64_t residue) const {
    return std::find(residues.begin(), residues.end(), residue) - residues.begin();
  }
};

/// As WeightGrad, with products of bf16.
template <class Source>
class Bf16WeightGrad {
 public:
  /// `parts` of x and of dy.
  Bf16WeightGrad(const Correlation& c, const float* dy, const Source& x, const Bf16Parts& parts)
      : c_(c),
        phase_(c.phases[0]),
        dy_(dy),
        x_(x),
        k_(kernels::active().bf16),
        parts_(parts),
        panels_(k_, c.outputs),
        units_(grad_units(c)) {
    for (const Tap& tap : phase_.taps) {
      rows_.add(tap.row, c.stride_h);
      cols_.add(tap.col, c.stride_w);
    }
    pitch_ = ceil_div(phase_.cols + cols_.most - cols_.least, 2) * 2;
    sums_ = ceil_div(units_.band * pitch_, kChunk) * kChunk;
    in_rows_ = units_.band + rows_.most - rows_.least;
    plane_ = units_.images * in_rows_ * pitch_;
    // What follows the last row is read, too. An odd number of cache lines, for channels to fall into different sets.
    x_channel_ = (ceil_div(std::ssize(rows_.residues) * std::ssize(cols_.residues) * plane_ + pitch_ + kChunk, kChunk) |
                  1) * kChunk;
    add_groups();
  }

  void operator()(float* dw) const {
    const std::int64_t size = c_.outputs * std::ssize(phase_.taps) * c_.channels;
    // Sums are [tap][channel][output], and are transposed in the end.
    const Buffer transposed(static_cast<std::size_t>(size) * sizeof(float));
    const GradChunks chunks(units_.count, size, static_cast<float*>(transposed.data()));
    // Where there are few chunks, the outputs are cut too.
    const std::int64_t splits = std::min(ceil_div(kLeastTasks, chunks.count()), panels_.count());
    const std::int64_t floats = row_floats<Source>((c_.in_cols - 1) * c_.in_step + c_.channels);
    const std::int64_t segment_bytes =  // whole cache lines
        ceil_div(parts_.products() * units_.images * static_cast<std::int64_t>(sizeof(Segment)), 64) * 64;
    const std::int64_t value_bytes = floats * static_cast<std::int64_t>(sizeof(float));
    const std::int64_t x_elements = parts_.first * c_.channels * x_channel_,
                       dy_elements = dy_part() * parts_.second * ceil_div(panels_.count(), splits) * panels_.panel;
    const std::int64_t element_bytes = (x_elements + dy_elements) * static_cast<std::int64_t>(sizeof(std::uint16_t));
    parallel_for_scratch<std::byte>(
        chunks.count() * splits, segment_bytes + value_bytes + element_bytes,
        [&](std::int64_t task, std::byte* scratch) {
          const std::int64_t chunk = task % chunks.count(), split = task / chunks.count();
          const std::int64_t first = split * panels_.count() / splits, last = (split + 1) * panels_.count() / splits;
          auto* const segments = reinterpret_cast<Segment*>(scratch);
          auto* const values = reinterpret_cast<float*>(scratch + segment_bytes);
          auto* const x = reinterpret_cast<std::uint16_t*>(scratch + segment_bytes + value_bytes);
          auto* const dy = x + x_elements;
          // The zeros between rows.
          std::fill_n(x, x_elements + dy_elements, std::uint16_t{0});
          for (std::int64_t i = chunks.begin(chunk); i < chunks.begin(chunk + 1); ++i) {
            const GradUnits::Unit unit = units_.at(c_, i);
            copy_x(unit, values, x);
            for (std::int64_t p = first; p < last; ++p) copy_dy(unit, p, dy + panel_begin(p - first));
            for (std::int64_t p = first; p < last; ++p)
              multiply(unit, p, x, dy + panel_begin(p - first), segments, chunks.sums(chunk),
                       i > chunks.begin(chunk));
          }
          if (k_.release) k_.release();
        });
    chunks.add();
    const float* const from = chunks.sums(0);
    parallel_ranges(c_.outputs, 8, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        for (std::int64_t t = 0; t < std::ssize(phase_.taps); ++t) {
          float* const to = dw + o * c_.w_output + phase_.taps[static_cast<std::size_t>(t)].weight;
          for (std::int64_t i = 0; i < c_.channels; ++i) to[i] = from[(t * c_.channels + i) * c_.outputs + o];
        }
      }
    });
  }

 private:
  // Pixels are summed over in multiples of these, for the kernel's products to be of one shape.
  static constexpr std::int64_t kChunk = 32;

  // Taps that lie at equal distances, as lines of channels.
  struct Group {
    std::int64_t tap, offset;  // of the first
    kernels::Lines lines;
  };

  // Elements of one part of the gradient, for one output.
  std::int64_t dy_part() const { return units_.images * sums_; }
  std::int64_t panel_begin(std::int64_t p) const { return p * panels_.panel * parts_.second * dy_part(); }
  // Where a tap finds what the first output reads, in a channel's values.
  std::int64_t offset(const Tap& tap) const {
    const std::int64_t row = floor_div(tap.row, c_.stride_h), col = floor_div(tap.col, c_.stride_w);
    return plane_of(rows_.index(tap.row - row * c_.stride_h), cols_.index(tap.col - col * c_.stride_w)) +
           (row - rows_.least) * pitch_ + col - cols_.least;
  }
  // Of the residues with these indices.
  std::int64_t plane_of(std::int64_t row, std::int64_t col) const {
    return (row * std::ssize(cols_.residues) + col) * plane_;
  }
  void add_groups() {
    const auto tap_count = std::ssize(phase_.taps);
    PoolVector<bool> is_in_group(static_cast<std::size_t>(tap_count), false);
    for (std::int64_t t = 0; t < tap_count; ++t) {
      if (is_in_group[static_cast<std::size_t>(t)]) continue;
      Group group{t, offset(phase_.taps[static_cast<std::size_t>(t)]), {}};
      std::int64_t between = 0;  // taps of one line and the next
      for (std::int64_t next = t + 1; next < tap_count; ++next) {
        const Tap& tap = phase_.taps[static_cast<std::size_t>(next)];
        if (tap.row != phase_.taps[static_cast<std::size_t>(t)].row) break;
        const std::int64_t distance = offset(tap) - group.offset;
        if (distance < 0 || distance >= pitch_ || is_in_group[static_cast<std::size_t>(next)]) continue;
        if (group.lines.count == 1) {
          group.lines.x = distance;
          between = next - t;
        }
        if (distance != group.lines.count * group.lines.x || next - t != group.lines.count * between) continue;
        ++group.lines.count;
        is_in_group[static_cast<std::size_t>(next)] = true;
      }
      group.lines.y = between * c_.channels * c_.outputs;
      groups_.push_back(group);
    }
  }

  // Of channel c: [part][row residue][column residue][image][row][column].
  void copy_x(const GradUnits::Unit& unit, float* values, std::uint16_t* x) const {
    const std::int64_t row_step = c_.in_cols * c_.in_step, part = c_.channels * x_channel_;
    for (std::int64_t n = 0; n < unit.images; ++n) {
      for (std::int64_t r = 0; r < std::ssize(rows_.residues); ++r) {
        for (std::int64_t m = 0; m < in_rows_; ++m) {
          const std::int64_t row =
              (unit.first + m + rows_.least) * c_.stride_h + rows_.residues[static_cast<std::size_t>(r)];
          std::uint16_t* const to = x + plane_of(r, 0) + (n * in_rows_ + m) * pitch_;
          if (row < 0 || row >= c_.in_rows) {
            // Another unit may have left its own here.
            for (std::int64_t i = 0; units_.bands > 1 && i < parts_.first * c_.channels; ++i)
              for (std::int64_t col = 0; col < std::ssize(cols_.residues); ++col)
                std::fill_n(to + i * x_channel_ + col * plane_, pitch_, std::uint16_t{0});
            continue;
          }
          const float* const from = read_row(x_ + ((unit.image + n) * c_.in_rows + row) * row_step,
                                             row_step - c_.in_step + c_.channels, values);
          for (std::int64_t col = 0; col < std::ssize(cols_.residues); ++col) {
            const std::int64_t residue = cols_.residues[static_cast<std::size_t>(col)];
            const std::int64_t begin = std::max<std::int64_t>(-cols_.least, 0);
            const std::int64_t end = std::min(ceil_div(c_.in_cols - residue, c_.stride_w) - cols_.least, pitch_);
            if (begin >= end) continue;
            std::uint16_t* const high = to + col * plane_ + begin;
            k_.transpose({from + ((begin + cols_.least) * c_.stride_w + residue) * c_.in_step,
                          c_.stride_w * c_.in_step, end - begin, c_.channels, high,
                          parts_.first > 1 ? high + part : nullptr, x_channel_});
          }
        }
      }
    }
  }
  // Of panel p: [part][image][pair of pixels][width of the panel].
  void copy_dy(const GradUnits::Unit& unit, std::int64_t p, std::uint16_t* dy) const {
    const std::int64_t width = panels_.width(p), part = dy_part() * width, rows = unit.last - unit.first;
    for (std::int64_t n = 0; n < unit.images; ++n) {
      std::uint16_t* const image = dy + n * sums_ * width;
      for (std::int64_t row = 0; row < rows; ++row) {
        std::uint16_t* const high = image + row * pitch_ * width;
        k_.interleave({dy_ + (unit.image + n) * c_.y_image + (unit.first + row) * c_.y_row + p * panels_.panel,
                       c_.y_step, phase_.cols, panels_.valid(p), high, parts_.second > 1 ? high + part : nullptr,
                       width});
      }
      // Another unit may have left its own here.
      for (std::int64_t i = 0; rows < units_.band && i < parts_.second; ++i)
        std::fill_n(image + i * part + rows * pitch_ * width, (sums_ - rows * pitch_) * width, std::uint16_t{0});
    }
  }
  void multiply(const GradUnits::Unit& unit, std::int64_t p, const std::uint16_t* x, const std::uint16_t* dy,
                Segment* segments, float* sums, bool accumulate) const {
    std::int64_t count = 0;
    for (std::int64_t n = 0; n < unit.images; ++n)
      parts_.for_each_product([&](std::int64_t of_x, std::int64_t of_dy) {
        segments[count++] = {of_x * c_.channels * x_channel_ + n * in_rows_ * pitch_, sums_,
                             (of_dy * units_.images + n) * sums_};
      });
    for (const Group& group : groups_)
      k_.product({x + group.offset, x_channel_, c_.channels, segments, count, dy, panels_.width(p), panels_.valid(p),
                  sums + group.tap * c_.channels * c_.outputs + p * panels_.panel, c_.outputs, accumulate,
                  group.lines});
  }

  const Correlation& c_;
  const Phase& phase_;
  const float* dy_;
  Source x_;
  const kernels::Bf16Kernels& k_;
  Bf16Parts parts_;  // of the input and of the gradient
  Panels panels_;    // of outputs
  GradUnits units_;
  TapShifts rows_, cols_;
  std::int64_t pitch_;     // columns of a row, in the input and in the gradient
  std::int64_t sums_;      // pixels of an image that are summed over
  std::int64_t in_rows_;   // of one residue, of an image
  std::int64_t plane_;     // values of one residue, of all images of a unit
  std::int64_t x_channel_;
  PoolVector<Group> groups_;
};

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
