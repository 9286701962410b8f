// The logarithmic quantizers of SP-Nets (arXiv 2002.02815; the formulas as in its first author's code).
#pragma once

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "spnet/ops/quantize_log.hpp"
#include "spnet/quant/dorefa.hpp"
#include "spnet/quant/running.hpp"

namespace spnet {
inline namespace v0 {

namespace detail {

// g·|y|/|x| where the magnitude is at least `floor`, else 0: the derivative of ±2^log2|x|, the rounding's being 1 and
// the range held fast.
inline Tensor<float> log_gradient(const Tensor<float>& gradient, const QuantizerCall& call, bool two_sided,
                                  float floor) {
  const Tensor<float> dense = gradient.contiguous();
  const Tensor<float>& table = std::get<LutCodes>(call.lowered.map).table;
  const float *g = dense.data(), *x = call.x.data(), *values = table.data();
  const std::uint8_t* code = call.lowered.codes.data();
  Tensor<float> dx(call.x.shape());
  float* to = dx.data();
  parallel_ranges(dx.size(), ops::kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float magnitude = two_sided ? std::abs(x[i]) : x[i];
      to[i] = magnitude >= floor ? g[i] * (std::abs(values[code[i]]) / magnitude) : 0.0f;
    }
  });
  return dx;
}

}  // namespace detail

/// Weights: |w|, floored at m = .33/.15/.03 for 2/3/4..8 bits, as 2 to one of 2^(b−1) exponents that are evenly spaced
/// between the tensor's smallest and largest, times sign(w), sign(0) = +1; so 2^b codes. The gradient is |w_q|/|w|
/// where |w| ≥ m, 0 below; the range takes no part in it [open]. 1 bit: sign(w), the gradient passes unchanged.
class LogWeights : public Quantizer {
 public:
  std::string name() const override { return "log"; }
  Quantized lower(const Tensor<float>& x, int bits, bool training) override {
    if (bits == 1) return sign_.lower(x, bits, training);
    const float floor = floor_at(bits);
    const auto [low, high] = ops::log_extremes(kLabel, x, true, floor);
    const ops::LogRange range{floor, low, high, (1 << (bits - 1)) - 1, true};
    return {ops::log_codes(kLabel, x, range), ops::log_table(range)};
  }
  void backward(const Tensor<float>& gradient, const QuantizerCall& call, InputGradients<float>& into) const override {
    if (call.bits == 1) return sign_.backward(gradient, call, into);
    if (into.needs(0)) into.add(0, detail::log_gradient(gradient, call, true, floor_at(call.bits)));
  }

 private:
  static constexpr const char* kLabel = "log weights";
  static float floor_at(int bits) { return bits == 2 ? 0.33f : bits == 3 ? 0.15f : 0.03f; }
  DorefaWeights sign_;
};

/// Activations: max(a, .03) as 2 to one of 2^b evenly spaced exponents; in training between the batch's smallest and
/// largest, at evaluation between their running means, one pair for each width. The gradient is a_q/a where a ≥ .03, 0
/// below. 1 bit: as DoReFa.
class LogActivations : public Quantizer {
 public:
  explicit LogActivations(const QuantizerOptions& options = {}) : ranges_(options.widths, {"low", "high"}) {
    check<ValueError>(!options.per_channel, "quantizer log: activations have one range a layer");
  }
  std::string name() const override { return "log"; }
  Quantized lower(const Tensor<float>& x, int bits, bool training) override {
    if (bits == 1) return sign_.lower(x, bits, training);
    std::array<float, 2> exponents = ops::log_extremes(kLabel, x, false, kFloor);
    if (!training) ranges_.recall(kLabel, bits, exponents);
    const ops::LogRange range{kFloor, exponents[0], exponents[1], (1 << bits) - 1, false};
    Quantized out{ops::log_codes(kLabel, x, range), ops::log_table(range)};
    if (training) ranges_.take_in(kLabel, bits, exponents);
    return out;
  }
  void backward(const Tensor<float>& gradient, const QuantizerCall& call, InputGradients<float>& into) const override {
    if (call.bits == 1) return sign_.backward(gradient, call, into);
    if (into.needs(0)) into.add(0, detail::log_gradient(gradient, call, false, kFloor));
  }
  std::vector<NamedBuffer> buffers() const override { return ranges_.buffers(); }

 private:
  static constexpr const char* kLabel = "log activations";
  static constexpr float kFloor = 0.03f;
  RunningRanges ranges_;
  DorefaActivations sign_;
};

}  // namespace v0
}  // namespace spnet
