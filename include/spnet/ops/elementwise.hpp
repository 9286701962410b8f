// Element-wise operators on plain tensors, with broadcasting.
#pragma once

#include <cmath>
#include <type_traits>
#include <utility>

#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/kernels/reference_elementwise.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

/// Elements that one chunk of an element-wise loop covers.
inline constexpr std::int64_t kElementwiseChunk = 16384;

/// The hot element-wise kernels for T: those of the active instruction set for float, the reference for double.
template <class T>
const kernels::ElementwiseFunctions<T>& elementwise_kernels() {
  if constexpr (std::is_same_v<T, float>)
    return kernels::active().elementwise;
  else
    return kernels::reference::kElementwise<T>;
}

/// New row-major tensor of f(x), element by element.
template <class T, class F>
Tensor<T> map(const Tensor<T>& x, const F& f) {
  const Tensor<T> dense = x.contiguous();
  Tensor<T> out(x.shape());
  const T* from = dense.data();
  T* to = out.data();
  parallel_ranges(x.size(), kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = f(from[i]);
  });
  return out;
}

namespace detail {

// Two operands stretched to one shape, with axes merged wherever both step evenly across them.
struct BroadcastPlan {
  Shape shape;
  Strides a, b;
};

template <class T>
BroadcastPlan plan_broadcast(const char* op, const Tensor<T>& x, const Tensor<T>& y) {
  const Shape shape = broadcast_shapes(x.shape(), y.shape(), op);
  const Strides a = x.expand(shape).strides(), b = y.expand(shape).strides();
  BroadcastPlan plan;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] == 1) continue;
    const bool merges =
        !plan.shape.empty() && plan.a.back() == a[i] * shape[i] && plan.b.back() == b[i] * shape[i];
    if (merges) {
      plan.shape[-1] *= shape[i];
      plan.a[-1] = a[i];
      plan.b[-1] = b[i];
    } else {
      plan.shape.push_back(shape[i]);
      plan.a.push_back(a[i]);
      plan.b.push_back(b[i]);
    }
  }
  if (plan.shape.empty()) {
    plan.shape.push_back(1);
    plan.a.push_back(0);
    plan.b.push_back(0);
  }
  return plan;
}

template <class T, class F>
void zip_row(const T* a, std::int64_t a_step, const T* b, std::int64_t b_step, T* out, std::int64_t count, const F& f) {
  if (a_step == 1 && b_step == 1) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = f(a[i], b[i]);
  } else {
    for (std::int64_t i = 0; i < count; ++i) out[i] = f(a[i * a_step], b[i * b_step]);
  }
}

}  // namespace detail

/// New row-major tensor of f(a, b), element by element; shapes broadcast. Throws ShapeError, naming `op`, otherwise.
template <class T, class F>
Tensor<T> zip(const char* op, const Tensor<T>& a, const Tensor<T>& b, const F& f) {
  const detail::BroadcastPlan plan = detail::plan_broadcast(op, a, b);
  Tensor<T> out(broadcast_shapes(a.shape(), b.shape(), op));
  if (out.size() == 0) return out;
  const T* pa = a.data();
  const T* pb = b.data();
  T* po = out.data();
  const std::int64_t inner = plan.shape.back(), sa = plan.a.back(), sb = plan.b.back();
  if (plan.shape.rank() == 1) {
    parallel_ranges(inner, kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
      detail::zip_row(pa + begin * sa, sa, pb + begin * sb, sb, po + begin, end - begin, f);
    });
    return out;
  }
  const std::int64_t rows_per_chunk = std::max<std::int64_t>(1, kElementwiseChunk / inner);
  parallel_ranges(out.size() / inner, rows_per_chunk, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      std::int64_t rest = row, offset_a = 0, offset_b = 0;
      for (int axis = plan.shape.rank() - 2; axis >= 0; --axis) {
        const std::int64_t at = rest % plan.shape[axis];
        rest /= plan.shape[axis];
        offset_a += at * plan.a[axis];
        offset_b += at * plan.b[axis];
      }
      detail::zip_row(pa + offset_a, sa, pb + offset_b, sb, po + row * inner, inner, f);
    }
  });
  return out;
}

/// a + b, and likewise below: shapes are broadcast by NumPy's rule. Throws ShapeError where they do not fit.
template <class T>
Tensor<T> add(const Tensor<T>& a, const Tensor<T>& b) {
  return zip("add", a, b, [](T x, T y) { return x + y; });
}
/// a − b.
template <class T>
Tensor<T> sub(const Tensor<T>& a, const Tensor<T>& b) {
  return zip("sub", a, b, [](T x, T y) { return x - y; });
}
/// a·b.
template <class T>
Tensor<T> mul(const Tensor<T>& a, const Tensor<T>& b) {
  return zip("mul", a, b, [](T x, T y) { return x * y; });
}
/// a/b, by the element type's own division.
template <class T>
Tensor<T> div(const Tensor<T>& a, const Tensor<T>& b) {
  return zip("div", a, b, [](T x, T y) { return x / y; });
}
/// factor·x + offset.
template <class T>
Tensor<T> affine(const Tensor<T>& x, std::type_identity_t<T> factor, std::type_identity_t<T> offset = T{0}) {
  return map(x, [=](T v) { return factor * v + offset; });
}
/// eˣ.
template <class T>
Tensor<T> exp(const Tensor<T>& x) {
  return map(x, [](T v) { return std::exp(v); });
}
/// Natural logarithm; −∞ at 0 and NaN below, as std::log.
template <class T>
Tensor<T> log(const Tensor<T>& x) {
  return map(x, [](T v) { return std::log(v); });
}

/// sum += term in place; `sum` must be contiguous. Throws ShapeError unless the shapes are equal.
template <class T>
void add_(Tensor<T>& sum, const Tensor<T>& term) {
  check<ShapeError>(sum.shape() == term.shape(), "add_: ", term.shape(), " given, expected ", sum.shape());
  const Tensor<T> dense = term.contiguous();
  T* to = sum.span().data();
  const T* from = dense.data();
  const auto kernel = elementwise_kernels<T>().add;
  parallel_ranges(sum.size(), kElementwiseChunk,
                  [&](std::int64_t begin, std::int64_t end) { kernel(to + begin, from + begin, end - begin); });
}

/// Where a backward pass may put a result of `gradient`'s shape: over the gradient where nobody else holds it, else new
/// memory. Only for operators whose element i reads no other element of it.
template <class T>
Tensor<T> reuse(const Tensor<T>& gradient) {
  return gradient.unique() && gradient.is_contiguous() ? gradient : Tensor<T>(gradient.shape());
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
