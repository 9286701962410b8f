// Differentiable products: convolution and the fully connected layer. All gradients are exact.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>
#include <variant>

#include "spnet/autograd/arithmetic.hpp"
#include "spnet/autograd/variable.hpp"
#include "spnet/ops/conv2d.hpp"
#include "spnet/ops/conv2d_codes.hpp"
#include "spnet/ops/linear.hpp"

namespace spnet {
inline namespace v0 {

using ops::Conv2dOptions;

namespace traced {
/// Inputs x and w.
struct Conv2d {
  Conv2dOptions options;
};
/// x·wᵀ; inputs x and w.
struct Linear {};
}  // namespace traced

namespace detail {

// What is multiplied: a tensor, or the codes that stand for it.
template <class T>
using Factor = std::conditional_t<std::is_same_v<T, float>, std::variant<Tensor<T>, Quantized>, std::variant<Tensor<T>>>;

template <class T>
Factor<T> factor_of(const Variable<T>& v) {
  if constexpr (std::is_same_v<T, float>)
    if (const auto* codes = v.template deferred_as<DeferredCodes>()) return codes->quantized;
  return v.value();
}
template <class T>
const Shape& shape_of(const Tensor<T>& x) {
  return x.shape();
}
inline const Shape& shape_of(const Quantized& x) { return x.codes.shape(); }

// The gradients of a convolution, or of a fully connected layer, which is one of images of one pixel.
template <class T>
struct Conv2dGradients {
  Factor<T> x, w;
  Conv2dOptions options;

  bool takes_bf16() const requires std::is_same_v<T, float> {
    const Shape images = std::visit([](const auto& f) { return ops::as_images(shape_of(f)); }, x);
    if (const auto* codes = std::get_if<Quantized>(&w))
      return ops::conv2d_reads_bf16_gradient(images, ops::as_images(*codes), options);
    return ops::conv2d_reads_bf16_gradient(images, ops::as_images(std::get<Tensor<T>>(w).shape()), options);
  }
  template <class Gradient>
  void operator()(const Tensor<Gradient>& gradient, InputGradients<T>& into) const {
    const Tensor<Gradient> g = ops::as_images(gradient);
    const Shape& x_shape = std::visit([](const auto& f) -> const Shape& { return shape_of(f); }, x);
    const Shape& w_shape = std::visit([](const auto& f) -> const Shape& { return shape_of(f); }, w);
    if (into.needs(0)) {
      const auto gradient_of = [&](const auto& f) {
        return ops::conv2d_backward_data(g, ops::as_images(f), ops::as_images(x_shape), options);
      };
      into.add(0, ops::reshaped(std::visit(gradient_of, w), x_shape));
    }
    if (into.needs(1)) {
      const auto gradient_of = [&](const auto& f) {
        return ops::conv2d_backward_weight(g, ops::as_images(f), ops::as_images(w_shape), options);
      };
      into.add(1, ops::reshaped(std::visit(gradient_of, x), w_shape));
    }
  }
};

// The product of x and w, images and kernels or matrices both, as `y`.
template <class T, class What>
Variable<T> multiply(const Variable<T>& x, const Variable<T>& w, const Shape& y, const Conv2dOptions& options,
                     const What& what) {
  const Conv2dGradients<T> backward{factor_of(x), factor_of(w), options};
  if constexpr (std::is_same_v<T, float>) {
    const auto *x_codes = std::get_if<Quantized>(&backward.x), *w_codes = std::get_if<Quantized>(&backward.w);
    if (x_codes && w_codes) {
      const Quantized images = ops::as_images(*x_codes), kernels = ops::as_images(*w_codes);
      if (ops::has_integer_form(images, kernels)) {
        // Where gradients are recorded, what reads the sums next is a norm in training, as a rule.
        std::shared_ptr<const Deferred<float>> sums = make_deferred<DeferredSums>(
            ops::reshaped(ops::conv2d_sums(images, kernels, options, spnet::grad_enabled()), y));
        return make_result<float>(std::move(sums), {x, w}, backward, what);
      }
    }
  }
  const auto product = [&](const auto& a, const auto& b) {
    return ops::conv2d(ops::as_images(a), ops::as_images(b), options);
  };
  return make_result<T>(ops::reshaped(std::visit(product, backward.x, backward.w), y), {x, w}, backward, what);
}

}  // namespace detail

/// Cross-correlation of x [N,H,W,C] with w [O,kH,kW,C/groups] → [N,H',W',O],
/// H' = ⌊(H + 2·padding − dilation·(kH − 1) − 1)/stride⌋ + 1. Throws ShapeError or ValueError on sizes that do not fit.
/// Where both are codes the sums are exact integers; where one is, it is read as codes.
template <class T>
Variable<T> conv2d(const Variable<T>& x, const Variable<T>& w, const Conv2dOptions& options = {}) {
  const auto sizes = ops::detail::conv_sizes("conv2d", x.shape(), w.shape(), options);
  return detail::multiply(x, w, ops::detail::output_shape(sizes), options, traced::Conv2d{options});
}

/// conv2d(x, w, options) + bias, bias [O]. Throws ShapeError on another bias.
template <class T, std::same_as<Variable<T>> Bias>
Variable<T> conv2d(const Variable<T>& x, const Variable<T>& w, const Bias& bias, const Conv2dOptions& options = {}) {
  check<ShapeError>(w.shape().rank() == 4 && bias.shape() == Shape{w.dim(0)}, "conv2d: bias ", bias.shape(),
                    " given, weight ", w.shape(), " expects one for each output channel");
  return conv2d(x, w, options) + bias;
}

/// x·wᵀ; x [N,in], w [out,in] → [N,out]. Codes are multiplied as those of conv2d. Throws ShapeError on sizes that do not
/// fit.
template <class T>
Variable<T> linear(const Variable<T>& x, const Variable<T>& w) {
  check<ShapeError>(x.shape().rank() == 2 && w.shape().rank() == 2 && x.dim(1) == w.dim(1), "linear: input ", x.shape(),
                    " given, weight ", w.shape(), " [out,in] expects [N,in]");
  return detail::multiply(x, w, {x.dim(0), w.dim(0)}, {}, traced::Linear{});
}

/// x·wᵀ + bias; bias [out]. Throws ShapeError on sizes that do not fit.
template <class T>
Variable<T> linear(const Variable<T>& x, const Variable<T>& w, const Variable<T>& bias) {
  check<ShapeError>(w.shape().rank() == 2 && bias.shape() == Shape{w.dim(0)}, "linear: bias ", bias.shape(),
                    " given, weight ", w.shape(), " [out,in] expects one for each output");
  return linear(x, w) + bias;
}

}  // namespace v0
}  // namespace spnet
