// LSQ: learned step size quantization (arXiv 1902.08153).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "spnet/quant/learned_scale.hpp"

namespace spnet {
inline namespace v0 {

namespace detail {

// Of integers.
struct LevelRange {
  int low, high;
};

// The largest y for which y·factor, rounded, stays below `limit`.
inline float largest_below(float limit, float factor) {
  float y = limit / factor;
  while (y * factor >= limit) y = std::nextafter(y, 0.0f);
  for (float next; (next = std::nextafter(y, std::numeric_limits<float>::infinity())) * factor < limit;) y = next;
  return y;
}

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
/// Signed activations have the weights' low..high, but at 1 bit {0, s} still [ours].
/// `Base` is what the two kinds derive from.
template <class Base>
class Lsq : public Base {
 public:
  std::string name() const override { return "lsq"; }
  std::span<const Variable<float>> parameters_at(int bits) const override {
    return {scales_.at(label_, bits).address(), 1};
  }
  std::vector<Quantizer::NamedParameter> parameters() const override {
    std::vector<Quantizer::NamedParameter> out;
    scales_.append_to(out);
    return out;
  }

 protected:
  Lsq(const char* label, const std::vector<int>& widths, std::int64_t channels)
      : label_(label), scales_(widths, channels) {}

  Quantized lower_to(const Tensor<float>& x, int bits, detail::LevelRange range, bool training) {
    const Tensor<float> scale =
        scales_.at(label_, bits).use(label_, x, 2.0f / std::sqrt(static_cast<float>(range.high)), training);
    AffineCodes map{.scale = scale, .zero_point = -range.low, .qmin = 0, .qmax = range.high - range.low};
    if (scale.size() > 1) map.channel_axis = 0;
    return {ops::scaled_codes(label_, x, scale, range.low, range.high), std::move(map)};
  }
  void backward_from(const Tensor<float>& gradient, const QuantizerCall& call, detail::LevelRange range,
                     InputGradients<float>& into) const {
    const Tensor<float>& used = std::get<AffineCodes>(call.lowered.map).scale;
    const auto low = static_cast<float>(range.low), high = static_cast<float>(range.high);
    detail::learned_gradient(gradient, call, scales_.at(label_, call.bits), used, {.low = low, .high = high},
                             detail::scale_rate(call.x.size() / used.size(), high), into);
  }

  const char* label_;
  LearnedScales scales_;
};

class LsqWeights : public Lsq<Quantizer> {
 public:
  explicit LsqWeights(const QuantizerOptions& options)
      : Lsq("lsq weights", options.widths, options.per_channel ? options.channels : 1) {}
  Quantized lower(const Tensor<float>& x, int bits, bool training) override {
    if (bits == 1) return detail::lower_sign(label_, x, scales_.at(label_, 1).use(label_, x, 1.0f, training));
    return lower_to(x, bits, range(bits), training);
  }
  void backward(const Tensor<float>& gradient, const QuantizerCall& call, InputGradients<float>& into) const override {
    if (call.bits == 1) return detail::sign_gradient(gradient, call, scales_.at(label_, 1), into);
    backward_from(gradient, call, range(call.bits), into);
  }

 private:
  static detail::LevelRange range(int bits) { return {-(1 << (bits - 1)), (1 << (bits - 1)) - 1}; }
};

class LsqActivations : public Lsq<ElementwiseQuantizer> {
 public:
  /// Throws ValueError where one scale for each channel is asked for.
  explicit LsqActivations(const QuantizerOptions& options)
      : Lsq("lsq activations", options.widths, 1), is_signed_(options.is_signed) {
    check<ValueError>(!options.per_channel, "quantizer lsq: activations have one scale a layer");
  }
  std::optional<Form> form(int bits) const override {
    const LearnedScale& learned = scales_.at(label_, bits);
    if (!learned.is_started()) return std::nullopt;
    const auto [low, high] = range(bits);
    Tensor<float> scale = learned.magnitude(label_);
    const float factor = 1.0f / scale(0);
    return Form{
        {.factor = factor, .low = low, .high = high},
        {.scale = std::move(scale), .zero_point = -low, .qmin = 0, .qmax = high - low},
        low < 0 ? -detail::largest_below(static_cast<float>(-low), factor) : std::numeric_limits<float>::denorm_min(),
        detail::largest_below(static_cast<float>(high), factor),
        true};
  }
  Quantized lower(const Tensor<float>& x, int bits, bool training) override {
    return lower_to(x, bits, range(bits), training);
  }
  void backward(const Tensor<float>& gradient, const QuantizerCall& call, InputGradients<float>& into) const override {
    backward_from(gradient, call, range(call.bits), into);
  }
  Tensor<float> scale_gradient(double sum, std::int64_t count, int bits) const override {
    const double rate = static_cast<double>(detail::scale_rate(count, static_cast<float>(range(bits).high)));
    return scales_.at(label_, bits).through_magnitude(Tensor<float>::full({1}, static_cast<float>(sum * rate)));
  }

 private:
  detail::LevelRange range(int bits) const {
    const int low = is_signed_ && bits > 1 ? -(1 << (bits - 1)) : 0;
    return {low, low + (1 << bits) - 1};
  }

  bool is_signed_;
};

}  // namespace v0
}  // namespace spnet
