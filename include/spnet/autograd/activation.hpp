// Differentiable activations. Where a function has a kink, the gradient is that of one side, as said below.
#pragma once

#include <type_traits>

#include "spnet/autograd/variable.hpp"
#include "spnet/ops/activation.hpp"
#include "spnet/ops/reduce.hpp"

namespace spnet {
inline namespace v0 {

namespace traced {
struct Relu {};
/// Inputs x and slope.
struct Prelu {};
struct Clamp {
  float low, high;
};
struct Tanh {};
struct Sigmoid {};
}  // namespace traced

/// max(x, 0); gradient 0 at 0. NaN stays NaN.
template <class T>
Variable<T> relu(const Variable<T>& x) {
  Tensor<T> y = ops::relu(x.value());
  return make_result<T>(
      y, {x},
      [y](const Tensor<T>& g, InputGradients<T>& into) {
        Tensor<T> dx = ops::reuse(g);
        into.add(0, ops::relu_backward(g, y, std::move(dx)));
      },
      traced::Relu{});
}

/// x where x ≥ 0, slope·x below; x [...,C], slope [C], or [1] for all channels. Throws ShapeError on another slope.
template <class T>
Variable<T> prelu(const Variable<T>& x, const Variable<T>& slope) {
  check<ShapeError>(x.shape().rank() > 0 && slope.shape().rank() == 1 &&
                        (slope.dim(0) == x.dim(-1) || slope.dim(0) == 1),
                    "prelu: slope ", slope.shape(), " given, input ", x.shape(), " expects one for each channel or [1]");
  return make_result<T>(
      ops::prelu(x.value(), slope.value()), {x, slope},
      [v = x.value(), s = slope.value()](const Tensor<T>& g, InputGradients<T>& into) {
        if (into.needs(0)) {
          const Tensor<T> local = ops::zip("prelu", v, s, [](T a, T b) { return a < T{0} ? b : T{1}; });
          into.add(0, ops::mul(g, local));
        }
        if (into.needs(1)) {
          const Tensor<T> local = ops::zip("prelu", g, v, [](T a, T b) { return b < T{0} ? a * b : T{0}; });
          into.add(1, ops::sum_to(local, s.shape()));
        }
      },
      traced::Prelu{});
}

/// min(max(x, low), high); gradient 1 on [low, high], ends included, 0 outside. Throws ValueError where low > high.
template <class T>
Variable<T> clamp(const Variable<T>& x, std::type_identity_t<T> low, std::type_identity_t<T> high) {
  return make_result<T>(
      ops::clamp(x.value(), low, high), {x},
      [v = x.value(), low, high](const Tensor<T>& g, InputGradients<T>& into) {
        into.add(0, ops::clamp_backward(g, v, low, high));
      },
      traced::Clamp{static_cast<float>(low), static_cast<float>(high)});
}

/// Hyperbolic tangent; exact gradient 1 − tanh²x.
template <class T>
Variable<T> tanh(const Variable<T>& x) {
  Tensor<T> y = ops::tanh(x.value());
  return make_result<T>(
      y, {x},
      [y](const Tensor<T>& g, InputGradients<T>& into) {
        into.add(0, ops::zip("tanh", g, y, [](T a, T b) { return a * (T{1} - b * b); }));
      },
      traced::Tanh{});
}

/// 1/(1 + e^−x).
template <class T>
Variable<T> sigmoid(const Variable<T>& x) {
  Tensor<T> y = ops::sigmoid(x.value());
  return make_result<T>(
      y, {x},
      [y](const Tensor<T>& g, InputGradients<T>& into) {
        into.add(0, ops::zip("sigmoid", g, y, [](T a, T b) { return a * b * (T{1} - b); }));
      },
      traced::Sigmoid{});
}

}  // namespace v0
}  // namespace spnet
