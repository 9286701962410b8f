// Batch normalisation over the last axis, forward and adjoint, on plain tensors.
#pragma once

#include <cmath>
#include <utility>

#include "spnet/ops/elementwise.hpp"

namespace spnet {
inline namespace v0 {

namespace ops {

struct BatchNormOptions {
  double momentum = 0.1;   ///< weight of the batch in the running statistics, in [0, 1]
  double epsilon = 1e-5;   ///< added to the variance, > 0
  bool training = true;    ///< use the batch's statistics and update the running ones; else use the running ones
};

/// Mean and (biased) variance of every channel, in double whatever the elements are: [C] each.
struct ChannelMoments {
  Tensor<double> mean, variance;
};

/// A map x·scale[c] + shift[c], [C] each.
template <class T>
struct ChannelAffine {
  Tensor<T> scale, shift;
};

namespace detail {
// Rows of [.., channels] that one chunk covers; a function of the shape alone, so that sums do not depend on threads.
inline std::int64_t rows_per_chunk(std::int64_t channels) { return std::max<std::int64_t>(16, 32768 / channels); }
}  // namespace detail

/// Moments of the channels of x [...,C]. Accurate also where the mean is large against the deviation: every chunk is
/// centred by its own mean, and chunks are merged in order (Chan, Golub, LeVeque 1983).
template <class T>
ChannelMoments channel_moments(const Tensor<T>& x) {
  const Tensor<T> dense = x.contiguous();
  const std::int64_t channels = x.dim(-1), rows = x.size() / channels, step = detail::rows_per_chunk(channels);
  const std::int64_t chunks = chunk_count(rows, step);
  Tensor<double> partial({chunks, 2, channels});
  const T* data = dense.data();
  double* moments = partial.data();
  const auto kernel = elementwise_kernels<T>().moments;
  parallel_ranges(rows, step, [&](std::int64_t begin, std::int64_t end) {
    double* into = moments + begin / step * 2 * channels;
    kernel({data + begin * channels, end - begin, channels, into, into + channels});
  });
  ChannelMoments out{Tensor<double>({channels}), Tensor<double>({channels})};
  double* mean = out.mean.data();
  double* squares = out.variance.data();
  std::copy_n(moments, channels, mean);
  std::copy_n(moments + channels, channels, squares);
  for (std::int64_t chunk = 1; chunk < chunks; ++chunk) {
    const double before = static_cast<double>(chunk * step);
    const double more = static_cast<double>(std::min(rows, (chunk + 1) * step)) - before;
    const double share = more / (before + more);
    const double* m = moments + chunk * 2 * channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      const double delta = m[c] - mean[c];
      mean[c] += delta * share;
      squares[c] += m[channels + c] + delta * delta * before * share;
    }
  }
  for (std::int64_t c = 0; c < channels; ++c) squares[c] /= static_cast<double>(rows);
  return out;
}

/// Batch norm with known statistics as one affine map: scale = gamma/√(variance + epsilon), shift = beta − mean·scale.
/// Training, evaluation and packed networks all fold here, so that they agree to the bit.
template <class T, class U>
ChannelAffine<T> fold_batch_norm(const Tensor<T>& gamma, const Tensor<T>& beta, const Tensor<U>& mean,
                                 const Tensor<U>& variance, double epsilon) {
  const std::int64_t channels = gamma.size();
  ChannelAffine<T> out{Tensor<T>({channels}), Tensor<T>({channels})};
  const Tensor<T> g = gamma.contiguous(), b = beta.contiguous();
  for (std::int64_t c = 0; c < channels; ++c) {
    const double deviation = std::sqrt(static_cast<double>(variance(c)) + epsilon);
    const T scale = static_cast<T>(static_cast<double>(g(c)) / deviation);
    // fma, so that no compiler rounds this differently from another.
    out.scale(c) = scale;
    out.shift(c) = static_cast<T>(std::fma(-static_cast<double>(mean(c)), static_cast<double>(scale), static_cast<double>(b(c))));
  }
  return out;
}

/// x·scale + shift, plus `residual` where it is defined, then relu where asked: one pass over x [...,C].
template <class T>
Tensor<T> normalize(const Tensor<T>& x, const ChannelAffine<T>& affine, const Tensor<T>& residual = {}, bool relu = false) {
  const Tensor<T> dense = x.contiguous();
  const Tensor<T> added = residual.defined() ? residual.contiguous() : residual;
  const std::int64_t channels = x.dim(-1);
  Tensor<T> y(x.shape());
  const T* from = dense.data();
  const T* add = added.data();
  const T* scale = affine.scale.data();
  const T* shift = affine.shift.data();
  T* to = y.data();
  const auto kernel = elementwise_kernels<T>().normalize;
  parallel_ranges(x.size() / channels, detail::rows_per_chunk(channels), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t at = begin * channels;
    kernel({from + at, add ? add + at : nullptr, scale, shift, relu, to + at, end - begin, channels});
  });
  return y;
}

/// What the backward pass of a normalisation needs to know. `y` only for kernels::GradientMask::kOutput.
template <class T>
struct NormalizeContext {
  Tensor<T> x, y;
  ChannelAffine<T> affine;
  Tensor<double> mean, variance;  ///< those that `affine` was folded from
  double epsilon;
  kernels::GradientMask mask;
  bool training;  ///< whether mean and variance depend on x
};

/// Gradients of a normalisation; undefined where not asked for.
template <class T>
struct NormalizeGradients {
  Tensor<T> x, gamma, beta;
  Tensor<T> residual;  ///< the gradient behind the mask, for kOutput only
};

/// The adjoint of batch norm (+ add) (+ relu), exact, with batch statistics or constant ones. Two passes over the data.
/// `target`, which may be `gradient`, is overwritten where one is given.
template <class T>
NormalizeGradients<T> normalize_backward(const Tensor<T>& gradient, const NormalizeContext<T>& context, bool needs_x,
                                         Tensor<T> target = {}) {
  using kernels::GradientMask;
  const Tensor<T> x = context.x.contiguous(), y = context.y.defined() ? context.y.contiguous() : context.y;
  const std::int64_t channels = x.dim(-1), rows = x.size() / channels, step = detail::rows_per_chunk(channels);
  const std::int64_t chunks = chunk_count(rows, step);
  if (!target.defined()) target = Tensor<T>(x.shape());
  const Tensor<T> dense = gradient.contiguous();
  const Tensor<T> centre = context.mean.template to<T>();
  Tensor<double> partial({chunks, 2, channels});
  const bool writes = context.mask == GradientMask::kOutput;

  kernels::NormalizeSumsArgs<T> whole{};
  whole.gradient = dense.data();
  whole.x = x.data();
  whole.y = y.data();
  whole.masked = target.data();
  whole.mean = centre.data();
  whole.scale = context.affine.scale.data();
  whole.shift = context.affine.shift.data();
  whole.mask = context.mask;
  whole.channels = channels;
  whole.sums = partial.data();
  const auto sum_kernel = elementwise_kernels<T>().normalize_sums;
  parallel_ranges(rows, step, [&](std::int64_t begin, std::int64_t end) {
    auto part = whole;
    const std::int64_t at = begin * channels;
    part.gradient += at;
    part.x += at;
    if (writes) {
      part.y += at;
      part.masked += at;
    }
    part.rows = end - begin;
    part.sums += begin / step * 2 * channels;
    sum_kernel(part);
  });
  double* sums = partial.data();
  for (std::int64_t i = 2 * channels; i < chunks * 2 * channels; ++i) sums[i % (2 * channels)] += sums[i];

  NormalizeGradients<T> out{{}, Tensor<T>({channels}), Tensor<T>({channels}), {}};
  Tensor<T> slope({channels}), offset({channels});
  for (std::int64_t c = 0; c < channels; ++c) {
    const double rounded_off = context.mean(c) - static_cast<double>(centre(c));
    const double sum = sums[c], product = sums[channels + c] - rounded_off * sum;
    const double inverse = 1.0 / std::sqrt(context.variance(c) + context.epsilon);
    out.gamma(c) = static_cast<T>(inverse * product);
    out.beta(c) = static_cast<T>(sum);
    const double factor = context.training ? -static_cast<double>(context.affine.scale(c)) / static_cast<double>(rows) : 0.0;
    const double tilt = factor * inverse * inverse * product;
    slope(c) = static_cast<T>(tilt);
    offset(c) = static_cast<T>(factor * sum - tilt * rounded_off);
  }
  if (writes) out.residual = target;
  if (!needs_x) return out;

  // The masked gradient is the residual's too, so that it may not be overwritten.
  out.x = writes ? Tensor<T>(x.shape()) : target;
  kernels::NormalizeGradientArgs<T> all{};
  all.gradient = writes ? target.data() : dense.data();
  all.x = x.data();
  all.mean = centre.data();
  all.scale = context.affine.scale.data();
  all.shift = context.affine.shift.data();
  all.slope = slope.data();
  all.offset = offset.data();
  all.mask = writes ? GradientMask::kNone : context.mask;
  all.dx = out.x.data();
  all.channels = channels;
  const auto gradient_kernel = elementwise_kernels<T>().normalize_gradient;
  parallel_ranges(rows, step, [&](std::int64_t begin, std::int64_t end) {
    auto part = all;
    const std::int64_t at = begin * channels;
    part.gradient += at;
    part.x += at;
    part.dx += at;
    part.rows = end - begin;
    gradient_kernel(part);
  });
  return out;
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
