// Logarithmic codes: powers of two, evenly spaced in the exponent.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "spnet/ops/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

/// log2(x) for normal x > 0, the same bits on every machine.
inline float log2_of(float x) {
  float y;
  kernels::active().quantize.log2(&x, &y, 1);
  return y;
}

/// Where logarithmic codes lie: levels + 1 exponents evenly spaced in [low, high]; magnitudes below `floor` count as
/// it.
struct LogRange {
  float floor, low, high;
  int levels;
  bool two_sided;  ///< with signs: twice as many codes
};

/// The smallest and largest log2 of |x| (of x unless `two_sided`), magnitudes below `floor` counting as it. Throws
/// NumericError where it meets an infinity; a NaN is left to `log_codes`.
inline std::array<float, 2> log_extremes(const char* quantizer, const Tensor<float>& x, bool two_sided, float floor) {
  const Extremes e = extremes(x, two_sided);
  if (!std::isfinite(e.smallest) || !std::isfinite(e.largest)) detail::throw_not_finite(quantizer, x.contiguous());
  return {log2_of(std::max(e.smallest, floor)), log2_of(std::max(e.largest, floor))};
}

/// c = round((log2(max(|x|, floor)) − low)/(high − low)·levels), clamped, half to even; for two sides levels + 1 + c
/// where x ≥ 0, levels − c where x < 0, so that codes rise with values; for one side x itself in place of |x|. Throws
/// NumericError where x is not finite.
inline Tensor<std::uint8_t> log_codes(const char* quantizer, const Tensor<float>& x, const LogRange& range) {
  const Tensor<float> dense = x.contiguous();
  Tensor<std::uint8_t> codes(x.shape());
  std::uint8_t* to = codes.data();
  const float width = range.high - range.low, levels = static_cast<float>(range.levels);
  const float factor = width > 0 ? levels / width : 0.0f;
  const auto kernel = kernels::active().quantize.log_codes;
  detail::finite_ranges(quantizer, dense, [&, from = dense.data()](std::int64_t begin, std::int64_t end) {
    return kernel({from + begin, end - begin, range.two_sided, range.floor, range.low, factor, levels, to + begin});
  });
  return codes;
}

/// The values of these codes: ±2^(low + c·(high − low)/levels), in the order of the codes.
inline LutCodes log_table(const LogRange& range) {
  const int count = range.levels + 1;
  Tensor<float> table({range.two_sided ? 2 * count : count});
  const double width = static_cast<double>(range.high) - range.low;
  for (int c = 0; c < count; ++c) {
    const auto value = static_cast<float>(std::exp2(range.low + c * width / std::max(range.levels, 1)));
    table(range.two_sided ? count + c : c) = value;
    if (range.two_sided) table(count - 1 - c) = -value;
  }
  return {table};
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
