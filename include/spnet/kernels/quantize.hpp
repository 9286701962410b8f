// The contract of the quantizers' passes. What decides codes has the same bits on every instruction set: each element
// is computed with the operations named here, in that order, every one of them rounded (no fused multiply-add).
#pragma once

#include <cstdint>

namespace spnet {
inline namespace v0 {
namespace kernels {

/// codes[i] = round(clamp(x[i] * factor, low, high)) - low, half to even; low and high are integers, 255 apart at most.
struct UniformCodesArgs {
  const float* x;
  std::int64_t count;
  float factor, low, high;
  std::uint8_t* codes;
};

/// codes[i] = round(clamp((t[i] / divisor + 0.5) * levels, 0, levels)), half to even.
struct CenteredCodesArgs {
  const float* t;
  std::int64_t count;
  float divisor, levels;
  std::uint8_t* codes;
};

/// dx[i] = (gradient[i] / divisor ± to_range where t[i] = ±range) · (1 - t[i]²), for range > 0.
struct CenteredGradientArgs {
  const float* gradient;
  const float* t;
  std::int64_t count;
  float range, divisor, to_range;
  float* dx;  ///< may be gradient
};

/// values[i] = scale * float(step * codes[i] - zero_point).
struct DecodeArgs {
  const std::uint8_t* codes;
  std::int64_t count;
  std::int32_t step, zero_point;
  float scale;
  float* values;
};

/// dx[i] = low <= x[i] <= high ? gradient[i] : 0, where dx may be gradient; or dx[i] += that, if `adds`.
struct ClampGradientArgs {
  const float* gradient;
  const float* x;
  float low, high;
  float* dx;
  std::int64_t count;
  bool adds = false;
};

/// The gradient of value = scale · level w.r.t. x and the scale, where level = unit · (step * codes[i] - zero_point) is
/// v = x[i] * factor rounded and clipped to [low, high], and the rounding's gradient is taken as 1:
/// dx[i] = low < v < high ? gradient[i] : 0, and the sum over i of gradient[i] · (low < v < high ? level - v : level).
struct ScaleGradientArgs {
  const float* gradient;
  const float* x;
  const std::uint8_t* codes;
  std::int64_t count;
  std::int32_t step, zero_point;
  float unit, factor, low, high;
  float* dx;  ///< may be gradient
};

/// c = round(clamp((log2(max(a, floor)) - low) * factor, 0, levels)), half to even, where a is x[i], or |x[i]| if
/// `two_sided`; codes[i] = c, or levels + 1 + c for x[i] >= 0 and levels - c for the others if `two_sided`.
struct LogCodesArgs {
  const float* x;
  std::int64_t count;
  bool two_sided;
  float floor, low, factor, levels;
  std::uint8_t* codes;
};

/// One instruction set's kernels for quantizers. Those that return bool tell whether every x was finite; where one was
/// not, the output is unspecified.
struct QuantizeKernels {
  bool (*uniform_codes)(const UniformCodesArgs&);
  /// codes[i] = x[i] > 0, or x[i] >= 0 where `zero_is_positive`.
  bool (*sign_codes)(const float* x, std::int64_t count, bool zero_is_positive, std::uint8_t* codes);
  /// y[i] = tanh(x[i]) to a relative error of 3e-7; y may be x.
  bool (*tanh)(const float* x, float* y, std::int64_t count);
  void (*centered_codes)(const CenteredCodesArgs&);
  /// The sum of gradient[i] · t[i], and the number of |t[i]| = range. The tail is padded with zeros: range > 0.
  void (*centered_sums)(const CenteredGradientArgs&, double* products, double* attained);
  void (*centered_gradient)(const CenteredGradientArgs&);
  void (*decode)(const DecodeArgs&);
  void (*clamp_gradient)(const ClampGradientArgs&);
  double (*scale_gradient)(const ScaleGradientArgs&);
  bool (*log_codes)(const LogCodesArgs&);
  /// y[i] = log2(x[i]) for normal x[i] > 0, as `log_codes` computes it: absolute error below 2e-7 + 1e-7 · |y|.
  void (*log2)(const float* x, float* y, std::int64_t count);
  /// The smallest and the largest |x[i]|, or x[i] unless `absolute`; count > 0 and finite x.
  void (*extremes)(const float* x, std::int64_t count, bool absolute, float* smallest, float* largest);
};

}  // namespace kernels
}  // namespace v0
}  // namespace spnet
