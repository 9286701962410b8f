// The gradient with respect to the weights by bf16 products: each tap's is one product, in which an output's gradients
// are the channels of a "pixel", and the input's pixels those of the weights. Chunks of sums are those of WeightGrad.
//
// Columns q = stride·m + r of the input with one residue r are kept together, in pairs m, whatever the tap: a tap that
// reads q for output j reads m = j + shift, and finds its gradients `shift` elements before the input's pixels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>

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
        panels_(k_, c.channels),
        units_(grad_units(c)),
        in_rows_(c.most_input_rows(units_.band)),
        row_(2 * ceil_div(ceil_div(c.in_cols, c.stride_w), 2)),
        part_rows_(units_.images * in_rows_ * c.stride_w * row_),
        dy_row_(phase_.cols + 1),
        // An odd number of cache lines, for outputs to fall into different sets of the cache.
        dy_output_((ceil_div(units_.images * units_.band * dy_row_ + 1, kLine) | 1) * kLine) {}

  void operator()(float* dw) const {
    const GradChunks chunks(units_.count, c_.outputs * c_.w_output, dw);
    // Where there are few chunks, the outputs are cut too.
    const std::int64_t out_blocks = ceil_div(c_.outputs, kBlock);
    const std::int64_t splits = std::min(ceil_div(kLeastTasks, chunks.count()), out_blocks);
    const std::int64_t most_outputs = ceil_div(out_blocks, splits) * kBlock;
    const std::int64_t floats = row_floats<Source>((c_.in_cols - 1) * c_.in_step + c_.channels);
    // Segments, values of a row, the input, and the gradient.
    const std::int64_t segment_bytes = most_segments() * static_cast<std::int64_t>(sizeof(Segment));
    const std::int64_t value_bytes = floats * static_cast<std::int64_t>(sizeof(float));
    const std::int64_t elements =
        parts_.first * part_rows_ * panels_.total() + parts_.second * most_outputs * dy_output_;
    const std::int64_t bytes =
        segment_bytes + value_bytes + elements * static_cast<std::int64_t>(sizeof(std::uint16_t));
    parallel_for_scratch<std::byte>(chunks.count() * splits, bytes, [&](std::int64_t task, std::byte* scratch) {
      const std::int64_t chunk = task % chunks.count(), split = task / chunks.count();
      const std::int64_t begin = split * out_blocks / splits * kBlock,
                         end = std::min((split + 1) * out_blocks / splits * kBlock, c_.outputs);
      auto* const segments = reinterpret_cast<Segment*>(scratch);
      auto* const values = reinterpret_cast<float*>(scratch + segment_bytes);
      auto* const x = reinterpret_cast<std::uint16_t*>(scratch + segment_bytes + value_bytes);
      auto* const dy = x + parts_.first * part_rows_ * panels_.total();
      for (std::int64_t i = chunks.begin(chunk); i < chunks.begin(chunk + 1); ++i) {
        const GradUnits::Unit unit = units_.at(c_, i);
        copy_x(unit, values, x);
        copy_dy(unit, begin, end, dy);
        multiply(unit, x, dy, end - begin, segments, chunks.sums(chunk) + begin * c_.w_output, i > chunks.begin(chunk));
      }
      if (k_.release) k_.release();
    });
    chunks.add();
  }

 private:
  static constexpr std::int64_t kLine = 32;  // elements

  std::int64_t most_segments() const { return parts_.products() * units_.images * units_.band; }
  bool reads_row(std::int64_t row) const {
    return std::any_of(phase_.taps.begin(), phase_.taps.end(),
                       [&](const Tap& tap) { return (row - tap.row) % c_.stride_h == 0; });
  }
  bool reads_residue(std::int64_t residue) const {
    return std::any_of(phase_.taps.begin(), phase_.taps.end(),
                       [&](const Tap& tap) { return (residue - tap.col) % c_.stride_w == 0; });
  }
  // Of panel p of the channels: [part][image][row][residue][pair of columns][width of the panel].
  std::uint16_t* x_panel(std::uint16_t* x, std::int64_t p) const {
    return x + p * panels_.panel * parts_.first * part_rows_;
  }
  std::int64_t x_row(std::int64_t image, std::int64_t row, std::int64_t residue) const {
    return ((image * in_rows_ + row) * c_.stride_w + residue) * row_;
  }
  // Of output o: [image][row][column], with a zero before each row and after the last.
  std::int64_t dy_row(std::int64_t image, std::int64_t row) const { return (image * units_.band + row) * dy_row_ + 1; }

  void copy_x(const GradUnits::Unit& unit, float* values, std::uint16_t* x) const {
    const std::int64_t row_step = c_.in_cols * c_.in_step;
    const auto [first, last] = c_.input_rows(unit.first, unit.last);
    for (std::int64_t n = 0; n < unit.images; ++n) {
      for (std::int64_t row = first; row < last; ++row) {
        if (!reads_row(row)) continue;
        const float* const from = read_row(x_ + ((unit.image + n) * c_.in_rows + row) * row_step,
                                           row_step - c_.in_step + c_.channels, values);
        for (std::int64_t residue = 0; residue < std::min(c_.stride_w, c_.in_cols); ++residue) {
          if (!reads_residue(residue)) continue;
          for (std::int64_t p = 0; p < panels_.count(); ++p) {
            const std::int64_t width = panels_.width(p);
            std::uint16_t* const to = x_panel(x, p) + x_row(n, row - first, residue) * width;
            k_.interleave({from + residue * c_.in_step + p * panels_.panel, c_.stride_w * c_.in_step, columns(residue),
                           panels_.valid(p), to, parts_.first > 1 ? to + part_rows_ * width : nullptr, width});
          }
        }
      }
    }
  }
  void copy_dy(const GradUnits::Unit& unit, std::int64_t begin, std::int64_t end, std::uint16_t* dy) const {
    const std::int64_t part = (end - begin) * dy_output_;
    for (std::int64_t o = 0; o < parts_.second * (end - begin); ++o)
      for (std::int64_t row = 0; row <= units_.images * units_.band; ++row) dy[o * dy_output_ + row * dy_row_] = 0;
    for (std::int64_t n = 0; n < unit.images; ++n) {
      for (std::int64_t row = unit.first; row < unit.last; ++row) {
        std::uint16_t* const to = dy + dy_row(n, row - unit.first);
        k_.transpose({dy_ + (unit.image + n) * c_.y_image + row * c_.y_row + begin, c_.y_step, phase_.cols, end - begin,
                      to, parts_.second > 1 ? to + part : nullptr, dy_output_});
      }
    }
  }
  std::int64_t columns(std::int64_t residue) const { return ceil_div(c_.in_cols - residue, c_.stride_w); }

  void multiply(const GradUnits::Unit& unit, std::uint16_t* x, const std::uint16_t* dy, std::int64_t outputs,
                Segment* segments, float* sums, bool accumulate) const {
    for (std::int64_t p = 0; p < panels_.count(); ++p) {
      for (const Tap& tap : phase_.taps) {
        const std::int64_t count = add_segments(unit, tap, outputs, segments);
        k_.product({dy, dy_output_, outputs, segments, count, x_panel(x, p), panels_.width(p), panels_.valid(p),
                    sums + tap.weight + p * panels_.panel, c_.w_output, accumulate});
      }
    }
  }
  // Those of a tap, row by row; returns how many.
  std::int64_t add_segments(const GradUnits::Unit& unit, const Tap& tap, std::int64_t outputs,
                            Segment* segments) const {
    const std::int64_t shift = floor_div(tap.col, c_.stride_w), residue = tap.col - shift * c_.stride_w;
    const std::int64_t begin = std::max<std::int64_t>(shift, 0) / 2 * 2,
                       end = ceil_div(std::min(columns(residue), phase_.cols + shift), 2) * 2;
    const std::int64_t first_row = c_.input_rows(unit.first, unit.last).begin;
    std::int64_t count = 0;
    for (std::int64_t n = 0; n < unit.images && begin < end; ++n) {
      for (std::int64_t i = unit.first; i < unit.last; ++i) {
        const std::int64_t row = i * c_.stride_h + tap.row;
        if (row < 0 || row >= c_.in_rows) continue;
        parts_.for_each_product([&](std::int64_t of_x, std::int64_t of_dy) {
          segments[count++] = {of_dy * outputs * dy_output_ + dy_row(n, i - unit.first) + begin - shift, end - begin,
                               of_x * part_rows_ + x_row(n, row - first_row, residue) + begin};
        });
      }
    }
    return count;
  }

  const Correlation& c_;
  const Phase& phase_;
  const float* dy_;
  Source x_;
  const kernels::Bf16Kernels& k_;
  Bf16Parts parts_;  // of the input and of the gradient
  Panels panels_;    // of channels
  GradUnits units_;
  std::int64_t in_rows_, row_;  // of a unit, and columns of one residue in a row
  std::int64_t part_rows_;      // columns of one part
  std::int64_t dy_row_, dy_output_;
};

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
