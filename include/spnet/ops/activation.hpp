// Activations and their adjoints on plain tensors.
#pragma once

#include <cmath>

#include "spnet/ops/elementwise.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

/// max(x, 0); NaN stays NaN.
template <class T>
Tensor<T> relu(const Tensor<T>& x) {
  const Tensor<T> dense = x.contiguous();
  Tensor<T> out(x.shape());
  const T* from = dense.data();
  T* to = out.data();
  const auto kernel = elementwise_kernels<T>().relu;
  parallel_ranges(x.size(), kElementwiseChunk,
                  [&](std::int64_t begin, std::int64_t end) { kernel(from + begin, to + begin, end - begin); });
  return out;
}

/// The gradient where the output `y` of relu is > 0, else 0. Written to `dx` where one is given (it may be `gradient`).
template <class T>
Tensor<T> relu_backward(const Tensor<T>& gradient, const Tensor<T>& y, Tensor<T> dx = {}) {
  check<ShapeError>(gradient.shape() == y.shape(), "relu_backward: gradient ", gradient.shape(), ", output ", y.shape());
  if (!dx.defined()) dx = Tensor<T>(y.shape());
  const Tensor<T> dense_gradient = gradient.contiguous(), dense_y = y.contiguous();
  const T* from = dense_gradient.data();
  const T* out = dense_y.data();
  T* to = dx.span().data();
  const auto kernel = elementwise_kernels<T>().relu_gradient;
  parallel_ranges(dx.size(), kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
    kernel(from + begin, out + begin, to + begin, end - begin);
  });
  return dx;
}

/// x where x ≥ 0, slope[c]·x below; x [...,C], slope [C] or [1].
template <class T>
Tensor<T> prelu(const Tensor<T>& x, const Tensor<T>& slope) {
  return zip("prelu", x, slope, [](T v, T s) { return v < T{0} ? s * v : v; });
}

/// min(max(x, low), high); NaN stays NaN.
template <class T>
Tensor<T> clamp(const Tensor<T>& x, std::type_identity_t<T> low, std::type_identity_t<T> high) {
  check<ValueError>(low <= high, "clamp: [", low, ", ", high, "] given, expected low <= high");
  return map(x, [=](T v) { return v < low ? low : v > high ? high : v; });
}

/// The gradient where low ≤ x ≤ high, else 0.
template <class T>
Tensor<T> clamp_backward(const Tensor<T>& gradient, const Tensor<T>& x, std::type_identity_t<T> low,
                         std::type_identity_t<T> high) {
  return zip("clamp_backward", gradient, x, [=](T g, T v) { return v >= low && v <= high ? g : T{0}; });
}

/// Hyperbolic tangent.
template <class T>
Tensor<T> tanh(const Tensor<T>& x) {
  return map(x, [](T v) { return std::tanh(v); });
}

/// 1/(1 + e^−x), without overflow on either side.
template <class T>
Tensor<T> sigmoid(const Tensor<T>& x) {
  return map(x, [](T v) {
    const T e = std::exp(-std::abs(v));
    return (v < T{0} ? e : T{1}) / (T{1} + e);
  });
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
