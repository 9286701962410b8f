// Differentiable batch normalisation, alone and fused with what follows it in a residual network.
#pragma once

#include <utility>

#include "spnet/autograd/variable.hpp"
#include "spnet/ops/batch_norm.hpp"

namespace spnet {
inline namespace v0 {

using ops::BatchNormOptions;

namespace detail {

template <class T>
void check_batch_norm(const char* op, const Variable<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta,
                      const Tensor<T>& running_mean, const Tensor<T>& running_var, const BatchNormOptions& options) {
  check<ShapeError>(x.shape().rank() >= 1 && x.size() > 0, op, ": input ", x.shape(), " given, expected [...,C], not empty");
  const Shape expected{x.dim(-1)};
  const auto check_channels = [&](const char* name, const Tensor<T>& t) {
    check<ShapeError>(t.shape() == expected, op, ": ", name, " ", t.shape(), " given, input ", x.shape(), " expects ", expected);
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

// `residual` is undefined or added before the relu.
template <class T>
Variable<T> batch_norm(const char* op, const Variable<T>& x, const Variable<T>& residual, const Variable<T>& gamma,
                       const Variable<T>& beta, Tensor<T> running_mean, Tensor<T> running_var,
                       const BatchNormOptions& options, bool relu) {
  check_batch_norm(op, x, gamma.value(), beta.value(), running_mean, running_var, options);
  ops::ChannelMoments moments;
  if (options.training) {
    moments = ops::channel_moments(x.value());
    const double count = static_cast<double>(x.size() / x.dim(-1));
    if (running_mean.defined()) update_running(running_mean, moments.mean, 1.0, options.momentum);
    if (running_var.defined()) update_running(running_var, moments.variance, count / (count - 1), options.momentum);
  } else {
    moments = {running_mean.template to<double>(), running_var.template to<double>()};
  }
  const auto affine =
      ops::fold_batch_norm(gamma.value(), beta.value(), moments.mean, moments.variance, options.epsilon);
  using kernels::GradientMask;
  if (!residual.defined()) {
    const GradientMask mask = relu ? GradientMask::kInput : GradientMask::kNone;
    return make_result<T>(ops::normalize(x.value(), affine, {}, relu), {x, gamma, beta},
                          [context = ops::NormalizeContext<T>{x.value(), {}, affine, moments.mean, moments.variance,
                                                              options.epsilon, mask, options.training}](
                              const Tensor<T>& g, InputGradients<T>& into) {
                            auto gradients = ops::normalize_backward(g, context, into.needs(0), ops::reuse(g));
                            into.add(0, std::move(gradients.x));
                            into.add(1, std::move(gradients.gamma));
                            into.add(2, std::move(gradients.beta));
                          });
  }
  check<ShapeError>(residual.shape() == x.shape(), op, ": residual ", residual.shape(), " given, input is ", x.shape());
  const Tensor<T> y = ops::normalize(x.value(), affine, residual.value(), relu);
  return make_result<T>(y, {x, gamma, beta, residual},
                        [context = ops::NormalizeContext<T>{x.value(), y, affine, moments.mean, moments.variance,
                                                            options.epsilon, GradientMask::kOutput, options.training}](
                            const Tensor<T>& g, InputGradients<T>& into) {
                          auto gradients = ops::normalize_backward(g, context, into.needs(0), ops::reuse(g));
                          into.add(0, std::move(gradients.x));
                          into.add(1, std::move(gradients.gamma));
                          into.add(2, std::move(gradients.beta));
                          into.add(3, std::move(gradients.residual));
                        });
}

}  // namespace detail

/// Batch normalisation over the last axis (Ioffe, Szegedy 2015): gamma·(x − mean)/√(variance + epsilon) + beta.
/// x [...,C]; gamma, beta, running_mean, running_var [C]. In training mean and (biased) variance are the batch's and the
/// running ones are updated in place, with the unbiased variance, as in PyTorch (undefined ones are not); else they are
/// the running ones. Gradients are exact. Throws ShapeError, or ValueError on one value for each channel in training.
template <class T>
Variable<T> batch_norm(const Variable<T>& x, const Variable<T>& gamma, const Variable<T>& beta, Tensor<T> running_mean,
                       Tensor<T> running_var, const BatchNormOptions& options = {}) {
  return detail::batch_norm("batch_norm", x, {}, gamma, beta, std::move(running_mean), std::move(running_var), options, false);
}

/// relu(batch_norm(x, ...)) in fewer passes; keeps no output for backward. Gradients are exact, 0 at the kink.
template <class T>
Variable<T> batch_norm_relu(const Variable<T>& x, const Variable<T>& gamma, const Variable<T>& beta,
                            Tensor<T> running_mean, Tensor<T> running_var, const BatchNormOptions& options = {}) {
  return detail::batch_norm("batch_norm_relu", x, {}, gamma, beta, std::move(running_mean), std::move(running_var), options,
                            true);
}

/// relu(batch_norm(x, ...) + residual) in fewer passes; residual has the shape of x. Gradients are exact, 0 at the kink.
template <class T>
Variable<T> batch_norm_add_relu(const Variable<T>& x, const Variable<T>& residual, const Variable<T>& gamma,
                                const Variable<T>& beta, Tensor<T> running_mean, Tensor<T> running_var,
                                const BatchNormOptions& options = {}) {
  return detail::batch_norm("batch_norm_add_relu", x, residual, gamma, beta, std::move(running_mean),
                            std::move(running_var), options, true);
}

}  // namespace v0
}  // namespace spnet
