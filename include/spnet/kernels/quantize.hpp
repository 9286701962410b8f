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

/// values[i] = scale * float(step * codes[i] - zero_point).
struct DecodeArgs {
  const std::uint8_t* codes;
  std::int64_t count;
  std::int32_t step, zero_point;
  float scale;
  float* values;
};

/// dx[i] = low <= x[i] <= high ? gradient[i] : 0; dx may be gradient.
struct ClampGradientArgs {
  const float* gradient;
  const float* x;
  float low, high;
  float* dx;
  std::int64_t count;
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
  void (*decode)(const DecodeArgs&);
  void (*clamp_gradient)(const ClampGradientArgs&);
};

}  // namespace kernels
}  // namespace v0
}  // namespace spnet
