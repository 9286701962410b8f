// Differentiable batch normalisation, alone and fused with what follows it in a residual network.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "spnet/autograd/variable.hpp"
#include "spnet/ops/batch_norm.hpp"

namespace spnet {
inline namespace v0 {

using ops::BatchNormOptions;

namespace traced {
/// x·scale + shift, plus the residual, then relu where asked; inputs x and, where there is one, the residual.
struct Normalize {
  ops::ChannelAffine<float> affine;
  bool relu;
  bool training;          ///< with the batch's statistics
  Variable<float> gamma;  ///< that the scale was made from
};
}  // namespace traced

namespace detail {

// Passes the gradient of a normalisation on to x, gamma, beta and, where there is one, the residual. Returns that of a
// scale behind it: see ops::OutputClip.
template <class T, class X>
double backward_normalize(const ops::NormalizeContext<T, X>& context, const Tensor<T>& g, InputGradients<T>& into) {
  using ops::NormalizedGradient;
  const NormalizedGradient of_x = !into.needs(0)       ? NormalizedGradient::kNone
                                  : into.takes_bf16(0) ? NormalizedGradient::kBf16
                                                       : NormalizedGradient::kValues;
  const bool needs_target = of_x == NormalizedGradient::kValues || context.mask == kernels::GradientMask::kOutput;
  auto gradients = ops::normalize_backward(g, context, of_x, needs_target ? ops::reuse(g) : Tensor<T>());
  if (of_x == NormalizedGradient::kBf16)
    into.add(0, std::move(gradients.x_bf16));
  else
    into.add(0, std::move(gradients.x));
  into.add(1, std::move(gradients.gamma));
  into.add(2, std::move(gradients.beta));
  if (gradients.residual.defined()) into.add(3, std::move(gradients.residual));
  return gradients.scale;
}

}  // namespace detail

/// A normalisation that is yet to be applied, with a residual and a relu where there are such. What quantizes it may do
/// both in one pass, forward and backward.
class DeferredNormalized final : public Deferred<float> {
 public:
  using Context = std::variant<ops::NormalizeContext<float>, ops::NormalizeContext<float, std::int32_t>>;
  using Nodes = std::vector<NodeRef<float>, PoolAllocator<NodeRef<float>>>;

  /// `inputs` are the nodes of x, gamma, beta and the residual.
  DeferredNormalized(Context context, Nodes inputs, Tensor<float> residual, bool relu)
      : context_(std::move(context)), inputs_(std::move(inputs)), residual_(std::move(residual)), relu_(relu) {}
  const Shape& shape() const override {
    return std::visit([](const auto& c) -> const Shape& { return c.input.x.shape(); }, context_);
  }

  /// The codes of the value, by `form`. The value itself is computed with them where it is part of a residual path,
  /// whose next join will want it. Throws NumericError, naming `quantizer`, where a value is not finite.
  Tensor<std::uint8_t> codes(const char* quantizer, const ops::UniformForm& form) const {
    if (is_computed()) return form.codes(quantizer, value_);
    Tensor<float> y = residual_.defined() ? Tensor<float>(shape()) : Tensor<float>();
    Tensor<std::uint8_t> out(shape());
    const bool finite = std::visit(
        [&](const auto& c) { return ops::normalize_codes(c.input, c.affine, residual_, relu_, form, y, out); },
        context_);
    if (!finite) ops::detail::throw_not_finite(quantizer, value());
    value_ = y;
    return out;
  }

  /// True where a gradient that passes only up to some value may go to the inputs in one pass.
  bool clips() const { return relu_ && !residual_.defined(); }
  const Nodes& inputs() const { return inputs_; }

  /// Passes the gradient on to the inputs, through `clip` if it clips(), and returns that of the clip's scale.
  double backward(const Tensor<float>& g, InputGradients<float>& into, const ops::OutputClip<float>& clip = {}) const {
    return std::visit(
        [&](const auto& c) {
          auto with = c;
          with.clip = clip;
          // This mask reads the output, which the residual path keeps anyway.
          if (with.mask == kernels::GradientMask::kOutput) with.y = value();
          return detail::backward_normalize(with, g, into);
        },
        context_);
  }

 protected:
  Tensor<float> compute() const override {
    return std::visit([&](const auto& c) { return ops::normalize(c.input, c.affine, residual_, relu_); }, context_);
  }

 private:
  Context context_;
  Nodes inputs_;
  Tensor<float> residual_;
  bool relu_;
};

namespace detail {

template <class T>
void check_batch_norm(const char* op, const Variable<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta,
                      const Tensor<T>& running_mean, const Tensor<T>& running_var, const BatchNormOptions& options) {
  check<ShapeError>(x.shape().rank() >= 1 && x.size() > 0, op, ": input ", x.shape(),
                    " given, expected [...,C], not empty");
  const Shape expected{x.dim(-1)};
  const auto check_channels = [&](const char* name, const Tensor<T>& t) {
    check<ShapeError>(t.shape() == expected, op, ": ", name, " ", t.shape(), " given, input ", x.shape(), " expects ",
                      expected);
  };
  check_channels("gamma", gamma);
  check_channels("beta", beta);
  if (running_mean.defined() || !options.training) check_channels("running mean", running_mean);
  if (running_var.defined() || !options.training) check_channels("running variance", running_var);
  check<ValueError>(options.epsilon > 0, op, ": epsilon ", options.epsilon, " given, expected > 0");
  check<ValueError>(options.momentum >= 0 && options.momentum <= 1, op, ": momentum ", options.momentum,
                    " given, expected 0 to 1");
  check<ValueError>(!options.training || x.size() > x.dim(-1), op, ": input ", x.shape(),
                    " has one value for each channel, which has no variance; training expects more");
}

template <class T>
void update_running(Tensor<T>& running, const Tensor<double>& batch, double correction, double momentum) {
  for (std::int64_t c = 0; c < batch.size(); ++c)
    running(c) = static_cast<T>((1 - momentum) * static_cast<double>(running(c)) + momentum * correction * batch(c));
}

// The batch's moments are those of `batch`; `residual` is undefined or added before the relu.
template <class T, class X>
Variable<T> batch_norm_of(const ops::NormalizeInput<T, X>& input, const auto& batch, const Variable<T>& x,
                          const Variable<T>& residual, const Variable<T>& gamma, const Variable<T>& beta,
                          Tensor<T>& running_mean, Tensor<T>& running_var, const BatchNormOptions& options, bool relu) {
  ops::ChannelMoments moments;
  if (options.training) {
    moments = ops::channel_moments(batch);
    const double count = static_cast<double>(x.size() / x.dim(-1));
    if (running_mean.defined()) update_running(running_mean, moments.mean, 1.0, options.momentum);
    if (running_var.defined()) update_running(running_var, moments.variance, count / (count - 1), options.momentum);
  } else {
    moments = {running_mean.template to<double>(), running_var.template to<double>()};
  }
  const auto affine =
      ops::fold_batch_norm(gamma.value(), beta.value(), moments.mean, moments.variance, options.epsilon);
  using kernels::GradientMask;
  const Tensor<T> added = residual.defined() ? residual.value() : Tensor<T>();
  const GradientMask mask = residual.defined() ? GradientMask::kOutput
                            : relu             ? GradientMask::kInput
                                               : GradientMask::kNone;
  ops::NormalizeContext<T, X> context{.input = input,
                                      .y = {},
                                      .affine = affine,
                                      .mean = moments.mean,
                                      .variance = moments.variance,
                                      .epsilon = options.epsilon,
                                      .mask = mask,
                                      .training = options.training};
  std::vector<NodeRef<T>, PoolAllocator<NodeRef<T>>> nodes{x.node(), gamma.node(), beta.node()};
  if (residual.defined()) nodes.push_back(residual.node());
  if constexpr (std::is_same_v<T, float>) {
    const auto y = make_deferred<DeferredNormalized>(std::move(context), nodes, added, relu);
    const Variable<float> output =
        make_result_of_nodes<float>(std::shared_ptr<const Deferred<float>>(y), std::move(nodes),
                                    [y](const Tensor<float>& g, InputGradients<float>& into) { y->backward(g, into); });
    const std::array inputs{x, residual};
    tell_listener(traced::Normalize{affine, relu, options.training, gamma},
                  std::span<const Variable<float>>(inputs).first(residual.defined() ? 2 : 1), output);
    return output;
  } else {
    const Tensor<T> y = ops::normalize(input, affine, added, relu);
    if (residual.defined()) context.y = y;
    return make_result_of_nodes<T>(y, std::move(nodes),
                                   [context = std::move(context)](const Tensor<T>& g, InputGradients<T>& into) {
                                     backward_normalize(context, g, into);
                                   });
  }
}

template <class T>
Variable<T> batch_norm(const char* op, const Variable<T>& x, const Variable<T>& residual, const Variable<T>& gamma,
                       const Variable<T>& beta, Tensor<T> running_mean, Tensor<T> running_var,
                       const BatchNormOptions& options, bool relu) {
  check_batch_norm(op, x, gamma.value(), beta.value(), running_mean, running_var, options);
  if (residual.defined())
    check<ShapeError>(residual.shape() == x.shape(), op, ": residual ", residual.shape(), " given, input is ",
                      x.shape());
  if constexpr (std::is_same_v<T, float>) {
    if (const auto* sums = x.template deferred_as<DeferredSums>())
      return batch_norm_of(ops::NormalizeSums{sums->sums.sums, sums->sums.scale}, sums->sums, x, residual, gamma, beta,
                           running_mean, running_var, options, relu);
  }
  return batch_norm_of(ops::NormalizeInput<T>{x.value(), {}}, x.value(), x, residual, gamma, beta, running_mean,
                       running_var, options, relu);
}

}  // namespace detail

/// Batch normalisation over the last axis (Ioffe, Szegedy 2015): gamma·(x − mean)/√(variance + epsilon) + beta.
/// x [...,C]; gamma, beta, running_mean, running_var [C]. In training mean and (biased) variance are the batch's and
/// the running ones are updated in place, with the unbiased variance, as in PyTorch (undefined ones are not); else they
/// are the running ones. Gradients are exact (but see ops::float32_matmul_precision). Throws ShapeError, or ValueError
/// on one value for each channel in training.
template <class T>
Variable<T> batch_norm(const Variable<T>& x, const Variable<T>& gamma, const Variable<T>& beta, Tensor<T> running_mean,
                       Tensor<T> running_var, const BatchNormOptions& options = {}) {
  return detail::batch_norm("batch_norm", x, {}, gamma, beta, std::move(running_mean), std::move(running_var), options,
                            false);
}

/// relu(batch_norm(x, ...)) in fewer passes; arguments and errors as batch_norm. Keeps no output for backward.
/// Gradients are exact, 0 at the kink.
template <class T>
Variable<T> batch_norm_relu(const Variable<T>& x, const Variable<T>& gamma, const Variable<T>& beta,
                            Tensor<T> running_mean, Tensor<T> running_var, const BatchNormOptions& options = {}) {
  return detail::batch_norm("batch_norm_relu", x, {}, gamma, beta, std::move(running_mean), std::move(running_var),
                            options, true);
}

/// relu(batch_norm(x, ...) + residual) in fewer passes; arguments and errors as batch_norm, and ShapeError unless
/// residual has the shape of x. Gradients are exact, 0 at the kink.
template <class T>
Variable<T> batch_norm_add_relu(const Variable<T>& x, const Variable<T>& residual, const Variable<T>& gamma,
                                const Variable<T>& beta, Tensor<T> running_mean, Tensor<T> running_var,
                                const BatchNormOptions& options = {}) {
  return detail::batch_norm("batch_norm_add_relu", x, residual, gamma, beta, std::move(running_mean),
                            std::move(running_var), options, true);
}

}  // namespace v0
}  // namespace spnet
