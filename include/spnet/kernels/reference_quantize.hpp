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

inline void centered_sums(const CenteredGradientArgs& a, double* products, double* attained) {
  *products = *attained = 0;
  for (std::int64_t i = 0; i < a.count; ++i) {
    *products += static_cast<double>(a.gradient[i]) * static_cast<double>(a.t[i]);
    *attained += std::abs(a.t[i]) == a.range;
  }
}

inline void centered_gradient(const CenteredGradientArgs& a) {
  for (std::int64_t i = 0; i < a.count; ++i) {
    const float through = a.t[i] == a.range ? a.to_range : a.t[i] == -a.range ? -a.to_range : 0.0f;
    a.dx[i] = (a.gradient[i] / a.divisor + through) * (1.0f - a.t[i] * a.t[i]);
  }
}

inline void decode(const DecodeArgs& a) {
  for (std::int64_t i = 0; i < a.count; ++i)
    a.values[i] = static_cast<float>(a.codes[i] * a.step - a.zero_point) * a.scale;
}

inline void clamp_gradient(const ClampGradientArgs& a) {
  for (std::int64_t i = 0; i < a.count; ++i) {
    const float passed = a.x[i] >= a.low && a.x[i] <= a.high ? a.gradient[i] : 0.0f;
    a.dx[i] = a.adds ? a.dx[i] + passed : passed;
  }
}

inline double scale_gradient(const ScaleGradientArgs& a) {
  double sum = 0;
  for (std::int64_t i = 0; i < a.count; ++i) {
    const float level = static_cast<float>(a.codes[i] * a.step - a.zero_point) * a.unit;
    const float v = a.x[i] * a.factor;
    const bool inside = v > a.low && v < a.high;
    sum += static_cast<double>(a.gradient[i]) * (static_cast<double>(level) - (inside ? static_cast<double>(v) : 0.0));
    a.dx[i] = inside ? a.gradient[i] : 0.0f;
  }
  return sum;
}

inline void log2(const float* x, float* y, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(std::log2(static_cast<double>(x[i])));
}

inline bool log_codes(const LogCodesArgs& a) {
  bool finite = true;
  for (std::int64_t i = 0; i < a.count; ++i) {
    finite = finite && std::isfinite(a.x[i]);
    const float magnitude = std::max(a.two_sided ? std::abs(a.x[i]) : a.x[i], a.floor);
    const float place = (static_cast<float>(std::log2(static_cast<double>(magnitude))) - a.low) * a.factor;
    const float code = std::nearbyint(std::clamp(place, 0.0f, a.levels));
    a.codes[i] = static_cast<std::uint8_t>(!a.two_sided     ? code
                                           : a.x[i] >= 0.0f ? a.levels + 1 + code
                                                            : a.levels - code);
  }
  return finite;
}

inline void extremes(const float* x, std::int64_t count, bool absolute, float* smallest, float* largest) {
  *smallest = *largest = absolute ? std::abs(x[0]) : x[0];
  for (std::int64_t i = 1; i < count; ++i) {
    const float v = absolute ? std::abs(x[i]) : x[i];
    *smallest = std::min(*smallest, v);
    *largest = std::max(*largest, v);
  }
}

inline constexpr QuantizeKernels kQuantize{uniform_codes,  sign_codes,        tanh,   centered_codes,
                                           centered_sums,  centered_gradient, decode, clamp_gradient,
                                           scale_gradient, log_codes,         log2,   extremes};

}  // namespace kernels::reference
}  // namespace v0
}  // namespace spnet
