// Differentiable products: convolution and the fully connected layer. All gradients are exact.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

#include "spnet/autograd/arithmetic.hpp"
#include "spnet/autograd/variable.hpp"
#include "spnet/ops/conv2d.hpp"
#include "spnet/ops/conv2d_codes.hpp"
#include "spnet/ops/matmul.hpp"
#include "spnet/ops/reduce.hpp"

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

// The gradients of a convolution.
template <class T>
struct Conv2dGradients {
  Tensor<T> x, w;
  Conv2dOptions options;

  bool takes_bf16() const requires std::is_same_v<T, float> {
    return ops::conv2d_reads_bf16_gradient(x.shape(), w.shape(), options);
  }
  template <class Gradient>
  void operator()(const Tensor<Gradient>& g, InputGradients<T>& into) const {
    if (into.needs(0)) into.add(0, ops::conv2d_backward_data(g, w, x.shape(), options));
    if (into.needs(1)) into.add(1, ops::conv2d_backward_weight(g, x, w.shape(), options));
  }
};

// Those of one of codes. The weights are codes, too, or floats.
struct CodesConv2dGradients {
  Quantized x;
  Variable<float> w;
  Conv2dOptions options;

  bool takes_bf16() const {
    const Quantized* codes = w_codes();
    return codes ? ops::conv2d_reads_bf16_gradient(x.codes.shape(), *codes, options)
                 : ops::conv2d_reads_bf16_gradient(x.codes.shape(), w.shape(), options);
  }
  template <class Gradient>
  void operator()(const Tensor<Gradient>& g, InputGradients<float>& into) const {
    if (into.needs(0)) {
      const Quantized* codes = w_codes();
      into.add(0, codes ? ops::conv2d_backward_data(g, *codes, x.codes.shape(), options)
                        : ops::conv2d_backward_data(g, w.value(), x.codes.shape(), options));
    }
    if (into.needs(1)) into.add(1, ops::conv2d_backward_weight(g, x, w.shape(), options));
  }

 private:
  // Where it is faster to multiply them.
  const Quantized* w_codes() const {
    if (ops::float32_matmul_precision() == ops::Float32Precision::kHighest) return nullptr;
    const auto* codes = w.deferred_as<DeferredCodes>();
    return codes ? &codes->quantized : nullptr;
  }
};

inline Variable<float> conv2d_codes(const Quantized& x_codes, const Variable<float>& x, const Variable<float>& w,
                                    const Conv2dOptions& options) {
  const CodesConv2dGradients backward{x_codes, w.detach(), options};
  const auto* w_codes = w.deferred_as<DeferredCodes>();
  if (w_codes && ops::has_integer_form(x_codes, w_codes->quantized)) {
    // Where gradients are recorded, what reads the sums next is a norm in training, as a rule.
    std::shared_ptr<const Deferred<float>> sums =
        make_deferred<DeferredSums>(ops::conv2d_sums(x_codes, w_codes->quantized, options, spnet::grad_enabled()));
    return make_result<float>(std::move(sums), {x, w}, backward, traced::Conv2d{options});
  }
  return make_result<float>(ops::conv2d(x_codes, w.value(), options), {x, w}, backward, traced::Conv2d{options});
}

}  // namespace detail

/// Cross-correlation of x [N,H,W,C] with w [O,kH,kW,C/groups] → [N,H',W',O],
/// H' = ⌊(H + 2·padding − dilation·(kH − 1) − 1)/stride⌋ + 1. Throws ShapeError or ValueError on sizes that do not fit.
/// Where both are codes the sums are exact integers; where x alone is, it is read as codes.
template <class T>
Variable<T> conv2d(const Variable<T>& x, const Variable<T>& w, const Conv2dOptions& options = {}) {
  if constexpr (std::is_same_v<T, float>) {
    if (const auto* codes = x.template deferred_as<DeferredCodes>())
      return detail::conv2d_codes(codes->quantized, x, w, options);
  }
  return make_result<T>(ops::conv2d(x.value(), w.value(), options), {x, w},
                        detail::Conv2dGradients<T>{x.value(), w.value(), options}, traced::Conv2d{options});
}

/// conv2d(x, w, options) + bias, bias [O]. Throws ShapeError on another bias.
template <class T, std::same_as<Variable<T>> Bias>
Variable<T> conv2d(const Variable<T>& x, const Variable<T>& w, const Bias& bias, const Conv2dOptions& options = {}) {
  check<ShapeError>(w.shape().rank() == 4 && bias.shape() == Shape{w.dim(0)}, "conv2d: bias ", bias.shape(),
                    " given, weight ", w.shape(), " expects one for each output channel");
  return conv2d(x, w, options) + bias;
}

/// x·wᵀ; x [N,in], w [out,in] → [N,out]. Throws ShapeError on sizes that do not fit.
template <class T>
Variable<T> linear(const Variable<T>& x, const Variable<T>& w) {
  check<ShapeError>(x.shape().rank() == 2 && w.shape().rank() == 2 && x.dim(1) == w.dim(1), "linear: input ", x.shape(),
                    " given, weight ", w.shape(), " [out,in] expects [N,in]");
  return make_result<T>(
      ops::matmul(x.value(), w.value(), false, true), {x, w},
      [x = x.value(), w = w.value()](const Tensor<T>& g, InputGradients<T>& into) {
        if (into.needs(0)) into.add(0, ops::matmul(g, w, false, false));
        if (into.needs(1)) into.add(1, ops::matmul(g, x, true, false));
      },
      traced::Linear{});
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
