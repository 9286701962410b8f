// Comparisons that tell what differs and where.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "spnet/core/random_fill.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {
namespace testing {

/// What a comparison found; `message` tells the largest errors and where they are.
struct Comparison {
  bool ok = true;
  std::string message;
  double max_absolute = 0;
  double max_relative = 0;
  explicit operator bool() const { return ok; }
};

/// |actual − expected| ≤ atol + rtol·|expected| for every element; NaN equals NaN, an infinity itself only.
template <class T, class U>
Comparison allclose(const Tensor<T>& actual, const Tensor<U>& expected, double rtol = 1e-5, double atol = 1e-8) {
  if (actual.shape() != expected.shape())
    return {false, message("allclose: shapes ", actual.shape(), " and ", expected.shape()), 0, 0};
  const Tensor<double> a = actual.template to<double>(), b = expected.template to<double>();
  Comparison out;
  double worst = 0;
  for (std::int64_t i = 0; i < a.size(); ++i) {
    const double x = a.data()[i], y = b.data()[i];
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    const double error = std::abs(x - y);
    out.max_absolute = std::max(out.max_absolute, error);
    if (y != 0) out.max_relative = std::max(out.max_relative, error / std::abs(y));
    const double excess = error / (atol + rtol * std::abs(y));
    if (std::isfinite(y) && excess <= 1) continue;
    if (!out.ok && excess <= worst) continue;
    worst = excess;
    out.ok = false;
    out.message = message("allclose: element ", i, " of ", actual.shape(), " is ", x, ", expected ", y);
  }
  if (!out.ok) out.message += message(" (max absolute error ", out.max_absolute, ", relative ", out.max_relative, ")");
  return out;
}

/// Same shape, same bits.
template <class T>
bool bit_equal(const Tensor<T>& a, const Tensor<T>& b) {
  const Tensor<T> x = a.contiguous(), y = b.contiguous();
  return a.shape() == b.shape() && std::memcmp(x.data(), y.data(), static_cast<std::size_t>(x.size()) * sizeof(T)) == 0;
}

/// Standard normal numbers times `scale` plus `offset`.
template <class T>
Tensor<T> random_normal(const Shape& shape, std::uint64_t seed, double scale = 1, double offset = 0) {
  Random random(seed);
  Tensor<T> out(shape);
  fill_random(out.span(), random, 2,
              [=](Random& r) { return static_cast<T>(offset + scale * static_cast<double>(r.normal())); });
  return out;
}

}  // namespace testing
}  // namespace v0
}  // namespace spnet
