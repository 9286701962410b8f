// Plain loops for the element-wise passes: the oracle for float, the only kernels for double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "spnet/kernels/elementwise.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::reference {

// x · factor + term, the product rounded before the addition: through memory, where nothing can be fused.
template <class T>
T scale_shift(T x, T factor, T term) {
  volatile T product = x * factor;
  return product + term;
}

template <class X>
void moments(const MomentsArgs<X>& a) {
  for (std::int64_t c = 0; c < a.channels; ++c) {
    double sum = 0, squares = 0;
    for (std::int64_t r = 0; r < a.rows; ++r) sum += static_cast<double>(a.x[r * a.channels + c]);
    const double mean = sum / static_cast<double>(a.rows);
    for (std::int64_t r = 0; r < a.rows; ++r) {
      const double d = static_cast<double>(a.x[r * a.channels + c]) - mean;
      squares += d * d;
    }
    a.mean[c] = mean;
    a.squares[c] = squares;
  }
}

template <class T, class X>
void normalize(const NormalizeArgs<T, X>& a) {
  for (std::int64_t r = 0; r < a.rows; ++r) {
    for (std::int64_t c = 0; c < a.channels; ++c) {
      const std::int64_t x = r * (a.x_step ? a.x_step : a.channels) + c;
      const std::int64_t i = r * (a.y_step ? a.y_step : a.channels) + c;
      T y = scale_shift(static_cast<T>(a.x[x]), a.scale[c], a.shift[c]);
      if (a.residual) y += a.residual[i];
      a.y[i] = a.relu && y < T{0} ? T{0} : y;
    }
  }
}

template <class T, class X>
bool normalize_codes(const NormalizeCodesArgs<T, X>& a) {
  const auto& n = a.normalize;
  bool finite = true;
  for (std::int64_t at = 0; at < n.rows * n.channels; ++at) {
    const std::int64_t r = at / n.channels, c = at % n.channels;
    const std::int64_t x = r * (n.x_step ? n.x_step : n.channels) + c, i = r * (n.y_step ? n.y_step : n.channels) + c;
    T y;
    normalize<T, X>({n.x + x, n.residual ? n.residual + i : nullptr, n.scale + c, n.shift + c, n.relu, &y, 1, 1});
    if (n.y) n.y[i] = y;
    if (!std::isfinite(y)) {
      finite = false;
      continue;
    }
    const T code = a.sign ? T(y > T{0}) : std::nearbyint(std::clamp(y * a.factor, a.low, a.high)) - a.low;
    if (a.codes) a.codes[i] = static_cast<std::uint8_t>(code);
    if (a.values) a.values[i] = (a.step * code - a.zero_point) * a.scale;
  }
  return finite;
}

template <class T, class X>
void normalize_sums(const NormalizeSumsArgs<T, X>& a) {
  for (std::int64_t c = 0; c < 2 * a.channels; ++c) a.sums[c] = 0;
  const bool of_scale = a.mask == GradientMask::kInput && a.factor != T{0};
  if (of_scale) *a.of_scale = 0;
  for (std::int64_t r = 0; r < a.rows; ++r) {
    for (std::int64_t c = 0; c < a.channels; ++c) {
      const std::int64_t i = r * a.channels + c;
      T g = a.gradient[i];
      if (a.mask == GradientMask::kInput) {
        const T y = scale_shift(static_cast<T>(a.x[i]), a.scale[c], a.shift[c]);
        const bool passes = y > T{0} && y <= a.most;
        if (of_scale) {
          const T v = scale_shift(y, a.factor, T{0}), level = std::nearbyint(std::clamp(v, T{0}, a.high));
          *a.of_scale += static_cast<double>(g) * static_cast<double>(level - (passes ? v : T{0}));
        }
        g = passes ? g : T{0};
      }
      if (a.mask == GradientMask::kOutput) a.masked[i] = g = a.y[i] > T{0} ? g : T{0};
      a.sums[c] += static_cast<double>(g);
      a.sums[a.channels + c] += static_cast<double>(g) * static_cast<double>(static_cast<T>(a.x[i]) - a.mean[c]);
    }
  }
}

template <class T, class X>
void normalize_gradient(const NormalizeGradientArgs<T, X>& a) {
  for (std::int64_t r = 0; r < a.rows; ++r) {
    for (std::int64_t c = 0; c < a.channels; ++c) {
      const std::int64_t i = r * a.channels + c;
      T g = a.gradient[i];
      if (a.mask == GradientMask::kInput) {
        const T y = scale_shift(static_cast<T>(a.x[i]), a.scale[c], a.shift[c]);
        g = y > T{0} && y <= a.most ? g : T{0};
      }
      a.dx[i] = g * a.gain[c] + ((static_cast<T>(a.x[i]) - a.mean[c]) * a.slope[c] + a.offset[c]);
    }
  }
}

template <class T>
void maximum(T* largest, const T* x, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) largest[i] = x[i] > largest[i] || std::isnan(x[i]) ? x[i] : largest[i];
}

template <class T>
void add(T* sum, const T* term, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) sum[i] += term[i];
}

template <class T>
void relu(const T* x, T* y, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] = x[i] < T{0} ? T{0} : x[i];
}

template <class T>
void relu_gradient(const T* gradient, const T* y, T* dx, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dx[i] = y[i] > T{0} ? gradient[i] : T{0};
}

template <class T, class X>
inline constexpr NormalizeFunctions<T, X> kNormalize{normalize<T, X>, normalize_codes<T, X>, normalize_sums<T, X>,
                                                     normalize_gradient<T, X>};

template <class T>
inline constexpr ElementwiseFunctions<T> kElementwise{moments<T>, kNormalize<T, T>, kNormalize<T, std::int32_t>,
                                                      maximum<T>, add<T>, relu<T>, relu_gradient<T>};

}  // namespace kernels::reference
}  // namespace v0
}  // namespace spnet
