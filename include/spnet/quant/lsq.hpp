// LSQ: learned step size quantization (arXiv 1902.08153).
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "spnet/quant/learned_scale.hpp"

namespace spnet {
inline namespace v0 {

namespace detail {

// LSQ's rate of a scale: 1/√(N·Q_p), N the elements that share it.
inline float scale_rate(std::int64_t elements, float most) {
  return static_cast<float>(1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(elements, 1)) * most));
}

/// scale·sign(w), sign(0) = +1.
inline Quantized lower_sign(const char* quantizer, const Tensor<float>& w, const Tensor<float>& scale) {
  return {ops::sign_codes(quantizer, w, true), ops::sign_map(scale, scale.size() == 1 ? -1 : 0)};
}

/// Its gradient: passes to w unchanged; that of the scale is Σ g·sign(w), times 1/√N.
inline void sign_gradient(const Tensor<float>& gradient, const QuantizerCall& call, const LearnedScale& scale,
                          InputGradients<float>& into) {
  if (into.needs(1)) {
    const Tensor<float> dense = gradient.contiguous();
    const float* g = dense.data();
    const std::uint8_t* code = call.lowered.codes.data();
    const std::int64_t rows = scale.variable().size(), length = call.x.size() / rows;
    Tensor<float> sums = ops::row_means(dense, rows, [=](std::int64_t i) { return code[i] ? g[i] : -g[i]; });
    for (float& s : sums.span()) s *= static_cast<float>(length) * scale_rate(length, 1.0f);
    into.add(1, scale.through_magnitude(std::move(sums)));
  }
  into.add(0, gradient);
}

/// The gradient of uniform codes with a learned scale; `rate` multiplies that of the scale.
inline void learned_gradient(const Tensor<float>& gradient, const QuantizerCall& call, const LearnedScale& scale,
                             const Tensor<float>& used, ops::ScaleRange range, float rate,
                             InputGradients<float>& into) {
  Tensor<float> of_scale = Tensor<float>::zeros(used.shape());
  Tensor<float> dx = ops::scale_gradient(gradient, call.x, call.lowered.codes, std::get<AffineCodes>(call.lowered.map),
                                         used, range, rate, of_scale, ops::reuse(gradient));
  into.add(1, scale.through_magnitude(std::move(of_scale)));
  into.add(0, std::move(dx));
}

}  // namespace detail

/// LSQ. v = x/s with a learned s for every width: round(clamp(v, low, high))·s, half to even; weights have low..high =
/// −2^(b−1)..2^(b−1)−1, activations 0..2^b−1. Gradient of x: 1 strictly inside, else 0; of s: round(v) − v inside, the
/// clip level outside, times 1/√(N·high), N the number of elements that share s (the batch counts). s starts at
/// 2·mean|x|/√high. Weights at 1 bit: s·sign(w), s starting at mean|w|; the gradient passes to w unchanged and is
/// Σ g·sign(w)/√N for s [ours: LSQ has no such width]. Activations at 1 bit: the general form, {0, s}.
class Lsq : public Quantizer {
 public:
  enum class Kind { kWeights, kActivations };
  Lsq(Kind kind, const QuantizerOptions& options)
      : kind_(kind), scales_(options.widths, kind == Kind::kWeights && options.per_channel ? options.channels : 1) {
    check<ValueError>(kind == Kind::kWeights || !options.per_channel,
                      "quantizer lsq: activations have one scale a layer");
  }
  std::string name() const override { return "lsq"; }
  Quantized lower(const Tensor<float>& x, int bits, bool training) override {
    LearnedScale& learned = scales_.at(label(), bits);
    const auto [low, high] = range(bits);
    const Tensor<float> scale = learned.use(label(), x, is_sign(bits) ? 1.0f : 2.0f / std::sqrt(high), training);
    if (is_sign(bits)) return detail::lower_sign(label(), x, scale);
    const int first = static_cast<int>(low), last = static_cast<int>(high);
    AffineCodes map{.scale = scale, .zero_point = -first, .qmin = 0, .qmax = last - first};
    if (scale.size() > 1) map.channel_axis = 0;
    return {ops::scaled_codes(label(), x, scale, first, last), std::move(map)};
  }
  void backward(const Tensor<float>& gradient, const QuantizerCall& call, InputGradients<float>& into) const override {
    const LearnedScale& learned = scales_.at(label(), call.bits);
    if (is_sign(call.bits)) return detail::sign_gradient(gradient, call, learned, into);
    const auto [low, high] = range(call.bits);
    const Tensor<float>& used = std::get<AffineCodes>(call.lowered.map).scale;
    detail::learned_gradient(gradient, call, learned, used, {.low = low, .high = high},
                             detail::scale_rate(call.x.size() / used.size(), high), into);
  }
  std::span<const Variable<float>> parameters_at(int bits) const override {
    return {scales_.at(label(), bits).address(), 1};
  }
  std::vector<NamedParameter> parameters() const override {
    std::vector<NamedParameter> out;
    scales_.append_to(out);
    return out;
  }

 private:
  struct Range {
    float low, high;
  };
  bool is_sign(int bits) const { return bits == 1 && kind_ == Kind::kWeights; }
  Range range(int bits) const {
    if (kind_ == Kind::kActivations) return {0.0f, static_cast<float>((1 << bits) - 1)};
    return {static_cast<float>(-(1 << (bits - 1))), static_cast<float>((1 << (bits - 1)) - 1)};
  }
  const char* label() const { return kind_ == Kind::kWeights ? "lsq weights" : "lsq activations"; }

  Kind kind_;
  LearnedScales scales_;
};

class LsqWeights : public Lsq {
 public:
  explicit LsqWeights(const QuantizerOptions& options) : Lsq(Kind::kWeights, options) {}
};
class LsqActivations : public Lsq {
 public:
  explicit LsqActivations(const QuantizerOptions& options) : Lsq(Kind::kActivations, options) {}
};

}  // namespace v0
}  // namespace spnet
