// Differentiable pooling of [N,H,W,C].
#pragma once

#include <utility>

#include "spnet/autograd/variable.hpp"
#include "spnet/ops/pool.hpp"

namespace spnet {
inline namespace v0 {

using ops::Pool2dOptions;

namespace traced {
struct MaxPool2d {
  Pool2dOptions options;
};
struct AvgPool2d {
  Pool2dOptions options;
};
struct GlobalAvgPool2d {};
}  // namespace traced

/// Largest element of every window. x [N,H,W,C] → [N,H',W',C], H' = ⌊(H + 2·padding − kernel)/stride⌋ + 1. The gradient
/// goes to the first of equal elements. Throws ShapeError or ValueError on sizes that do not fit.
template <class T>
Variable<T> max_pool2d(const Variable<T>& x, const Pool2dOptions& options = {}) {
  auto result = ops::max_pool2d(x.value(), options);
  return make_result<T>(
      std::move(result.value), {x},
      [index = std::move(result.index), shape = x.shape()](const Tensor<T>& g, InputGradients<T>& into) {
        into.add(0, ops::max_pool2d_backward(g, index, shape));
      },
      traced::MaxPool2d{options});
}

/// Mean of every window, sizes as `max_pool2d`. Exact gradient. Throws ShapeError or ValueError on sizes that do not fit.
template <class T>
Variable<T> avg_pool2d(const Variable<T>& x, const Pool2dOptions& options = {}) {
  return make_result<T>(
      ops::avg_pool2d(x.value(), options), {x},
      [options, shape = x.shape()](const Tensor<T>& g, InputGradients<T>& into) {
        into.add(0, ops::avg_pool2d_backward(g, shape, options));
      },
      traced::AvgPool2d{options});
}

/// Mean over height and width. x [N,H,W,C] → [N,C]. Exact gradient. Throws ShapeError on another rank or an empty image.
template <class T>
Variable<T> global_avg_pool2d(const Variable<T>& x) {
  return make_result<T>(
      ops::global_avg_pool2d(x.value()), {x},
      [shape = x.shape()](const Tensor<T>& g, InputGradients<T>& into) {
        into.add(0, ops::global_avg_pool2d_backward(g, shape));
      },
      traced::GlobalAvgPool2d{});
}

}  // namespace v0
}  // namespace spnet
