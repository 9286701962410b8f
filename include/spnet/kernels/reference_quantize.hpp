// Plain loops for the quantizers' kernels: their oracle.
#pragma once

#include <algorithm>
#include <cmath>

#include "spnet/kernels/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::reference {

inline bool uniform_codes(const UniformCodesArgs& a) {
  bool finite = true;
  for (std::int64_t i = 0; i < a.count; ++i) {
    finite = finite && std::isfinite(a.x[i]);
    const float clamped = std::isnan(a.x[i]) ? a.low : std::clamp(a.x[i] * a.factor, a.low, a.high);
    a.codes[i] = static_cast<std::uint8_t>(std::nearbyint(clamped) - a.low);
  }
  return finite;
}

inline bool sign_codes(const float* x, std::int64_t count, bool zero_is_positive, std::uint8_t* codes) {
  bool finite = true;
  for (std::int64_t i = 0; i < count; ++i) {
    finite = finite && std::isfinite(x[i]);
    codes[i] = zero_is_positive ? x[i] >= 0.0f : x[i] > 0.0f;
  }
  return finite;
}

inline bool tanh(const float* x, float* y, std::int64_t count) {
  bool finite = true;
  for (std::int64_t i = 0; i < count; ++i) {
    finite = finite && std::isfinite(x[i]);
    y[i] = static_cast<float>(std::tanh(static_cast<double>(x[i])));
  }
  return finite;
}

inline void centered_codes(const CenteredCodesArgs& a) {
  for (std::int64_t i = 0; i < a.count; ++i) {
    const float unit = a.t[i] / a.divisor + 0.5f;
    a.codes[i] = static_cast<std::uint8_t>(std::nearbyint(std::clamp(unit * a.levels, 0.0f, a.levels)));
  }
}

inline void decode(const DecodeArgs& a) {
  for (std::int64_t i = 0; i < a.count; ++i)
    a.values[i] = static_cast<float>(a.codes[i] * a.step - a.zero_point) * a.scale;
}

inline void clamp_gradient(const ClampGradientArgs& a) {
  for (std::int64_t i = 0; i < a.count; ++i)
    a.dx[i] = a.x[i] >= a.low && a.x[i] <= a.high ? a.gradient[i] : 0.0f;
}

inline constexpr QuantizeKernels kQuantize{uniform_codes, sign_codes, tanh, centered_codes, decode, clamp_gradient};

}  // namespace kernels::reference
}  // namespace v0
}  // namespace spnet
