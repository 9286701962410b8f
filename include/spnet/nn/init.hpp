// Initial values of weights.
#pragma once

#include <cmath>

#include "spnet/core/random.hpp"
#include "spnet/core/random_fill.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {
namespace nn {

/// Normal with standard deviation √(2 / fan), for layers before a ReLU (He et al., ICCV 2015).
/// `fan`: inputs per output (fan-in) or outputs per input (fan-out); > 0.
inline Tensor<float> kaiming_normal(const Shape& shape, std::int64_t fan, Random& random) {
  check<ValueError>(fan > 0, "kaiming_normal: fan ", fan, " given, expected > 0");
  Tensor<float> out(shape);
  const float deviation = std::sqrt(2.0f / static_cast<float>(fan));
  fill_normal(out.span(), random, deviation);
  return out;
}

/// Uniform in ±1/√fan, PyTorch's default for linear layers.
inline Tensor<float> uniform_fan_in(const Shape& shape, std::int64_t fan, Random& random) {
  check<ValueError>(fan > 0, "uniform_fan_in: fan ", fan, " given, expected > 0");
  Tensor<float> out(shape);
  const float bound = 1.0f / std::sqrt(static_cast<float>(fan));
  fill_random(out.span(), random, 1, [bound](Random& r) { return r.uniform(-bound, bound); });
  return out;
}

}  // namespace nn
}  // namespace v0
}  // namespace spnet
