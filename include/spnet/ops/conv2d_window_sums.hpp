// Sums of codes over the windows of a convolution.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_geometry.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

/// Σ a over the window of every output pixel of a band.
class WindowSums {
 public:
  WindowSums(const Correlation& c, const Phase& phase, const TapSpans& spans, std::int64_t most_rows)
      : c_(c),
        cols_(phase.cols),
        top_(phase.taps.front().row),
        left_(phase.taps.front().col),
        height_(phase.taps.back().row - top_ + 1),
        // Where a window is one pixel high or wide, those between windows are left out.
        row_step_(height_ == 1 ? c.stride_h : 1),
        col_step_(phase.taps.back().col == left_ ? c.stride_w : 1),
        width_((phase.cols - 1) * (c.stride_w / col_step_) + phase.taps.back().col - left_ + 1),
        in_rows_(rows_of(most_rows)) {
    for (std::int64_t t = 0; t < spans.row_taps; ++t)
      tap_cols_.push_back(phase.taps[static_cast<std::size_t>(t)].col - left_);
    for (std::size_t t = 0; t < phase.taps.size(); t += static_cast<std::size_t>(spans.row_taps))
      tap_rows_.push_back((phase.taps[t].row - top_) * width_);
  }
  /// int32 to spare for one image.
  std::int64_t scratch() const { return (in_rows_ + 1) * width_; }

  /// Output rows [first, last) of the image whose group begins at `codes`: terms[row − first][column] = factor · Σ a.
  void operator()(const std::uint8_t* codes, std::int64_t first, std::int64_t last, std::int32_t factor,
                  std::int32_t* scratch, std::int32_t* terms) const {
    const kernels::CodeKernels& k = kernels::active().codes;
    const std::int64_t begin = std::clamp<std::int64_t>(ceil_div(-left_, col_step_), 0, width_);
    const std::int64_t end = std::clamp<std::int64_t>(ceil_div(c_.in_cols - left_, col_step_), begin, width_);
    for (std::int64_t i = 0; i < rows_of(last - first); ++i) {
      const std::int64_t row = first * c_.stride_h + top_ + i * row_step_;
      std::int32_t* const sums = scratch + i * width_;
      std::fill(sums, sums + begin, 0);
      if (row < 0 || row >= c_.in_rows) {
        std::fill(sums + begin, sums + end, 0);
      } else {
        k.sum_pixels({codes + (row * c_.in_cols + left_ + begin * col_step_) * c_.in_step, col_step_ * c_.in_step,
                      c_.channels, end - begin, sums + begin});
      }
      std::fill(sums + end, sums + width_, 0);
    }
    std::int32_t* const columns = scratch + in_rows_ * width_;
    for (std::int64_t row = 0; row < last - first; ++row) {
      k.sum_windows({scratch + row * (c_.stride_h / row_step_) * width_, 1, tap_rows_.data(), std::ssize(tap_rows_),
                     width_, 1, columns});
      k.sum_windows({columns, c_.stride_w / col_step_, tap_cols_.data(), std::ssize(tap_cols_), cols_, factor,
                     terms + row * cols_});
    }
  }

 private:
  std::int64_t rows_of(std::int64_t count) const { return (count - 1) * (c_.stride_h / row_step_) + height_; }

  Correlation c_;
  std::int64_t cols_, top_, left_, height_;
  std::int64_t row_step_, col_step_;
  std::int64_t width_, in_rows_;
  PoolVector<std::int64_t> tap_rows_, tap_cols_;
};

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
