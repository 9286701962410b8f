// The engine of convolution on codes: products of bytes, summed exactly in int32.
//
// With integers A = αa·a − za of a code a and αa·W = f·e + g of a packed weight e, the sum over the taps that lie within
// the image is
//   Σ A·W = f · Σ a·e + g · Σ a − za · Σ W,
// where outside the image a is 0 in the scratch: the first two sums do not see it, and the last depends on the output
// pixel's spans alone. All of it is modulo 2^32, and right where Σ A·W itself fits int32.
//
// Of codes of 1 bit, with W = 2e − 1, the kernels count instead where a and e differ: Σ a·W = Σ e − Σ (a ≠ e), over all taps,
// those outside the image included, where both terms are e.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>

#include "spnet/ops/conv2d_correlate.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_scratch.hpp"
#include "spnet/ops/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

using kernels::IntegerKernels;
using kernels::IntegerProductArgs;

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

/// Products of fewer units would spend their time on the sums that they leave in memory.
inline constexpr std::int64_t kLeastUnits = 64;
inline constexpr std::int64_t kAnyUnits = std::numeric_limits<std::int64_t>::max();

/// The kernel for a pair of codes, and how a weight's code becomes an element: e = step·code − shift;
/// αa·W = factor·e + offset.
struct WeightForm {
  const IntegerKernels& k;
  std::int64_t step, shift;
  std::int64_t factor, offset;
  std::int64_t most_units;  // in one product

  bool counts_differences() const { return k.element_codes > 1; }
  /// For `channels` of the input that an output sums over, at each tap.
  static WeightForm choose(const AffineCodes& x, const AffineCodes& w, std::int64_t channels) {
    const kernels::CodeKernels& codes = kernels::active().codes;
    const bool is_sign = w.step == 2 && w.zero_point == 1 && w.qmin >= 0 && w.qmax <= 1;
    // With fewer channels most of each unit of bits would be empty, and packing costs more than counting saves.
    if (codes.bits.product && is_sign && x.qmin >= 0 && x.qmax <= 1 && channels >= 32 && channels % 8 == 0)
      return {codes.bits, 1, 0, -std::int64_t{x.step}, 0, codes.bits.lane_limit ? codes.bits.lane_limit / 8 : kAnyUnits};
    const IntegerRange range(w);
    const bool is_byte = range.low >= -128 && range.high <= 127;
    const std::int64_t largest = is_byte ? range.largest() : 128;
    constexpr std::int64_t kShort = std::numeric_limits<std::int16_t>::max();
    const std::int64_t pair = std::max<std::int64_t>(2 * x.qmax * largest, 1);
    const IntegerKernels* k = x.qmax <= codes.small.largest_code && pair <= kShort ? &codes.small : &codes.exact;
    std::int64_t units = kAnyUnits;
    if (codes.narrow.product && is_byte && codes.narrow.lane_limit / pair >= kLeastUnits) {
      k = &codes.narrow;
      units = codes.narrow.lane_limit / pair;
    }
    if (is_byte || k->element_bytes == 2) return {*k, w.step, w.zero_point, x.step, 0, units};
    return {*k, 1, 128, std::int64_t{x.step} * w.step, std::int64_t{x.step} * (128 * w.step - w.zero_point), units};
  }
};

/// One group of a convolution of codes. `c` is its forward correlation; x and y point at the group's first channel, w at
/// its first weight.
class IntegerCorrelation {
 public:
  IntegerCorrelation(const ConvSizes& s, const Correlation& c, const AffineCodes& x_map, const std::uint8_t* w,
                     const AffineCodes& w_map)
      : form_(WeightForm::choose(x_map, w_map, c.channels)),
        c_(in_elements(c, form_.k.element_codes)),
        phase_(c_.phases[0]),
        panels_(form_.k, c_.outputs),
        band_(ScratchLayout::band_rows(c_, ceil_div(kLeastTasks, c_.batch), kBandFloats, false)),
        layout_(c_, band_, false),
        spans_(c_, phase_),
        factor_(wrapped(form_.factor)),
        pixel_factor_(wrapped(form_.offset)),
        runs_(std::min(kRunBytes / form_.k.element_bytes / (4 * panels_.panel), form_.most_units) * 4 * panels_.panel) {
    for (const Tap& tap : phase_.taps) tap_pixels_.push_back(layout_.pixel(tap));
    for (const Tap& tap : phase_.taps)
      for (std::int64_t b = 0; b < layout_.blocks(); ++b)
        runs_.add(tap.row, layout_.offset(tap, b), ceil_div(layout_.channels(b), 4) * 4, panels_.panel);
    runs_.finish();
    packed_ = Buffer(static_cast<std::size_t>(panels_.total() * runs_.total() * form_.k.element_bytes));
    if (form_.counts_differences()) {
      pack_all<std::int8_t>([w](std::int64_t i) { return static_cast<std::int8_t>(kernels::pack_bits(w + 8 * i)); });
    } else if (form_.k.element_bytes == 1) {
      pack_all<std::int8_t>(w);
    } else {
      pack_all<std::int16_t>(w);
    }
    if (x_map.zero_point != 0 || form_.counts_differences()) add_border_offsets(s, w, x_map, w_map);
  }
  IntegerCorrelation(const IntegerCorrelation&) = delete;
  IntegerCorrelation& operator=(const IntegerCorrelation&) = delete;

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
  // Weights and channels counted in elements of `codes` codes.
  static Correlation in_elements(Correlation c, std::int64_t codes) {
    c.channels /= codes;
    c.w_output /= codes;
    for (Phase& phase : c.phases)
      for (Tap& tap : phase.taps) tap.weight /= codes;
    return c;
  }
  template <class Element>
  void pack_all(const std::uint8_t* w) {
    const auto step = static_cast<std::int32_t>(form_.step), shift = static_cast<std::int32_t>(form_.shift);
    pack_all<Element>([=](std::int64_t i) { return static_cast<Element>(step * w[i] - shift); });
  }
  template <class Element, class ElementAt>
  void pack_all(const ElementAt& element_at) {
    const std::int64_t count = c_.outputs * c_.w_output;
    const Buffer buffer(static_cast<std::size_t>(count) * sizeof(Element));
    auto* elements = static_cast<Element*>(buffer.data());
    parallel_ranges(count, 1 << 14, [&](std::int64_t begin, std::int64_t end) {
      std::int64_t i = begin;
      for (; i + kBlock <= end; i += kBlock)  // of constant length, for the compiler to see vectors
        for (std::int64_t j = 0; j < kBlock; ++j) elements[i + j] = element_at(i + j);
      for (; i < end; ++i) elements[i] = element_at(i);
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

  // −za · Σ W over the taps of every pair of spans, and αa · Σ e over all taps where differences are counted: [row span]
  // [column span][output, up to whole vectors].
  void add_border_offsets(const ConvSizes& s, const std::uint8_t* w, const AffineCodes& x_map, const AffineCodes& w_map) {
    const std::int64_t codes = form_.k.element_codes, channels = c_.channels * codes, za = x_map.zero_point;
    PoolVector<std::int64_t> of_tap(static_cast<std::size_t>(s.kh * s.kw * c_.outputs));
    PoolVector<std::int64_t> everywhere(static_cast<std::size_t>(c_.outputs));
    for (std::size_t t = 0; t < phase_.taps.size(); ++t) {
      for (std::int64_t o = 0; o < c_.outputs; ++o) {
        const std::uint8_t* const from = w + (o * c_.w_output + phase_.taps[t].weight) * codes;
        std::int64_t sum = 0;
        for (std::int64_t channel = 0; channel < channels; ++channel) sum += from[channel];
        of_tap[t * static_cast<std::size_t>(c_.outputs) + static_cast<std::size_t>(o)] =
            -za * (w_map.step * sum - channels * w_map.zero_point);
        if (form_.counts_differences()) everywhere[static_cast<std::size_t>(o)] += x_map.step * sum;
      }
    }
    for (const TapSpan& rows : spans_.rows) {
      for (const TapSpan& cols : spans_.cols) {
        for (std::int64_t o = 0; o < panels_.total(); ++o) {
          std::int64_t sum = o < c_.outputs ? everywhere[static_cast<std::size_t>(o)] : 0;
          for (std::int64_t ky = rows.first; ky < rows.last && o < c_.outputs; ++ky)
            for (std::int64_t kx = cols.first; kx < cols.last; ++kx)
              sum += of_tap[static_cast<std::size_t>((ky * s.kw + kx) * c_.outputs + o)];
          border_offsets_.push_back(wrapped(sum));
        }
      }
    }
    std::int64_t start = 0;
    for (const TapSpan& cols : spans_.cols) {
      border_starts_.insert(border_starts_.end(), static_cast<std::size_t>(cols.size()), start);
      start += panels_.total();
    }
  }

  // `count` output rows from `first` on.
  void multiply(const std::byte* scratch, const std::int32_t* windows, std::int64_t first, std::int64_t count,
                std::int32_t* y) const {
    const std::int64_t bytes = form_.k.element_bytes;
    const auto* weights = static_cast<const std::byte*>(packed_.data());
    const std::int64_t of_class = std::ssize(spans_.cols) * panels_.total();
    for (std::int64_t p = 0; p < panels_.count(); ++p) {
      const std::byte* w = weights + p * panels_.panel * runs_.total() * bytes;
      for (std::size_t r = 0; r < runs_.count(); ++r) {
        for (std::int64_t row = 0; row < count; ++row) {
          // Differences are counted outside the image, too.
          const Runs::Part part = form_.counts_differences()
                                      ? runs_.whole(r)
                                      : runs_.inside(r, (first + row) * c_.stride_h, c_.in_rows);
          if (r > 0 && part.empty()) continue;
          IntegerProductArgs args{.x = scratch + row * layout_.row_step() * bytes,
                                  .pixels = phase_.cols,
                                  .segments = part.data(),
                                  .segment_count = std::ssize(part),
                                  .w = w,
                                  .width = panels_.width(p),
                                  .outputs = panels_.valid(p),
                                  .y = y + row * c_.y_row + p * panels_.panel,
                                  .y_step = c_.y_step,
                                  .accumulate = r > 0,
                                  .factor = factor_,
                                  .initial = nullptr,
                                  .starts = nullptr,
                                  .pixel_terms = nullptr};
          if (r == 0 && !border_offsets_.empty()) {
            const auto span = std::find_if(spans_.rows.begin(), spans_.rows.end(),
                                           [&](const TapSpan& rows) { return first + row < rows.end; });
            args.initial = border_offsets_.data() + (span - spans_.rows.begin()) * of_class + p * panels_.panel;
            args.starts = border_starts_.data();
          }
          if (r == 0 && windows) args.pixel_terms = windows + row * phase_.cols;
          form_.k.product(args);
        }
      }
    }
  }

  // g · Σ a of every window of the band; only weights of one byte have an offset that asks for it.
  const std::int32_t* sum_windows(const std::byte* scratch, std::int64_t count, std::int64_t* pixel_sums) const {
    const kernels::CodeKernels& k = kernels::active().codes;
    auto* windows = reinterpret_cast<std::int32_t*>(pixel_sums + 2 * layout_.rows() * layout_.columns());
    for (std::int64_t row = 0; row < layout_.rows(); ++row)
      k.sum_pixels({scratch + row * layout_.row_step(), layout_.blocks(), layout_.block_step(), layout_.columns(),
                    pixel_sums + 2 * row * layout_.columns()});
    for (std::int64_t row = 0; row < count; ++row)
      k.sum_windows({pixel_sums + 2 * row * layout_.columns(), tap_pixels_.data(),
                     static_cast<std::int64_t>(tap_pixels_.size()), phase_.cols, pixel_factor_, windows + row * phase_.cols});
    return windows;
  }

  WeightForm form_;
  Correlation c_;
  const Phase& phase_;
  Panels panels_;
  std::int64_t band_;
  ScratchLayout layout_;
  TapSpans spans_;
  std::int32_t factor_, pixel_factor_;
  PoolVector<std::int64_t> tap_pixels_;
  Runs runs_;
  Buffer packed_;
  PoolVector<std::int32_t> border_offsets_;
  PoolVector<std::int64_t> border_starts_;  // of the span of every column
};

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
