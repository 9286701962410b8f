// The engine of convolution on codes: products of bytes, summed exactly in int32.
//
// With integers A = αa·a − za of a code a and W = αw·e − zw of a packed weight e, the sum over the taps that lie within
// the image is
//   Σ A·W = αa·αw · Σ a·e − αa·zw · Σ a + Σ (za·zw − za·αw·e),
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

/// The kernel for a pair of codes, and how a weight's code becomes an element: e = step·code − shift; W = αw·e − zw.
struct WeightForm {
  const IntegerKernels& k;
  std::int32_t step, shift;
  std::int32_t factor, offset;

  static WeightForm choose(const AffineCodes& x, const AffineCodes& w) {
    const kernels::CodeKernels& codes = kernels::active().codes;
    const IntegerRange range(w);
    const bool is_byte = range.low >= -128 && range.high <= 127;
    const std::int64_t largest = is_byte ? range.largest() : 128;
    const bool fits = 2 * x.qmax * largest <= std::numeric_limits<std::int16_t>::max();
    const IntegerKernels& k = fits ? codes.small : codes.exact;
    if (is_byte || k.element_bytes == 2) return {k, w.step, w.zero_point, 1, 0};
    return {k, 1, 128, w.step, w.zero_point - 128 * w.step};
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
        factor_(wrapped(std::int64_t{x_map.step} * form_.factor)),
        pixel_factor_(wrapped(-std::int64_t{x_map.step} * form_.offset)),
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
    if (x_map.zero_point != 0) add_border_offsets(s, w, x_map.zero_point);
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
    parallel_ranges(count, 1 << 14, [&](std::int64_t begin, std::int64_t end) {
      std::int64_t i = begin;
      for (; i + kBlock <= end; i += kBlock)  // of constant length, for the compiler to see vectors
        for (std::int64_t j = 0; j < kBlock; ++j) elements[i + j] = static_cast<Element>(form_.step * w[i + j] - form_.shift);
      for (; i < end; ++i) elements[i] = static_cast<Element>(form_.step * w[i] - form_.shift);
    });
    parallel_for(panels_.count(), [&](std::int64_t p) { pack(elements, p); });
  }
  std::int64_t element(const std::uint8_t* w, std::int64_t o, const Tap& tap, std::int64_t channel) const {
    return std::int64_t{form_.step} * w[o * c_.w_output + tap.weight + channel] - form_.shift;
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

  // Σ (za·zw − za·αw·e) over the taps of every border class: [row class][column class][output].
  void add_border_offsets(const ConvSizes& s, const std::uint8_t* w, std::int32_t za) {
    PoolVector<std::int64_t> of_tap(static_cast<std::size_t>(s.kh * s.kw * c_.outputs));
    for (std::size_t t = 0; t < phase_.taps.size(); ++t) {
      for (std::int64_t o = 0; o < c_.outputs; ++o) {
        std::int64_t sum = 0;
        for (std::int64_t channel = 0; channel < c_.channels; ++channel)
          sum += std::int64_t{form_.offset} - form_.factor * element(w, o, phase_.taps[t], channel);
        of_tap[t * static_cast<std::size_t>(c_.outputs) + static_cast<std::size_t>(o)] = za * sum;
      }
    }
    for (const auto& rows : rows_.classes) {
      for (const auto& cols : cols_.classes) {
        for (std::int64_t o = 0; o < c_.outputs; ++o) {
          std::int64_t sum = 0;
          for (std::int64_t ky = rows.first; ky < rows.last; ++ky)
            for (std::int64_t kx = cols.first; kx < cols.last; ++kx)
              sum += of_tap[static_cast<std::size_t>((ky * s.kw + kx) * c_.outputs + o)];
          border_offsets_.push_back(wrapped(sum));
        }
      }
    }
  }

  // `count` output rows from `first` on.
  void multiply(const std::byte* scratch, const std::int32_t* windows, std::int64_t first, std::int64_t count,
                std::int32_t* y) const {
    const std::int64_t bytes = form_.k.element_bytes;
    const auto* weights = static_cast<const std::byte*>(packed_.data());
    const bool finishes = factor_ != 1 || windows || !border_offsets_.empty();
    for (std::int64_t p = 0; p < panels_.count(); ++p) {
      const std::byte* w = weights + p * panels_.panel * runs_.total() * bytes;
      for (std::size_t r = 0; r + 1 < runs_.begins.size(); ++r) {
        const std::int64_t begin = runs_.begins[r];
        for (std::int64_t row = 0; row < count; ++row) {
          std::int32_t* to = y + row * c_.y_row + p * panels_.panel;
          form_.k.product({scratch + row * layout_.row_step() * bytes, phase_.cols, runs_.segments.data() + begin,
                           runs_.begins[r + 1] - begin, w + runs_.channels[r] * panels_.width(p) * bytes,
                           panels_.width(p), panels_.valid(p), to, c_.y_step, r > 0});
          if (finishes && r + 2 == runs_.begins.size())
            finish(p, first + row, windows ? windows + row * phase_.cols : nullptr, to);
        }
      }
    }
  }

  // The other terms of one row and panel, in place.
  void finish(std::int64_t panel, std::int64_t row, const std::int32_t* windows, std::int32_t* y) const {
    const auto kernel = kernels::active().codes.finish;
    const auto col_classes = static_cast<std::int64_t>(cols_.classes.size());
    for (std::int64_t begin = 0, end; begin < phase_.cols; begin = end) {
      const std::int64_t col_class = cols_.of[static_cast<std::size_t>(begin)];
      end = begin + 1;
      while (end < phase_.cols && (border_offsets_.empty() || cols_.of[static_cast<std::size_t>(end)] == col_class)) ++end;
      const std::int64_t border = (rows_.of[static_cast<std::size_t>(row)] * col_classes + col_class) * c_.outputs;
      kernel({y + begin * c_.y_step, c_.y_step, end - begin, panels_.valid(panel), factor_,
              border_offsets_.empty() ? nullptr : border_offsets_.data() + border + panel * panels_.panel, pixel_factor_,
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
};

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
