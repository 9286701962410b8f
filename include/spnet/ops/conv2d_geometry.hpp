// What a convolution is given, checked and in numbers; and the two forms its three products take.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/core/memory.hpp"
#include "spnet/core/shape.hpp"
#include "spnet/kernels/reference.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

/// A value for the height and one for the width; one number stands for both.
struct Pair {
  std::int64_t h, w;
  constexpr Pair(std::int64_t both) : h(both), w(both) {}
  constexpr Pair(std::int64_t height, std::int64_t width) : h(height), w(width) {}
  friend constexpr bool operator==(const Pair&, const Pair&) = default;
};

/// Stride and dilation >= 1, padding (with zeros, on both sides) >= 0, groups a divisor of both channel counts.
struct Conv2dOptions {
  Pair stride = 1;
  Pair padding = 0;
  Pair dilation = 1;
  std::int64_t groups = 1;
};

namespace detail {

using kernels::reference::ConvSizes;

/// Checks shapes and options of x [N,H,W,C] and w [O,kH,kW,C/groups]; throws ShapeError or ValueError, naming `op`.
inline ConvSizes conv_sizes(const char* op, const Shape& x, const Shape& w, const Conv2dOptions& options) {
  check<ShapeError>(x.rank() == 4, op, ": input ", x, " given, expected [N,H,W,C]");
  check<ShapeError>(w.rank() == 4, op, ": weight ", w, " given, expected [O,kH,kW,C/groups]");
  constexpr std::int64_t kLargest = std::int64_t{1} << 30;
  auto in_range = [&](const char* name, Pair p, std::int64_t least) {
    check<ValueError>(p.h >= least && p.w >= least && p.h <= kLargest && p.w <= kLargest, op, ": ", name, ' ', p.h,
                      'x', p.w, " given, expected at least ", least);
  };
  in_range("stride", options.stride, 1);
  in_range("padding", options.padding, 0);
  in_range("dilation", options.dilation, 1);
  check<ShapeError>(w[1] >= 1 && w[2] >= 1 && w[1] <= kLargest && w[2] <= kLargest, op, ": weight ", w,
                    " has an empty kernel");
  const std::int64_t groups = options.groups;
  check<ValueError>(groups >= 1, op, ": ", groups, " groups given, expected at least 1");
  check<ShapeError>(x[3] % groups == 0 && w[0] % groups == 0, op, ": ", groups, " groups do not divide ", x[3],
                    " input and ", w[0], " output channels");
  check<ShapeError>(x[3] / groups == w[3], op, ": input has ", x[3], " channels", groups > 1 ? " in " : "",
                    groups > 1 ? message(groups, " groups") : "", ", weight ", w, " expects ", w[3] * groups);
  const std::int64_t spare_h = x[1] + 2 * options.padding.h - options.dilation.h * (w[1] - 1) - 1;
  const std::int64_t spare_w = x[2] + 2 * options.padding.w - options.dilation.w * (w[2] - 1) - 1;
  check<ShapeError>(spare_h >= 0 && spare_w >= 0, op, ": kernel ", w[1], 'x', w[2], " with dilation ",
                    options.dilation.h, 'x', options.dilation.w, " does not fit input ", x, " with padding ",
                    options.padding.h, 'x', options.padding.w);
  return {x[0], x[1], x[2], x[3], w[0], w[1], w[2], spare_h / options.stride.h + 1, spare_w / options.stride.w + 1,
          options.stride.h, options.stride.w, options.padding.h, options.padding.w, options.dilation.h,
          options.dilation.w, groups};
}

inline Shape output_shape(const ConvSizes& s) { return {s.n, s.oh, s.ow, s.o}; }

template <class T>
using PoolVector = std::vector<T, PoolAllocator<T>>;

/// a / b rounded up, for b > 0.
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return a > 0 ? (a + b - 1) / b : -(-a / b); }
/// And rounded down.
constexpr std::int64_t floor_div(std::int64_t a, std::int64_t b) { return -ceil_div(-a, b); }

/// One kernel element: an output pixel (i, j) reads the input at (i * stride + row, j * stride + col).
struct Tap {
  std::int64_t row, col;
  std::int64_t weight;  // where its weights begin
};

/// Output pixels that share a set of taps: all of them forward, one residue of the stride in each direction backward.
struct Phase {
  std::int64_t y;  // where its first pixel lies
  std::int64_t rows, cols;
  PoolVector<Tap> taps;
};

/// y[n, i, j, o] = sum over taps and channels c of x[n, i * stride + tap.row, j * stride + tap.col, c] · w[tap, c, o],
/// where x is zero outside its borders; of one group. Forward and backward-data are both of this form.
struct Correlation {
  std::int64_t batch;
  std::int64_t in_rows, in_cols, in_step, channels;
  std::int64_t stride_h, stride_w;
  std::int64_t outputs, y_image, y_row, y_step;
  std::int64_t w_output, w_channel;  // steps of the weights
  PoolVector<Phase> phases;
  bool whole_rows = false;  // y_row elements from a row's first on belong to this group alone

  std::int64_t most_rows() const {
    std::int64_t rows = 0;
    for (const Phase& phase : phases) rows = std::max(rows, phase.rows);
    return rows;
  }
  /// Rows of the input that output rows [first, last) read, and how many `count` output rows may.
  struct InputRows {
    std::int64_t begin, end;
  };
  InputRows input_rows(std::int64_t first, std::int64_t last) const {
    const auto [lowest, highest] = tap_rows();
    const std::int64_t begin = std::clamp<std::int64_t>(first * stride_h + lowest, 0, in_rows);
    return {begin, std::clamp<std::int64_t>((last - 1) * stride_h + highest + 1, begin, in_rows)};
  }
  std::int64_t most_input_rows(std::int64_t count) const {
    const auto [lowest, highest] = tap_rows();
    return std::min(in_rows, (count - 1) * stride_h + highest - lowest + 1);
  }
  /// The first and the last row that a tap of any phase reads for output row 0; their taps' rows ascend.
  std::pair<std::int64_t, std::int64_t> tap_rows() const {
    std::pair<std::int64_t, std::int64_t> rows{0, -1};
    for (const Phase& phase : phases) {
      if (phase.taps.empty()) continue;
      const std::int64_t first = phase.taps.front().row, last = phase.taps.back().row;
      rows = rows.first > rows.second ? std::pair(first, last)
                                      : std::pair(std::min(rows.first, first), std::max(rows.second, last));
    }
    return rows;
  }
  /// Where a stride skips pixels, and all outputs of a row are one task's, zeros are written in one go.
  bool may_clear_rows() const {
    return whole_rows && std::any_of(phases.begin(), phases.end(), [](const Phase& p) { return p.taps.empty(); });
  }
  template <class T>
  void clear_rows(T* y, std::int64_t first, std::int64_t last) const {
    std::fill(y + first * y_row, y + std::min(last * y_row, y_image), T{});
  }
};

/// Neighbouring output positions [begin, end) along one direction, whose taps [first, last) lie within the input.
struct TapSpan {
  std::int64_t begin, end, first, last;

  TapSpan within(std::int64_t from, std::int64_t to) const { return {std::max(begin, from), std::min(end, to), first, last}; }
  std::int64_t size() const { return std::max<std::int64_t>(end - begin, 0); }
};

/// The spans of `positions` outputs, of which output i reads i * stride + offsets[t] with tap t; offsets ascend.
inline PoolVector<TapSpan> tap_spans(const PoolVector<std::int64_t>& offsets, std::int64_t positions, std::int64_t size,
                                     std::int64_t stride) {
  PoolVector<TapSpan> spans;
  std::int64_t first = static_cast<std::int64_t>(offsets.size()), last = first;
  for (std::int64_t i = 0; i < positions; ++i) {
    while (first > 0 && i * stride + offsets[static_cast<std::size_t>(first - 1)] >= 0) --first;
    while (last > first && i * stride + offsets[static_cast<std::size_t>(last - 1)] >= size) --last;
    if (spans.empty() || spans.back().first != first || spans.back().last != last) spans.push_back({i, i, first, last});
    spans.back().end = i + 1;
  }
  return spans;
}

/// The spans of a phase in both directions. Its taps are a grid, row after row of `row_taps`.
struct TapSpans {
  PoolVector<TapSpan> rows, cols;
  std::int64_t row_taps = 0;

  TapSpans(const Correlation& c, const Phase& phase) {
    PoolVector<std::int64_t> tap_rows, tap_cols;
    for (const Tap& tap : phase.taps) {
      if (tap_rows.empty() || tap_rows.back() != tap.row) tap_rows.push_back(tap.row);
      if (tap_rows.size() == 1) tap_cols.push_back(tap.col);
    }
    rows = tap_spans(tap_rows, phase.rows, c.in_rows, c.stride_h);
    cols = tap_spans(tap_cols, phase.cols, c.in_cols, c.stride_w);
    row_taps = static_cast<std::int64_t>(tap_cols.size());
  }
  /// Calls call(rows, cols, pair) for every pair of spans, numbered [row span][column span].
  template <class Call>
  void for_each_pair(const Call& call) const {
    std::size_t pair = 0;
    for (const TapSpan& row_span : rows)
      for (const TapSpan& col_span : cols) call(row_span, col_span, pair++);
  }
  /// The same of output rows [first, last), without the pairs that have none.
  template <class Call>
  void for_each_pair(std::int64_t first, std::int64_t last, const Call& call) const {
    for_each_pair([&](const TapSpan& row_span, const TapSpan& col_span, std::size_t pair) {
      const TapSpan here = row_span.within(first, last);
      if (here.size() > 0) call(here, col_span, pair);
    });
  }
  /// Calls call(t, tap) for the taps of `phase` that a pair sees, t counting all of them.
  template <class Call>
  void for_each_tap(const Phase& phase, const TapSpan& row_span, const TapSpan& col_span, const Call& call) const {
    for (std::int64_t ky = row_span.first; ky < row_span.last; ++ky)
      for (std::int64_t t = ky * row_taps + col_span.first; t < ky * row_taps + col_span.last; ++t)
        call(t, phase.taps[static_cast<std::size_t>(t)]);
  }
};

inline Correlation forward_correlation(const ConvSizes& s) {
  const std::int64_t group_c = s.c / s.groups;
  Correlation c{s.n,        s.h,        s.w,
                s.c,        group_c,    s.stride_h,
                s.stride_w, s.o / s.groups, s.oh * s.ow * s.o,
                s.ow * s.o, s.o,        s.kh * s.kw * group_c,
                1,          {},         false};
  c.phases.push_back({0, s.oh, s.ow, {}});
  for (std::int64_t ky = 0; ky < s.kh; ++ky) {
    for (std::int64_t kx = 0; kx < s.kw; ++kx) {
      c.phases[0].taps.push_back(
          {ky * s.dilation_h - s.pad_h, kx * s.dilation_w - s.pad_w, (ky * s.kw + kx) * group_c});
    }
  }
  return c;
}

/// Backward data reads dy with stride 1: input rows of one residue modulo the stride see a subset of the taps, so that
/// no zeros are ever inserted between the rows of dy.
inline Correlation backward_correlation(const ConvSizes& s) {
  const std::int64_t group_c = s.c / s.groups;
  Correlation c{s.n, s.oh, s.ow, s.o, s.o / s.groups, 1, 1, group_c, s.h * s.w * s.c, s.stride_h * s.w * s.c,
                s.stride_w * s.c, 1, s.kh * s.kw * group_c, {}, s.groups == 1};
  for (std::int64_t ry = 0; ry < s.stride_h && ry < s.h; ++ry) {
    for (std::int64_t rx = 0; rx < s.stride_w && rx < s.w; ++rx) {
      Phase phase{(ry * s.w + rx) * s.c, (s.h - ry + s.stride_h - 1) / s.stride_h,
                  (s.w - rx + s.stride_w - 1) / s.stride_w, {}};
      for (std::int64_t ky = s.kh - 1; ky >= 0; --ky) {
        const std::int64_t y = ry + s.pad_h - ky * s.dilation_h;
        if (y % s.stride_h != 0) continue;
        for (std::int64_t kx = s.kw - 1; kx >= 0; --kx) {
          const std::int64_t x = rx + s.pad_w - kx * s.dilation_w;
          if (x % s.stride_w != 0) continue;
          phase.taps.push_back({y / s.stride_h, x / s.stride_w, (ky * s.kw + kx) * group_c});
        }
      }
      c.phases.push_back(std::move(phase));
    }
  }
  return c;
}

}  // namespace detail
}  // namespace ops
}  // namespace v0
}  // namespace spnet
