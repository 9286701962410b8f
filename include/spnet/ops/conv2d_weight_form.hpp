// Which integer kernel multiplies a pair of codes, and what it takes for weights: in the terms of conv2d_integer.hpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>

#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

using kernels::IntegerKernels;

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

/// The largest magnitude of a sum of `length` products of codes that have an integer form.
inline std::int64_t largest_sum(const AffineCodes& x, const AffineCodes& w, std::int64_t length) {
  return length * IntegerRange(x).largest() * IntegerRange(w).largest();
}

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
  /// For `channels` of the input that an output sums over, at each tap, and for `pixels` of the output.
  static WeightForm choose(const AffineCodes& x, const AffineCodes& w, std::int64_t channels, std::int64_t pixels) {
    const kernels::CodeKernels& codes = kernels::active().codes;
    const bool is_sign = w.step == 2 && w.zero_point == 1 && w.qmin >= 0 && w.qmax <= 1;
    // With fewer channels most of each unit of bits would be empty, and packing costs more than counting saves.
    if (codes.bits.product && pixels < codes.many_pixels && is_sign && x.qmin >= 0 && x.qmax <= 1 && channels >= 32 &&
        channels % 8 == 0)
      return {
          codes.bits, 1, 0, -std::int64_t{x.step}, 0, codes.bits.lane_limit ? codes.bits.lane_limit / 8 : kAnyUnits};
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

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
