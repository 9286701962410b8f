// Which integer kernel multiplies a pair of codes, and what it takes for weights: in the terms of conv2d_integer.hpp.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <limits>

#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {
namespace detail {

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

}  // namespace detail

/// Ways to multiply codes; their sums are the same.
enum class CodesProduct {
  kFastest,  ///< what is faster, as a rule
  kBytes,    ///< whole codes
  kBits,     ///< bit planes
};

namespace detail {

/// The kernel for a pair of codes. Of whole codes, how a weight's code becomes an element: e = step·code − shift;
/// αa·W = factor·e + offset. Of bit planes, αa·Σ a·W = factor·D + weights·Σ c + offset·Σ a with the sum D of the bits
/// that differ and the weights' codes c.
struct WeightForm {
  const IntegerKernels& k;
  std::int64_t step, shift;
  std::int64_t factor, offset;
  std::int64_t most_units;  // in one product
  std::int64_t x_planes = 1, w_planes = 1;
  std::int64_t weights = 0;  // see above; of whole codes none

  bool is_of_bits() const { return k.element_codes > 1; }

  /// The product of that kind; of whole codes where bits cannot be counted.
  static WeightForm choose(const AffineCodes& x, const AffineCodes& w, const Correlation& c,
                           CodesProduct product = CodesProduct::kFastest) {
    const bool counts =
        product == CodesProduct::kFastest ? counts_pay(x, w, c) : product == CodesProduct::kBits && has_planes(x, w);
    return counts ? of_planes(x, w) : of_bytes(x, w);
  }
  /// True where bits can be counted: the weights' step is even, and the lanes hold the sums of a unit.
  static bool has_planes(const AffineCodes& x, const AffineCodes& w) {
    return kernels::active().codes.bits.product && w.step % 2 == 0 && of_planes(x, w).most_units > 0;
  }
  /// Where has_planes, and the lanes hold the sums of a unit.
  static WeightForm of_planes(const AffineCodes& x, const AffineCodes& w) {
    const IntegerKernels& bits = kernels::active().codes.bits;
    const std::int64_t x_planes = planes(x), w_planes = planes(w);
    const std::int64_t x_most = (1 << x_planes) - 1, w_most = (1 << w_planes) - 1, half = w.step / 2;
    return {.k = bits,
            .step = 1,
            .shift = 0,
            .factor = -x.step * half,
            .offset = x.step * (half * w_most - w.zero_point),
            .most_units = bits.lane_limit ? bits.lane_limit / (bits.element_codes * x_most * w_most) : kAnyUnits,
            .x_planes = x_planes,
            .w_planes = w_planes,
            .weights = x.step * half * x_most};
  }
  static WeightForm of_bytes(const AffineCodes& x, const AffineCodes& w) {
    const kernels::CodeKernels& codes = kernels::active().codes;
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

 private:
  static bool counts_pay(const AffineCodes& x, const AffineCodes& w, const Correlation& c) {
    const kernels::CodeKernels& codes = kernels::active().codes;
    // With fewer channels too much of each unit of 32 bits would be empty.
    constexpr std::int64_t kLeastChannels = 24;
    const std::int64_t pairs = planes(x) * planes(w), taps = std::ssize(c.phases[0].taps);
    if (!has_planes(x, w) || c.channels < kLeastChannels || pairs > codes.plane_pairs) return false;
    if (c.batch * c.phases[0].rows * c.phases[0].cols >= codes.many_pixels) return false;
    // Short sums take less time than what comes before and after them, as does packing codes that are hardly read.
    return pairs == 1 || (taps * c.channels >= 32 * pairs &&
                          taps * c.outputs >= planes(x) * codes.plane_reads * c.stride_h * c.stride_w);
  }
  static std::int64_t planes(const AffineCodes& m) {
    return std::max<std::int64_t>(std::bit_width(static_cast<std::uint32_t>(m.qmax)), 1);
  }
};

}  // namespace detail
}  // namespace ops
}  // namespace v0
}  // namespace spnet
