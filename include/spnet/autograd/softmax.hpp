// Differentiable softmax and its logarithm.
#pragma once

#include "spnet/autograd/variable.hpp"
#include "spnet/ops/reduce.hpp"
#include "spnet/ops/softmax.hpp"

namespace spnet {
inline namespace v0 {

namespace traced {
struct Softmax {};
}  // namespace traced

/// Softmax along the last axis; x [...,K] → the same shape. Exact gradient. Throws ShapeError without an axis.
template <class T>
Variable<T> softmax(const Variable<T>& x) {
  Tensor<T> y = ops::softmax(x.value());
  return make_result<T>(
      y, {x},
      [y](const Tensor<T>& g, InputGradients<T>& into) {
        const Tensor<T> weighted = ops::mul(g, y);
        into.add(0, ops::sub(weighted, ops::mul(y, ops::sum(weighted, {-1}, true))));
      },
      traced::Softmax{});
}

/// Logarithm of the softmax along the last axis, without overflow; x [...,K] → the same shape. Exact gradient. Throws ShapeError
/// without an axis.
template <class T>
Variable<T> log_softmax(const Variable<T>& x) {
  Tensor<T> y = ops::log_softmax(x.value());
  return make_result<T>(y, {x}, [y](const Tensor<T>& g, InputGradients<T>& into) {
    into.add(0, ops::sub(g, ops::mul(ops::exp(y), ops::sum(g, {-1}, true))));
  });
}

}  // namespace v0
}  // namespace spnet
