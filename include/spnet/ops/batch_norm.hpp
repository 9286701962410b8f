// Batch normalisation over the last axis, forward and adjoint, on plain tensors.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <type_traits>
#include <utility>

#include "spnet/ops/elementwise.hpp"
#include "spnet/ops/quantize.hpp"
#include "spnet/ops/sums.hpp"

namespace spnet {
inline namespace v0 {

namespace ops {

struct BatchNormOptions {
  double momentum = 0.1;  ///< weight of the batch in the running statistics, in [0, 1]
  double epsilon = 1e-5;  ///< added to the variance, > 0
  bool training = true;   ///< use the batch's statistics and update the running ones; else use the running ones
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

// [rows, channels] seen as [rows/repeat, channels·repeat], so that the kernels meet whole vectors, and cut into chunks:
// a function of the shape alone, so that sums do not depend on threads. The rows left over, fewer than `repeat`, are
// one more chunk.
struct ChannelChunks {
  std::int64_t rows, channels, repeat = 1, step, count;

  ChannelChunks(std::int64_t all_rows, std::int64_t all_channels) : rows(all_rows), channels(all_channels) {
    constexpr std::int64_t kLanes = 64, kWidest = 4096;  // four of the widest vectors
    const std::int64_t fitting = kLanes / std::gcd(channels, kLanes);
    if (channels * fitting <= kWidest && rows >= 4 * fitting) repeat = fitting;
    step = std::max<std::int64_t>(16, 32768 / (channels * repeat));
    count = chunk_count(rows / repeat, step) + (rows % repeat ? 1 : 0);
  }

  // One chunk: where it begins, in elements, and its size as the kernels see it.
  struct Chunk {
    std::int64_t at, rows, channels, repeat;
  };
  Chunk operator[](std::int64_t i) const {
    const std::int64_t wide_rows = rows / repeat, begin = i * step;
    if (begin >= wide_rows) return {wide_rows * repeat * channels, rows % repeat, channels, 1};
    return {begin * repeat * channels, std::min(step, wide_rows - begin), channels * repeat, repeat};
  }
};

// `values`, one for each channel, `repeat` times over.
template <class T, class U>
Tensor<T> repeated(const Tensor<U>& values, std::int64_t repeat) {
  Tensor<T> out({repeat * values.size()});
  for (std::int64_t i = 0; i < out.size(); ++i) out.data()[i] = static_cast<T>(values.data()[i % values.size()]);
  return out;
}

/// The kernels that normalise an X for results of type T.
template <class T, class X>
const kernels::NormalizeFunctions<T, X>& normalize_kernels() {
  if constexpr (std::is_same_v<T, X>)
    return elementwise_kernels<T>().of_values;
  else
    return elementwise_kernels<T>().of_sums;
}

}  // namespace detail

/// What is normalised: values, or integers that stand for unit[c]·x.
template <class T, class X = T>
struct NormalizeInput {
  Tensor<X> x;
  Tensor<float> unit;  ///< [C]; undefined: 1

  double unit_of(std::int64_t channel) const {
    return unit.defined() ? static_cast<double>(unit.data()[channel]) : 1.0;
  }
};
using NormalizeSums = NormalizeInput<float, std::int32_t>;

namespace detail {

/// The scale of `affine` for x itself instead of what it stands for.
template <class T, class X>
Tensor<T> input_scale(const NormalizeInput<T, X>& input, const ChannelAffine<T>& affine) {
  if (!input.unit.defined()) return affine.scale;
  Tensor<T> out(affine.scale.shape());
  for (std::int64_t c = 0; c < out.size(); ++c)
    out.data()[c] = static_cast<T>(static_cast<double>(affine.scale.data()[c]) * input.unit_of(c));
  return out;
}

}  // namespace detail

/// Moments of the channels of x [...,C]. Accurate also where the mean is large against the deviation: every chunk is
/// centred by its own mean, and chunks are merged in order (Chan, Golub, LeVeque 1983).
template <class T>
ChannelMoments channel_moments(const Tensor<T>& x) {
  const Tensor<T> dense = x.contiguous();
  const std::int64_t channels = x.dim(-1), rows = x.size() / channels;
  const detail::ChannelChunks chunks(rows, channels);
  const std::int64_t width = 2 * channels * chunks.repeat;
  Tensor<double> partial({chunks.count, width});
  const T* data = dense.data();
  double* moments = partial.data();
  const auto kernel = elementwise_kernels<T>().moments;
  parallel_for(chunks.count, [&](std::int64_t i) {
    const auto chunk = chunks[i];
    kernel({data + chunk.at, chunk.rows, chunk.channels, moments + i * width, moments + i * width + chunk.channels});
  });
  ChannelMoments out{Tensor<double>::zeros({channels}), Tensor<double>::zeros({channels})};
  double* mean = out.mean.data();
  double* squares = out.variance.data();
  double before = 0;
  for (std::int64_t i = 0; i < chunks.count; ++i) {
    const auto chunk = chunks[i];
    for (std::int64_t part = 0; part < chunk.repeat; ++part) {
      const double more = static_cast<double>(chunk.rows), share = more / (before + more);
      const double* m = moments + i * width + part * channels;
      for (std::int64_t c = 0; c < channels; ++c) {
        const double delta = m[c] - mean[c];
        mean[c] += delta * share;
        squares[c] += m[chunk.channels + c] + delta * delta * before * share;
      }
      before += more;
    }
  }
  for (std::int64_t c = 0; c < channels; ++c) squares[c] /= static_cast<double>(rows);
  return out;
}
/// The same of what integer sums stand for; exact but for a few roundings in the end.
inline ChannelMoments channel_moments(const Sums& x) {
  const std::int64_t channels = x.scale.size(), rows = x.sums.size() / channels;
  const auto totals = channel_totals(x);
  ChannelMoments out{Tensor<double>({channels}), Tensor<double>({channels})};
  for (std::int64_t c = 0; c < channels; ++c) {
    const ChannelTotal& total = totals[static_cast<std::size_t>(c)];
    const double unit = static_cast<double>(x.scale.span()[static_cast<std::size_t>(c)]);
    out.mean(c) = unit * total.mean(rows);
    out.variance(c) = unit * unit * total.variance(rows);
  }
  return out;
}

/// Batch norm with known statistics as one affine map: scale = gamma/√(variance + epsilon), shift = beta − mean·scale.
/// Training and evaluation both fold here, so that they agree to the bit.
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
    out.shift(c) =
        static_cast<T>(std::fma(-static_cast<double>(mean(c)), static_cast<double>(scale), static_cast<double>(b(c))));
  }
  return out;
}

namespace detail {

// Calls `kernel(chunk, scale, shift)` for the chunks of x, with `affine` applied to what x stands for.
template <class T, class X, class Kernel>
void normalize_chunks(const NormalizeInput<T, X>& input, const ChannelAffine<T>& affine, const Kernel& kernel) {
  const std::int64_t channels = std::max<std::int64_t>(input.x.dim(-1), 1);
  const ChannelChunks chunks(input.x.size() / channels, channels);
  const auto scales = repeated<T>(input_scale(input, affine), chunks.repeat),
             shifts = repeated<T>(affine.shift, chunks.repeat);
  const T *scale = scales.data(), *shift = shifts.data();
  parallel_for(chunks.count, [&](std::int64_t i) { kernel(chunks[i], scale, shift); });
}

}  // namespace detail

/// x·scale + shift, plus `residual` where it is defined, then relu where asked: one pass over x [...,C].
template <class T, class X>
Tensor<T> normalize(const NormalizeInput<T, X>& input, const ChannelAffine<T>& affine, const Tensor<T>& residual = {},
                    bool relu = false) {
  const Tensor<X> dense = input.x.contiguous();
  const Tensor<T> added = residual.defined() ? residual.contiguous() : residual;
  Tensor<T> y(dense.shape());
  const X* from = dense.data();
  const T* add = added.data();
  T* to = y.data();
  const auto kernel = detail::normalize_kernels<T, X>().normalize;
  detail::normalize_chunks(input, affine, [&](const auto& chunk, const T* scale, const T* shift) {
    const std::int64_t at = chunk.at;
    kernel({from + at, add ? add + at : nullptr, scale, shift, relu, to + at, chunk.rows, chunk.channels});
  });
  return y;
}
template <class T>
Tensor<T> normalize(const Tensor<T>& x, const ChannelAffine<T>& affine, const Tensor<T>& residual = {},
                    bool relu = false) {
  return normalize(NormalizeInput<T>{x, {}}, affine, residual, relu);
}

/// The codes, by `form`, of what `normalize` gives, in the same pass; the values go to `y` where it is defined.
/// Returns false where a value is not finite.
template <class X>
bool normalize_codes(const NormalizeInput<float, X>& input, const ChannelAffine<float>& affine,
                     const Tensor<float>& residual, bool relu, const UniformForm& form, Tensor<float>& y,
                     Tensor<std::uint8_t>& codes) {
  const Tensor<X> dense = input.x.contiguous();
  const Tensor<float> added = residual.defined() ? residual.contiguous() : residual;
  const X* from = dense.data();
  const float* add = added.data();
  float* values = y.defined() ? y.data() : nullptr;
  std::uint8_t* to = codes.data();
  std::atomic<bool> finite{true};
  const auto kernel = detail::normalize_kernels<float, X>().normalize_codes;
  detail::normalize_chunks(input, affine, [&](const auto& chunk, const float* scale, const float* shift) {
    const std::int64_t at = chunk.at;
    if (!kernel({{from + at, add ? add + at : nullptr, scale, shift, relu, values ? values + at : nullptr, chunk.rows,
                  chunk.channels},
                 form.sign,
                 form.factor,
                 static_cast<float>(form.low),
                 static_cast<float>(form.high),
                 to + at}))
      finite.store(false, std::memory_order_relaxed);
  });
  return finite.load();
}

/// What a quantizer behind a relu does to the gradient: from where the output is larger than `most` none passes. One
/// with a learned scale has levels round(clamp(y·factor, 0, high)), and a gradient for it; else `factor` is 0.
template <class T>
struct OutputClip {
  T most = std::numeric_limits<T>::infinity();
  T factor = 0, high = 0;
};

/// What the backward pass of a normalisation needs to know. `y` only for kernels::GradientMask::kOutput.
template <class T, class X = T>
struct NormalizeContext {
  NormalizeInput<T, X> input;
  Tensor<T> y;
  ChannelAffine<T> affine;
  Tensor<double> mean, variance;  ///< those that `affine` was folded from
  double epsilon;
  kernels::GradientMask mask;
  OutputClip<T> clip = {};  ///< of kInput
  bool training;            ///< whether mean and variance depend on x
};

/// How the gradient of what is normalised is asked for; kBf16 rounds it.
enum class NormalizedGradient { kNone, kValues, kBf16 };

/// Gradients of a normalisation; undefined where not asked for.
template <class T>
struct NormalizeGradients {
  Tensor<T> x, gamma, beta;
  Tensor<bf16> x_bf16;
  Tensor<T> residual;  ///< the gradient behind the mask, for kOutput only
  double scale = 0;  ///< Σ gradient·(level − y·factor inside the clip, level outside), where clip.factor is not 0
};

namespace detail {

/// to[i] = bf16(x[i]).
inline void round_to_bf16(const float* x, std::int64_t count, bf16* to) {
  const kernels::Bf16Kernels& k = kernels::active().bf16;
  if (!k.split) return static_cast<void>(std::transform(x, x + count, to, [](float v) { return bf16(v); }));
  // An even number, or the kernel would write one more.
  const std::int64_t even = count / 2 * 2;
  k.split({x, even, 1, even, reinterpret_cast<std::uint16_t*>(to), nullptr, even});
  if (even < count) to[even] = bf16(x[even]);
}

}  // namespace detail

/// The adjoint of batch norm (+ add) (+ relu), exact but for what kBf16 rounds, with batch statistics or constant ones.
/// Two passes over the data. `target`, which may be `gradient`, is overwritten where one is given. kBf16 is for floats:
/// throws ValueError.
template <class T, class X>
NormalizeGradients<T> normalize_backward(const Tensor<T>& gradient, const NormalizeContext<T, X>& context,
                                         NormalizedGradient of_x, Tensor<T> target = {}) {
  using kernels::GradientMask;
  check<ValueError>((std::is_same_v<T, float> || of_x != NormalizedGradient::kBf16),
                    "normalize_backward: gradients of double are not rounded to bf16");
  const Tensor<X> x = context.input.x.contiguous();
  const Tensor<T> y = context.y.defined() ? context.y.contiguous() : context.y;
  const std::int64_t channels = x.dim(-1), rows = x.size() / channels;
  const detail::ChannelChunks chunks(rows, channels);
  const Tensor<T> dense = gradient.contiguous();
  // The kernels see x, not what it stands for: the mean is divided, the slopes are multiplied by its unit.
  Tensor<double> means({channels});
  for (std::int64_t c = 0; c < channels; ++c) means.data()[c] = context.mean.data()[c] / context.input.unit_of(c);
  const auto centre = detail::repeated<T>(means, chunks.repeat);
  const auto gain = detail::repeated<T>(context.affine.scale, chunks.repeat);
  const auto scale = detail::repeated<T>(detail::input_scale(context.input, context.affine), chunks.repeat);
  const auto shift = detail::repeated<T>(context.affine.shift, chunks.repeat);
  const std::int64_t width = 2 * channels * chunks.repeat;
  Tensor<double> partial({chunks.count, width}), of_scale = Tensor<double>::zeros({chunks.count});
  const bool writes = context.mask == GradientMask::kOutput;
  if (!target.defined() && (writes || of_x == NormalizedGradient::kValues)) target = Tensor<T>(x.shape());

  kernels::NormalizeSumsArgs<T, X> whole{};
  whole.gradient = dense.data();
  whole.x = x.data();
  whole.y = y.data();
  whole.masked = target.data();
  whole.mean = centre.data();
  whole.scale = scale.data();
  whole.shift = shift.data();
  whole.mask = context.mask;
  whole.most = context.clip.most;
  whole.factor = context.clip.factor;
  whole.high = context.clip.high;
  double *sums = partial.data(), *scale_sums = of_scale.data();
  const auto sum_kernel = detail::normalize_kernels<T, X>().normalize_sums;
  parallel_for(chunks.count, [&](std::int64_t i) {
    const auto chunk = chunks[i];
    auto part = whole;
    part.gradient += chunk.at;
    part.x += chunk.at;
    if (writes) {
      part.y += chunk.at;
      part.masked += chunk.at;
    }
    part.rows = chunk.rows;
    part.channels = chunk.channels;
    part.sums = sums + i * width;
    part.of_scale = scale_sums + i;
    sum_kernel(part);
  });
  Tensor<double> totals = Tensor<double>::zeros({2, channels});
  for (std::int64_t i = 0; i < chunks.count; ++i) {
    const auto chunk = chunks[i];
    for (std::int64_t part = 0; part < 2 * chunk.repeat; ++part)
      for (std::int64_t c = 0; c < channels; ++c)
        totals.data()[part / chunk.repeat * channels + c] += sums[i * width + part * channels + c];
  }

  NormalizeGradients<T> out{{}, Tensor<T>({channels}), Tensor<T>({channels}), {}, {}};
  for (const double sum : of_scale.span()) out.scale += sum;
  Tensor<T> slopes({channels}), offsets({channels});
  for (std::int64_t c = 0; c < channels; ++c) {
    // The kernels centre by the rounded mean.
    const double unit = context.input.unit_of(c);
    const double rounded_off = unit * (means.data()[c] - static_cast<double>(centre.data()[c]));
    const double sum = totals.data()[c], product = unit * totals.data()[channels + c] - rounded_off * sum;
    const double inverse = 1.0 / std::sqrt(context.variance.data()[c] + context.epsilon);
    out.gamma.data()[c] = static_cast<T>(inverse * product);
    out.beta.data()[c] = static_cast<T>(sum);
    const double factor = context.training ? -static_cast<double>(gain.data()[c]) / static_cast<double>(rows) : 0.0;
    const double tilt = factor * inverse * inverse * product;
    slopes.data()[c] = static_cast<T>(tilt * unit);
    offsets.data()[c] = static_cast<T>(factor * sum - tilt * rounded_off);
  }
  if (writes) out.residual = target;
  if (of_x == NormalizedGradient::kNone) return out;

  // The masked gradient is the residual's too, so that it may not be overwritten.
  const bool rounds = of_x == NormalizedGradient::kBf16;
  if (rounds)
    out.x_bf16 = Tensor<bf16>(x.shape());
  else
    out.x = writes ? Tensor<T>(x.shape()) : target;
  const auto slope = detail::repeated<T>(slopes, chunks.repeat), offset = detail::repeated<T>(offsets, chunks.repeat);
  kernels::NormalizeGradientArgs<T, X> all{};
  all.gradient = writes ? target.data() : dense.data();
  all.x = x.data();
  all.gain = gain.data();
  all.mean = centre.data();
  all.scale = scale.data();
  all.shift = shift.data();
  all.slope = slope.data();
  all.offset = offset.data();
  all.mask = writes ? GradientMask::kNone : context.mask;
  all.most = context.clip.most;
  const auto gradient_kernel = detail::normalize_kernels<T, X>().normalize_gradient;
  const auto rows_from = [&](const auto& chunk, std::int64_t first, std::int64_t count, T* dx) {
    const std::int64_t at = chunk.at + first * chunk.channels;
    auto part = all;
    part.gradient += at;
    part.x += at;
    part.dx = dx;
    part.rows = count;
    part.channels = chunk.channels;
    gradient_kernel(part);
  };
  if (!rounds) {
    T* const dx = out.x.data();
    parallel_for(chunks.count, [&](std::int64_t i) { rows_from(chunks[i], 0, chunks[i].rows, dx + chunks[i].at); });
  } else if constexpr (std::is_same_v<T, float>) {
    // Some rows at a time, which are rounded while they are in the cache.
    constexpr std::int64_t kRoundedFloats = 2048;
    const std::int64_t wide = channels * chunks.repeat, most_rows = std::max<std::int64_t>(kRoundedFloats / wide, 1);
    bf16* const dx = out.x_bf16.data();
    parallel_for_scratch<float>(chunks.count, most_rows * wide, [&](std::int64_t i, float* scratch) {
      const auto chunk = chunks[i];
      for (std::int64_t first = 0; first < chunk.rows; first += most_rows) {
        const std::int64_t rows_here = std::min(most_rows, chunk.rows - first), count = rows_here * chunk.channels;
        rows_from(chunk, first, rows_here, scratch);
        detail::round_to_bf16(scratch, count, dx + chunk.at + first * chunk.channels);
      }
    });
  }
  return out;
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
