// Differentiable arithmetic: element-wise with broadcasting, sums and means, and moving elements around.
// All gradients are exact.
#pragma once

#include <initializer_list>
#include <type_traits>
#include <vector>

#include "spnet/autograd/variable.hpp"
#include "spnet/ops/elementwise.hpp"
#include "spnet/ops/reduce.hpp"

namespace spnet {
inline namespace v0 {

namespace traced {
struct Add {};
struct Sub {};
struct Mul {};
struct Div {};
/// factor·x + offset.
struct Affine {
  float factor, offset;
};
struct Reshape {
  Shape shape;
};
/// `length` entries from `begin` along `axis`.
struct Narrow {
  int axis;
  std::int64_t begin, length;
};
struct Concat {
  int axis;
};
}  // namespace traced

/// a + b; shapes broadcast. Throws ShapeError where they do not.
template <class T>
Variable<T> add(const Variable<T>& a, const Variable<T>& b) {
  return make_result<T>(
      ops::add(a.value(), b.value()), {a, b},
      [sa = a.shape(), sb = b.shape()](const Tensor<T>& g, InputGradients<T>& into) {
        if (into.needs(0)) into.add(0, ops::sum_to(g, sa));
        if (into.needs(1)) into.add(1, ops::sum_to(g, sb));
      },
      traced::Add{});
}

/// a − b; shapes broadcast. Throws ShapeError where they do not.
template <class T>
Variable<T> sub(const Variable<T>& a, const Variable<T>& b) {
  return make_result<T>(
      ops::sub(a.value(), b.value()), {a, b},
      [sa = a.shape(), sb = b.shape()](const Tensor<T>& g, InputGradients<T>& into) {
        if (into.needs(0)) into.add(0, ops::sum_to(g, sa));
        if (into.needs(1)) into.add(1, ops::affine(ops::sum_to(g, sb), T{-1}));
      },
      traced::Sub{});
}

/// a·b, element by element; shapes broadcast. Throws ShapeError where they do not.
template <class T>
Variable<T> mul(const Variable<T>& a, const Variable<T>& b) {
  return make_result<T>(
      ops::mul(a.value(), b.value()), {a, b},
      [x = a.value(), y = b.value()](const Tensor<T>& g, InputGradients<T>& into) {
        if (into.needs(0)) into.add(0, ops::sum_to(ops::mul(g, y), x.shape()));
        if (into.needs(1)) into.add(1, ops::sum_to(ops::mul(g, x), y.shape()));
      },
      traced::Mul{});
}

/// a/b, element by element; shapes broadcast. Throws ShapeError where they do not.
template <class T>
Variable<T> div(const Variable<T>& a, const Variable<T>& b) {
  return make_result<T>(
      ops::div(a.value(), b.value()), {a, b},
      [x = a.value(), y = b.value()](const Tensor<T>& g, InputGradients<T>& into) {
        const Tensor<T> scaled = ops::div(g, y);
        if (into.needs(0)) into.add(0, ops::sum_to(scaled, x.shape()));
        if (into.needs(1)) {
          const Tensor<T> quotient = ops::div(x, y);
          into.add(1, ops::sum_to(ops::zip("div", scaled, quotient, [](T s, T q) { return -s * q; }), y.shape()));
        }
      },
      traced::Div{});
}

/// factor·x + offset; the shape of x, exact gradient.
template <class T>
Variable<T> affine(const Variable<T>& x, std::type_identity_t<T> factor, std::type_identity_t<T> offset = T{0}) {
  return make_result<T>(
      ops::affine(x.value(), factor, offset), {x},
      [factor](const Tensor<T>& g, InputGradients<T>& into) { into.add(0, ops::affine(g, factor)); },
      traced::Affine{static_cast<float>(factor), static_cast<float>(offset)});
}

/// factor·x.
template <class T>
Variable<T> scale(const Variable<T>& x, std::type_identity_t<T> factor) {
  return affine(x, factor);
}

/// −x.
template <class T>
Variable<T> neg(const Variable<T>& x) {
  return affine(x, T{-1});
}

/// eˣ.
template <class T>
Variable<T> exp(const Variable<T>& x) {
  Tensor<T> y = ops::exp(x.value());
  return make_result<T>(y, {x}, [y](const Tensor<T>& g, InputGradients<T>& into) { into.add(0, ops::mul(g, y)); });
}

/// Natural logarithm; −∞ at 0 and NaN below, as std::log.
template <class T>
Variable<T> log(const Variable<T>& x) {
  return make_result<T>(ops::log(x.value()), {x}, [v = x.value()](const Tensor<T>& g, InputGradients<T>& into) {
    into.add(0, ops::div(g, v));
  });
}

/// Sum over `axes` (negative counts from the end), which go away, or stay with size 1 where `keep_axes`.
/// Throws ShapeError on an axis outside the rank or named twice.
template <class T>
Variable<T> sum(const Variable<T>& x, const Dims& axes, bool keep_axes = false) {
  Shape kept = x.shape();
  Tensor<T> value = ops::sum(x.value(), axes, keep_axes);
  for (std::int64_t axis : axes) kept[static_cast<int>(axis)] = 1;
  return make_result<T>(std::move(value), {x},
                        [kept, shape = x.shape()](const Tensor<T>& g, InputGradients<T>& into) {
                          into.add(0, g.reshape(kept).expand(shape));
                        });
}

/// Sum of all elements, of shape [].
template <class T>
Variable<T> sum(const Variable<T>& x) {
  return make_result<T>(ops::sum(x.value()), {x}, [shape = x.shape()](const Tensor<T>& g, InputGradients<T>& into) {
    into.add(0, g.expand(shape));
  });
}

/// Mean over `axes`, as `sum`. Throws ShapeError also where there is nothing to average.
template <class T>
Variable<T> mean(const Variable<T>& x, const Dims& axes, bool keep_axes = false) {
  const Variable<T> total = sum(x, axes, keep_axes);
  check<ShapeError>(x.size() > 0, "mean: shape ", x.shape(), " has no elements");
  return scale(total, static_cast<T>(static_cast<double>(total.size()) / static_cast<double>(x.size())));
}

/// Mean of all elements, of shape []. Throws ShapeError where there are none.
template <class T>
Variable<T> mean(const Variable<T>& x) {
  check<ShapeError>(x.size() > 0, "mean: shape ", x.shape(), " has no elements");
  return scale(sum(x), static_cast<T>(1.0 / static_cast<double>(x.size())));
}

/// Same elements under another shape, one size of which may be −1 (inferred). Throws ShapeError where they do not fit.
template <class T>
Variable<T> reshape(const Variable<T>& x, const Shape& shape) {
  return make_result<T>(
      x.value().reshape(shape), {x},
      [from = x.shape()](const Tensor<T>& g, InputGradients<T>& into) { into.add(0, g.reshape(from)); },
      traced::Reshape{shape});
}

/// View with axes in the order `axes`. Throws ShapeError unless each is named once.
template <class T>
Variable<T> permute(const Variable<T>& x, std::initializer_list<int> axes) {
  Tensor<T> value = x.value().permute(axes);
  std::array<int, kMaxRank> inverse{};
  int to = 0;
  for (int axis : axes) inverse[static_cast<std::size_t>(x.shape().index(axis))] = to++;
  return make_result<T>(std::move(value), {x}, [inverse](const Tensor<T>& g, InputGradients<T>& into) {
    into.add(0, g.permute(std::span<const int>(inverse.data(), static_cast<std::size_t>(g.rank()))));
  });
}

/// View of `length` entries from `begin` along `axis`. Throws ShapeError outside the tensor.
template <class T>
Variable<T> narrow(const Variable<T>& x, int axis, std::int64_t begin, std::int64_t length) {
  return make_result<T>(
      x.value().narrow(axis, begin, length), {x},
      [=, shape = x.shape()](const Tensor<T>& g, InputGradients<T>& into) {
        Tensor<T> dx = Tensor<T>::zeros(shape);
        dx.narrow(axis, begin, length).copy_from(g);
        into.add(0, dx);
      },
      traced::Narrow{axis, begin, length});
}

/// The tensors one after another along `axis`; their other sizes agree. Throws ShapeError where they do not, or where
/// there is none.
template <class T>
Variable<T> concat(std::span<const Variable<T>> parts, int axis) {
  check<ShapeError>(!parts.empty(), "concat: no tensor given");
  Shape shape = parts.front().shape();
  shape[axis] = 0;
  std::vector<std::int64_t, PoolAllocator<std::int64_t>> lengths;
  lengths.reserve(parts.size());
  for (const auto& part : parts) {
    Shape fits = part.shape();
    check<ShapeError>(fits.rank() == shape.rank(), "concat: shapes ", parts.front().shape(), " and ", part.shape(),
                      " differ in rank");
    lengths.push_back(fits[axis]);
    fits[axis] = shape[axis];
    check<ShapeError>(fits == shape, "concat: shapes ", parts.front().shape(), " and ", part.shape(),
                      " differ on another axis than ", axis);
    shape[axis] += lengths.back();
  }
  Tensor<T> value(shape);
  std::int64_t at = 0;
  for (const auto& part : parts) {
    value.narrow(axis, at, part.dim(axis)).copy_from(part.value());
    at += part.dim(axis);
  }
  return make_result<T>(
      std::move(value), parts,
      [axis, lengths = std::move(lengths)](const Tensor<T>& g, InputGradients<T>& into) {
        std::int64_t begin = 0;
        for (std::size_t i = 0; i < lengths.size(); begin += lengths[i++])
          into.add(i, g.narrow(axis, begin, lengths[i]));
      },
      traced::Concat{axis});
}
template <class T>
Variable<T> concat(std::initializer_list<Variable<T>> parts, int axis) {
  return concat(std::span<const Variable<T>>(parts.begin(), parts.size()), axis);
}

/// The operators are the functions above: broadcast by NumPy's rule, exact gradients, ShapeError where shapes do not fit.
template <class T>
Variable<T> operator+(const Variable<T>& a, const std::type_identity_t<Variable<T>>& b) {
  return add(a, b);
}
template <class T>
Variable<T> operator-(const Variable<T>& a, const std::type_identity_t<Variable<T>>& b) {
  return sub(a, b);
}
template <class T>
Variable<T> operator*(const Variable<T>& a, const std::type_identity_t<Variable<T>>& b) {
  return mul(a, b);
}
template <class T>
Variable<T> operator/(const Variable<T>& a, const std::type_identity_t<Variable<T>>& b) {
  return div(a, b);
}
template <class T>
Variable<T> operator+(const Variable<T>& a, std::type_identity_t<T> b) {
  return affine(a, T{1}, b);
}
template <class T>
Variable<T> operator-(const Variable<T>& a, std::type_identity_t<T> b) {
  return affine(a, T{1}, -b);
}
template <class T>
Variable<T> operator*(const Variable<T>& a, std::type_identity_t<T> b) {
  return affine(a, b);
}
template <class T>
Variable<T> operator*(std::type_identity_t<T> a, const Variable<T>& b) {
  return affine(b, a);
}
template <class T>
Variable<T> operator/(const Variable<T>& a, std::type_identity_t<T> b) {
  return affine(a, T{1} / b);
}
template <class T>
Variable<T> operator-(const Variable<T>& a) {
  return neg(a);
}

}  // namespace v0
}  // namespace spnet
