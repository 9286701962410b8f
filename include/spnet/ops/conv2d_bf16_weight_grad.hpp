// The gradient with respect to the weights by bf16 products, in which an output's gradients are the channels of a
// "pixel", the input's pixels are the weights, and what is summed over are output pixels: those of an image's rows, one
// after the other, each row padded with zeros to `pitch` gradients. Chunks of sums are those of WeightGrad.
//
// The input's pixels lie as the gradients do, so that each tap finds them `pitch` times its row and its column further
// on, whatever the zeros between rows meet; in pairs, once from even columns on and once from odd ones. At a stride s,
// rows s·m + r of one residue r are kept together, and so are columns.
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

/// As WeightGrad, with products of bf16. The gradient is floats, or bf16.
template <class Source, class Gradient>
class Bf16WeightGrad {
 public:
  /// `parts` of x and of dy.
  Bf16WeightGrad(const Correlation& c, const Gradient* dy, const Source& x, const Bf16Parts& parts)
      : c_(c),
        phase_(c.phases[0]),
        dy_(dy),
        x_(x),
        k_(kernels::active().bf16),
        parts_(parts),
        panels_(k_, c.channels),
        units_(grad_units(c)) {
    for (const Tap& tap : phase_.taps) {
      rows_.add(tap.row, c.stride_h);
      cols_.add(tap.col, c.stride_w);
    }
    pitch_ = ceil_div(phase_.cols + cols_.most - cols_.least, 2) * 2;
    sums_ = ceil_div(units_.band * pitch_, kChunk) * kChunk;
    in_rows_ = units_.band + rows_.most - rows_.least;
    plane_ = units_.images * in_rows_ * pitch_;
    // What follows the last row is read, too.
    x_part_ = 2 * std::ssize(rows_.residues) * std::ssize(cols_.residues) * plane_ + pitch_ + kChunk;
    // An odd number of cache lines, for outputs to fall into different sets of the cache.
    dy_output_ = (ceil_div(units_.images * sums_, kChunk) | 1) * kChunk;
  }

  void operator()(float* dw) const {
    const GradChunks chunks(units_.count, c_.outputs * c_.w_output, dw);
    // Where there are few chunks, the outputs are cut too.
    const std::int64_t out_blocks = ceil_div(c_.outputs, kBlock);
    const std::int64_t splits = std::min(ceil_div(kLeastTasks, chunks.count()), out_blocks);
    const std::int64_t most_outputs = ceil_div(out_blocks, splits) * kBlock;
    // Segments, codes' values, a row as bf16, the input, and the gradient.
    const std::int64_t segment_bytes =  // whole cache lines
        ceil_div(parts_.products() * units_.images * static_cast<std::int64_t>(sizeof(Segment)), 64) * 64;
    const std::int64_t value_bytes =
        row_floats<Source>((c_.in_cols - 1) * c_.in_step + c_.channels) * static_cast<std::int64_t>(sizeof(float));
    const std::int64_t row_elements =
        ceil_div(std::max(parts_.first * x_row(), parts_.second * dy_row(most_outputs)), 32) * 32;
    const std::int64_t x_elements = parts_.first * x_part_ * panels_.total(),
                       dy_elements = parts_.second * most_outputs * dy_output_;
    const std::int64_t element_bytes =
        (row_elements + x_elements + dy_elements) * static_cast<std::int64_t>(sizeof(std::uint16_t));
    parallel_for_scratch<std::byte>(
        chunks.count() * splits, segment_bytes + value_bytes + element_bytes,
        [&](std::int64_t task, std::byte* scratch) {
          const std::int64_t chunk = task % chunks.count(), split = task / chunks.count();
          const std::int64_t begin = split * out_blocks / splits * kBlock,
                             end = std::min((split + 1) * out_blocks / splits * kBlock, c_.outputs);
          auto* const segments = reinterpret_cast<Segment*>(scratch);
          auto* const values = reinterpret_cast<float*>(scratch + segment_bytes);
          auto* const row = reinterpret_cast<std::uint16_t*>(scratch + segment_bytes + value_bytes);
          auto* const x = row + row_elements;
          auto* const dy = x + x_elements;
          // The zeros between rows.
          std::fill_n(x, x_elements + dy_elements, std::uint16_t{0});
          for (std::int64_t i = chunks.begin(chunk); i < chunks.begin(chunk + 1); ++i) {
            const GradUnits::Unit unit = units_.at(c_, i);
            copy_x(unit, values, row, x);
            copy_dy(unit, begin, end, row, dy);
            multiply(unit, x, dy, end - begin, segments, chunks.sums(chunk) + begin * c_.w_output,
                     i > chunks.begin(chunk));
          }
          if (k_.release) k_.release();
        });
    chunks.add();
  }

 private:
  // Pixels are summed over in multiples of these, for the kernel's products to be of one shape.
  static constexpr std::int64_t kChunk = 32;
  static constexpr std::int64_t kBlockOutputs = 32;
  static constexpr std::int64_t kBlockBytes = 64 * 1024;  // of both factors' pixels

  // The first of a row's columns that lies in the image: no first tap reads behind column 0.
  std::int64_t first_col() const { return -cols_.least; }
  // Of panel p of the channels: [part][first column of pairs][row residue][column residue][image][pair of pixels][width
  // of the panel]. Pairs begin at the image's first column, or one before.
  std::uint16_t* x_panel(std::uint16_t* x, std::int64_t p) const {
    return x + p * panels_.panel * parts_.first * x_part_;
  }
  std::int64_t x_plane(std::int64_t before, std::int64_t row, std::int64_t col) const {
    return ((before * std::ssize(rows_.residues) + row) * std::ssize(cols_.residues) + col) * plane_;
  }
  // Where a tap finds what the first output reads.
  std::int64_t offset(const Tap& tap) const {
    const std::int64_t row = floor_div(tap.row, c_.stride_h), col = floor_div(tap.col, c_.stride_w);
    const std::int64_t row_index = rows_.index(tap.row - row * c_.stride_h),
                       col_index = cols_.index(tap.col - col * c_.stride_w);
    const std::int64_t before = col & 1;
    return x_plane(before, row_index, col_index) + (row - rows_.least) * pitch_ + col + before + lead();
  }
  // Pixels before a row's first pair, for a tap may begin up to first_col() columns before it. The end of the row
  // before takes them where it needs them, and the first pair from the column before on where no tap begins there.
  std::int64_t lead() const { return ceil_div(first_col(), 2) * 2; }
  std::int64_t skipped() const { return first_col() > 0 ? 0 : 2; }

  // Elements of one part of a row of the input, and of one of the gradient.
  std::int64_t x_pixel() const { return ceil_div(c_.channels, 2) * 2; }
  std::int64_t x_row() const { return c_.in_cols * x_pixel(); }
  std::int64_t dy_row(std::int64_t outputs) const { return phase_.cols * ceil_div(outputs, 2) * 2; }

  void copy_x(const GradUnits::Unit& unit, float* values, std::uint16_t* parts, std::uint16_t* x) const {
    const std::int64_t row_step = c_.in_cols * c_.in_step;
    for (std::int64_t n = 0; n < unit.images; ++n) {
      for (std::int64_t r = 0; r < std::ssize(rows_.residues); ++r) {
        for (std::int64_t m = 0; m < in_rows_; ++m) {
          const std::int64_t row =
              (unit.first + m + rows_.least) * c_.stride_h + rows_.residues[static_cast<std::size_t>(r)];
          const std::int64_t to = (n * in_rows_ + m) * pitch_ + lead();
          if (row < 0 || row >= c_.in_rows) {
            if (units_.bands > 1) clear_row(r, to, x);  // another unit may have left its own here
            continue;
          }
          split_pixels(k_,
                       {nullptr, c_.in_step, c_.in_cols, c_.channels, parts,
                        parts_.first > 1 ? parts + x_row() : nullptr, x_pixel()},
                       x_ + ((unit.image + n) * c_.in_rows + row) * row_step, values);
          for (std::int64_t part = 0; part < parts_.first; ++part)
            for (std::int64_t col = 0; col < std::ssize(cols_.residues); ++col)
              copy_row(parts + part * x_row(), part, r, col, to, x);
        }
      }
    }
  }
  // Columns of one residue, in pairs from the first one on and from the one before it on.
  void copy_row(const std::uint16_t* row, std::int64_t part, std::int64_t row_index, std::int64_t col_index,
                std::int64_t to, std::uint16_t* x) const {
    const std::int64_t residue = cols_.residues[static_cast<std::size_t>(col_index)];
    const std::int64_t count =
        std::min(ceil_div(c_.in_cols - residue, c_.stride_w) - cols_.least, pitch_) - first_col();
    if (count <= 0) return;
    const std::int64_t step = c_.stride_w * x_pixel();
    const std::int64_t even = part * x_part_ + x_plane(0, row_index, col_index) + to,
                       odd = part * x_part_ + x_plane(1, row_index, col_index) + to;
    for (std::int64_t p = 0; p < panels_.count(); ++p) {
      const std::uint16_t* const from = row + residue * x_pixel() + p * panels_.panel;
      const std::int64_t width = panels_.width(p), valid = panels_.valid(p);
      std::uint16_t* const panel = x_panel(x, p);
      k_.interleave({from, step, count, valid, panel + even * width, width});
      if (first_col() > 0)
        k_.interleave({from, step, count + 1, valid, panel + odd * width, width, true});
      else if (count > 1)
        k_.interleave({from + step, step, count - 1, valid, panel + (odd + 2) * width, width});
    }
  }
  void clear_row(std::int64_t row_index, std::int64_t to, std::uint16_t* x) const {
    for (std::int64_t p = 0; p < panels_.count(); ++p)
      for (std::int64_t part = 0; part < parts_.first; ++part)
        for (std::int64_t before = 0; before < 2; ++before)
          for (std::int64_t col = 0; col < std::ssize(cols_.residues); ++col)
            std::fill_n(
                x_panel(x, p) + (part * x_part_ + x_plane(before, row_index, col) + to + (before > 0 ? skipped() : 0)) *
                                    panels_.width(p),
                pitch_ * panels_.width(p), std::uint16_t{0});
  }
  // Of output o: [part][image][pixel].
  void copy_dy(const GradUnits::Unit& unit, std::int64_t begin, std::int64_t end, std::uint16_t* parts,
               std::uint16_t* dy) const {
    const std::int64_t outputs = end - begin, rows = unit.last - unit.first;
    for (std::int64_t n = 0; n < unit.images; ++n) {
      std::uint16_t* const image = dy + n * sums_;
      for (std::int64_t row = 0; row < rows; ++row) {
        const Gradient* const from = dy_ + (unit.image + n) * c_.y_image + (unit.first + row) * c_.y_row + begin;
        transpose(from, outputs, parts, image + row * pitch_);
      }
      // Another unit may have left its own here.
      for (std::int64_t o = 0; rows < units_.band && o < parts_.second * outputs; ++o)
        std::fill_n(image + o * dy_output_ + rows * pitch_, sums_ - rows * pitch_, std::uint16_t{0});
    }
  }
  void transpose(const bf16* row, std::int64_t outputs, std::uint16_t*, std::uint16_t* to) const {
    k_.transpose({reinterpret_cast<const std::uint16_t*>(row), c_.y_step, phase_.cols, outputs, to, dy_output_});
  }
  void transpose(const float* row, std::int64_t outputs, std::uint16_t* parts, std::uint16_t* to) const {
    const std::int64_t pixel = ceil_div(outputs, 2) * 2;
    k_.split(
        {row, c_.y_step, phase_.cols, outputs, parts, parts_.second > 1 ? parts + dy_row(outputs) : nullptr, pixel});
    for (std::int64_t part = 0; part < parts_.second; ++part)
      k_.transpose(
          {parts + part * dy_row(outputs), pixel, phase_.cols, outputs, to + part * outputs * dy_output_, dy_output_});
  }
  // Block by block of pixels and of outputs, which stay in the second-level cache from tap to tap as the taps' sums do.
  void multiply(const GradUnits::Unit& unit, std::uint16_t* x, const std::uint16_t* dy, std::int64_t outputs,
                Segment* segments, float* sums, bool accumulate) const {
    constexpr std::int64_t kBytes = sizeof(std::uint16_t);
    const std::int64_t most = std::min(outputs, kBlockOutputs), all = unit.images * sums_;
    const std::int64_t pixel_bytes = (parts_.second * most + 2 * parts_.first * panels_.width(0)) * kBytes;
    const std::int64_t blocks = std::clamp<std::int64_t>(ceil_div(all * pixel_bytes, kBlockBytes), 1, all / kChunk);
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::int64_t count = add_segments(block * all / kChunk / blocks * kChunk,
                                              (block + 1) * all / kChunk / blocks * kChunk, outputs, segments);
      for (std::int64_t p = 0; p < panels_.count(); ++p)
        for (std::int64_t o = 0; o < outputs; o += most)
          for (const Tap& tap : phase_.taps)
            k_.product({dy + o * dy_output_, dy_output_, std::min(most, outputs - o), segments, count,
                        x_panel(x, p) + offset(tap) * panels_.width(p), panels_.width(p), panels_.valid(p),
                        sums + o * c_.w_output + tap.weight + p * panels_.panel, c_.w_output, accumulate || block > 0});
    }
  }
  // Those of pixels [begin, end) of all images' sums; returns how many.
  std::int64_t add_segments(std::int64_t begin, std::int64_t end, std::int64_t outputs, Segment* segments) const {
    std::int64_t count = 0;
    for (std::int64_t at = begin, size; at < end; at += size) {
      const std::int64_t image = at / sums_, pixel = at % sums_;
      size = std::min(sums_ - pixel, end - at);
      parts_.for_each_product([&](std::int64_t of_x, std::int64_t of_dy) {
        segments[count++] = {of_dy * outputs * dy_output_ + at, size,
                             of_x * x_part_ + image * in_rows_ * pitch_ + pixel};
      });
    }
    return count;
  }

  const Correlation& c_;
  const Phase& phase_;
  const Gradient* dy_;
  Source x_;
  const kernels::Bf16Kernels& k_;
  Bf16Parts parts_;  // of the input and of the gradient
  Panels panels_;    // of channels
  GradUnits units_;
  TapShifts rows_, cols_;
  std::int64_t pitch_;    // columns of a row, in the input and in the gradient
  std::int64_t sums_;     // pixels of an image that are summed over
  std::int64_t in_rows_;  // of one residue, of an image
  std::int64_t plane_;    // pixels of one residue, of all images of a unit
  std::int64_t x_part_, dy_output_;
};

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
