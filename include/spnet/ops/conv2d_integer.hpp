// The engine of convolution on codes: products of bytes, summed exactly in int32.
//
// With integers A = αa·a − za of a code a and αa·W = f·e + g of a packed weight e, the sum over the taps that lie within
// the image is
//   Σ A·W = f · Σ a·e + g · Σ a − za · Σ W,
// where outside the image a is 0 in the scratch: the first two sums do not see it, and the last depends on the output
// pixel's border class alone. All of it is modulo 2^32, and right where Σ A·W itself fits int32.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "spnet/ops/conv2d_correlate.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_scratch.hpp"
#include "spnet/ops/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

using kernels::IntegerKernels;

/// Weights that the rows of a band read one after the other: they stay in the first-level cache.
inline constexpr std::int64_t kRunBytes = 16 * 1024;

/// Smallest and largest integer step·code − zero_point.
struct IntegerRange {
  std::int64_t low, high;

  explicit IntegerRange(const AffineCodes& m) {
    const std::int64_t at_min = std::int64_t{m.step} * m.qmin - m.zero_point;
    const std::int64_t at_max = std::int64_t{m.step} * m.qmax - m.zero_point;
    low = std::min(at_min, at_max);
    high = std::max(at_min, at_max);
  }
  std::int64_t largest() const { return std::max(std::abs(low), std::abs(high)); }
};

/// The kernel for a pair of codes, and how a weight's code becomes an element: e = step·code − shift;
/// αa·W = factor·e + offset.
struct WeightForm {
  const IntegerKernels& k;
  std::int64_t step, shift;
  std::int64_t factor, offset;

  static WeightForm choose(const AffineCodes& x, const AffineCodes& w) {
    const kernels::CodeKernels& codes = kernels::active().codes;
    const IntegerRange range(w);
    const auto fits = [&](std::int64_t by, std::int64_t low, std::int64_t high) {
      return std::min(by * range.low, by * range.high) >= low && std::max(by * range.low, by * range.high) <= high;
    };
    // αa goes into the element where there is room, which saves a pass.
    const auto with = [&](const IntegerKernels& k, bool has_room) -> WeightForm {
      const std::int64_t by = has_room ? x.step : 1;
      return {k, by * w.step, by * w.zero_point, has_room ? 1 : x.step, 0};
    };
    const auto is_small = [&](std::int64_t largest) {
      return 2 * x.qmax * largest <= std::numeric_limits<std::int16_t>::max();
    };
    const bool is_byte = fits(1, -128, 127);
    const std::int64_t largest = is_byte ? range.largest() : 128, with_step = std::abs(x.step) * largest;
    const bool has_room = fits(x.step, -128, 127) && is_small(with_step) == is_small(largest);
    const IntegerKernels& k = is_small(largest) ? codes.small : codes.exact;
    if (k.element_bytes == 2)
      return with(k, fits(x.step, std::numeric_limits<std::int16_t>::min(), std::numeric_limits<std::int16_t>::max()));
    if (is_byte) return with(k, has_room);
    return {k, 1, 128, std::int64_t{x.step} * w.step, std::int64_t{x.step} * (128 * w.step - w.zero_point)};
  }
};

/// Output positions along one direction, by the taps that lie within the image: [first, last) of them.
struct BorderClasses {
  struct Taps {
    std::int64_t first, last;
    friend bool operator==(const Taps&, const Taps&) = default;
  };
  PoolVector<Taps> classes;
  PoolVector<std::int64_t> of;  // class of every position

  BorderClasses(std::int64_t positions, std::int64_t size, std::int64_t taps, std::int64_t stride, std::int64_t padding,
                std::int64_t dilation) {
    for (std::int64_t i = 0; i < positions; ++i) {
      const std::int64_t at = i * stride - padding;
      const std::int64_t first = std::clamp<std::int64_t>(ceil_div(-at, dilation), 0, taps);
      const std::int64_t last = std::clamp<std::int64_t>(ceil_div(size - at, dilation), first, taps);
      const auto found = std::find(classes.begin(), classes.end(), Taps{first, last});
      of.push_back(found - classes.begin());
      if (found == classes.end()) classes.push_back({first, last});
    }
  }
};

/// One group of a convolution of codes. `c` is its forward correlation; x and y point at the group's first channel, w at
/// its first weight.
class IntegerCorrelation {
 public:
  IntegerCorrelation(const ConvSizes& s, const Correlation& c, const AffineCodes& x_map, const std::uint8_t* w,
                     const AffineCodes& w_map)
      : c_(c),
        phase_(c.phases[0]),
        form_(WeightForm::choose(x_map, w_map)),
        panels_(form_.k, c.outputs),
        band_(ScratchLayout::band_rows(c, ceil_div(kLeastTasks, c.batch), kBandFloats, false)),
        layout_(c, band_, false),
        rows_(s.oh, s.h, s.kh, s.stride_h, s.pad_h, s.dilation_h),
        cols_(s.ow, s.w, s.kw, s.stride_w, s.pad_w, s.dilation_w),
        factor_(wrapped(form_.factor)),
        pixel_factor_(wrapped(form_.offset)),
        runs_(kRunBytes / form_.k.element_bytes) {
    for (const Tap& tap : phase_.taps) tap_pixels_.push_back(layout_.pixel(tap));
    for (const Tap& tap : phase_.taps)
      for (std::int64_t b = 0; b < layout_.blocks(); ++b)
        runs_.add({layout_.offset(tap, b), ceil_div(layout_.channels(b), 4) * 4}, panels_.panel);
    runs_.finish();
    packed_ = Buffer(static_cast<std::size_t>(panels_.total() * runs_.total() * form_.k.element_bytes));
    if (form_.k.element_bytes == 1) {
      pack_all<std::int8_t>(w);
    } else {
      pack_all<std::int16_t>(w);
    }
    if (x_map.zero_point != 0) add_border_offsets(s, w, w_map, x_map.zero_point);
  }

  void operator()(const std::uint8_t* x, std::int32_t* y) const {
    const std::int64_t bands = ceil_div(phase_.rows, band_);
    const std::int64_t scratch_bytes = ceil_div(layout_.elements() * form_.k.element_bytes, 64) * 64;
    // Two sums for every pixel of the scratch, and one for every window of the band.
    const std::int64_t sums = pixel_factor_ != 0 ? 2 * layout_.rows() * layout_.columns() + band_ * phase_.cols : 0;
    parallel_for_scratch<std::byte>(
        c_.batch * bands, scratch_bytes + sums * static_cast<std::int64_t>(sizeof(std::int64_t)),
        [&](std::int64_t task, std::byte* scratch) {
          const std::int64_t first = task % bands * band_, n = task / bands;
          const std::int64_t count = std::min(band_, phase_.rows - first);
          layout_.fill(CodeCopy{form_.k, x + n * c_.in_rows * c_.in_cols * c_.in_step, scratch}, first, count);
          const std::int32_t* windows = nullptr;
          if (pixel_factor_ != 0) windows = sum_windows(scratch, count, reinterpret_cast<std::int64_t*>(scratch + scratch_bytes));
          multiply(scratch, windows, first, count, y + n * c_.y_image + first * c_.y_row);
        });
  }

 private:
  static std::int32_t wrapped(std::int64_t v) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(v)); }
  template <class Element>
  void pack_all(const std::uint8_t* w) {
    const std::int64_t count = c_.outputs * c_.w_output;
    const Buffer buffer(static_cast<std::size_t>(count) * sizeof(Element));
    auto* elements = static_cast<Element*>(buffer.data());
    const auto step = static_cast<std::int32_t>(form_.step), shift = static_cast<std::int32_t>(form_.shift);
    parallel_ranges(count, 1 << 14, [&](std::int64_t begin, std::int64_t end) {
      std::int64_t i = begin;
      for (; i + kBlock <= end; i += kBlock)  // of constant length, for the compiler to see vectors
        for (std::int64_t j = 0; j < kBlock; ++j) elements[i + j] = static_cast<Element>(step * w[i + j] - shift);
      for (; i < end; ++i) elements[i] = static_cast<Element>(step * w[i] - shift);
    });
    parallel_for(panels_.count(), [&](std::int64_t p) { pack(elements, p); });
  }

  // As [tap][unit of channels][width of the panel], channels padded with zeros to a multiple of 4. `elements` are those of
  // the weights, in their order.
  template <class Element>
  void pack(const Element* elements, std::int64_t p) {
    constexpr std::int64_t kUnit = 4 / sizeof(Element);
    const std::int64_t width = panels_.width(p), valid = panels_.valid(p), padded = ceil_div(c_.channels, 4) * 4;
    const std::int64_t whole = c_.channels / kUnit * kUnit;
    Element* to = static_cast<Element*>(packed_.data()) + p * panels_.panel * runs_.total();
    for (const Tap& tap : phase_.taps) {
      const Element* const from = elements + p * panels_.panel * c_.w_output + tap.weight;
      // A cache line of each output's weights at a time.
      for (std::int64_t begin = 0; begin < padded; begin += kBlock) {
        const std::int64_t end = std::min(padded, begin + kBlock);
        for (std::int64_t o = 0; o < width; ++o) {
          Element* unit = to + o * kUnit;
          for (std::int64_t i = begin; i < end; i += kUnit, unit += width * kUnit) {
            if (o < valid && i < whole) {
              std::memcpy(unit, from + o * c_.w_output + i, 4);
            } else {
              for (std::int64_t j = 0; j < kUnit; ++j)
                unit[j] = o < valid && i + j < c_.channels ? from[o * c_.w_output + i + j] : Element{0};
            }
          }
        }
        to += width * (end - begin);
      }
    }
  }

  // −za · Σ W over the taps of every border class: [row class][column class][output, up to whole vectors].
  void add_border_offsets(const ConvSizes& s, const std::uint8_t* w, const AffineCodes& map, std::int64_t za) {
    PoolVector<std::int64_t> of_tap(static_cast<std::size_t>(s.kh * s.kw * c_.outputs));
    for (std::size_t t = 0; t < phase_.taps.size(); ++t) {
      for (std::int64_t o = 0; o < c_.outputs; ++o) {
        const std::uint8_t* codes = w + o * c_.w_output + phase_.taps[t].weight;
        std::int64_t sum = -c_.channels * map.zero_point;
        for (std::int64_t channel = 0; channel < c_.channels; ++channel) sum += std::int64_t{map.step} * codes[channel];
        of_tap[t * static_cast<std::size_t>(c_.outputs) + static_cast<std::size_t>(o)] = -za * sum;
      }
    }
    for (const auto& rows : rows_.classes) {
      for (const auto& cols : cols_.classes) {
        for (std::int64_t o = 0; o < panels_.total(); ++o) {
          std::int64_t sum = 0;
          for (std::int64_t ky = rows.first; ky < rows.last && o < c_.outputs; ++ky)
            for (std::int64_t kx = cols.first; kx < cols.last; ++kx)
              sum += of_tap[static_cast<std::size_t>((ky * s.kw + kx) * c_.outputs + o)];
          border_offsets_.push_back(wrapped(sum));
        }
      }
    }
    for (const std::int64_t column_class : cols_.of) border_starts_.push_back(column_class * panels_.total());
  }

  // `count` output rows from `first` on.
  void multiply(const std::byte* scratch, const std::int32_t* windows, std::int64_t first, std::int64_t count,
                std::int32_t* y) const {
    const std::int64_t bytes = form_.k.element_bytes;
    const auto* weights = static_cast<const std::byte*>(packed_.data());
    // Sums that are multiplied afterwards cannot start with what is added after that.
    const bool starts_with_border = !border_offsets_.empty() && factor_ == 1;
    const bool finishes = windows || factor_ != 1;
    const std::int64_t of_class = static_cast<std::int64_t>(cols_.classes.size()) * panels_.total();
    for (std::int64_t p = 0; p < panels_.count(); ++p) {
      const std::byte* w = weights + p * panels_.panel * runs_.total() * bytes;
      for (std::size_t r = 0; r + 1 < runs_.begins.size(); ++r) {
        const std::int64_t begin = runs_.begins[r];
        for (std::int64_t row = 0; row < count; ++row) {
          std::int32_t* to = y + row * c_.y_row + p * panels_.panel;
          const std::int32_t* border = nullptr;
          if (!border_offsets_.empty())
            border = border_offsets_.data() + rows_.of[static_cast<std::size_t>(first + row)] * of_class + p * panels_.panel;
          form_.k.product({scratch + row * layout_.row_step() * bytes, phase_.cols, runs_.segments.data() + begin,
                           runs_.begins[r + 1] - begin, w + runs_.channels[r] * panels_.width(p) * bytes,
                           panels_.width(p), panels_.valid(p), to, c_.y_step, r > 0, border,
                           starts_with_border && r == 0 ? border_starts_.data() : nullptr});
          if (finishes && r + 2 == runs_.begins.size())
            finish(p, starts_with_border ? nullptr : border, windows ? windows + row * phase_.cols : nullptr, to);
        }
      }
    }
  }

  // The other terms of one row and panel, in place.
  void finish(std::int64_t panel, const std::int32_t* border, const std::int32_t* windows, std::int32_t* y) const {
    const auto kernel = kernels::active().codes.finish;
    for (std::int64_t begin = 0, end; begin < phase_.cols; begin = end) {
      const auto class_at = [&](std::int64_t col) { return cols_.of[static_cast<std::size_t>(col)]; };
      end = begin + 1;
      while (end < phase_.cols && (!border || class_at(end) == class_at(begin))) ++end;
      kernel({y + begin * c_.y_step, c_.y_step, end - begin, panels_.valid(panel), factor_,
              border ? border + border_starts_[static_cast<std::size_t>(begin)] : nullptr, pixel_factor_,
              windows ? windows + begin : nullptr});
    }
  }

  // Σ a of every window of the band; only weights of one byte have an offset that asks for it.
  const std::int32_t* sum_windows(const std::byte* scratch, std::int64_t count, std::int64_t* pixel_sums) const {
    const kernels::CodeKernels& k = kernels::active().codes;
    auto* windows = reinterpret_cast<std::int32_t*>(pixel_sums + 2 * layout_.rows() * layout_.columns());
    for (std::int64_t row = 0; row < layout_.rows(); ++row)
      k.sum_pixels({scratch + row * layout_.row_step(), layout_.blocks(), layout_.block_step(), layout_.columns(),
                    pixel_sums + 2 * row * layout_.columns()});
    for (std::int64_t row = 0; row < count; ++row)
      k.sum_windows({pixel_sums + 2 * row * layout_.columns(), tap_pixels_.data(),
                     static_cast<std::int64_t>(tap_pixels_.size()), phase_.cols, windows + row * phase_.cols});
    return windows;
  }

  const Correlation& c_;
  const Phase& phase_;
  WeightForm form_;
  Panels panels_;
  std::int64_t band_;
  ScratchLayout layout_;
  BorderClasses rows_, cols_;
  std::int32_t factor_, pixel_factor_;
  PoolVector<std::int64_t> tap_pixels_;
  Runs runs_;
  Buffer packed_;
  PoolVector<std::int32_t> border_offsets_;
  PoolVector<std::int64_t> border_starts_;  // of the class of every column
};

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
