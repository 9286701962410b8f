// DoReFa: the quantizers of SP-Nets (arXiv 2002.02815; the formulas as in its first author's code).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "spnet/ops/quantize_centered.hpp"
#include "spnet/quant/quantizer.hpp"

namespace spnet {
inline namespace v0 {

namespace detail {

inline Tensor<float> unit_scale() { return Tensor<float>::ones({1}); }

// The range of a tensor of zeros: any value serves, as their gradient is that of w/1 then.
inline float nonzero_range(float max_abs) { return max_abs > 0 ? max_abs : 1.0f; }

/// q = 2·q_k(t) − 1 with t = T/(2·max_abs) + ½, for T = tanh(x).
inline Quantized lower_centered(const Tensor<float>& tanh_x, float max_abs, int bits) {
  const int levels = (1 << bits) - 1;
  return {ops::centered_codes(tanh_x, max_abs, levels),
          AffineCodes{.scale = Tensor<float>::full({1}, 1.0f / static_cast<float>(levels)),
                      .step = 2,
                      .zero_point = levels,
                      .qmin = 0,
                      .qmax = levels}};
}

}  // namespace detail

/// Weights. 2..8 bits: t = tanh(w)/(2·max|tanh w|) + ½ over the tensor, w_q = 2·round(t·n)/n − 1 with n = 2^bits − 1,
/// half to even; the gradient takes that of round as 1 and is exact otherwise, through tanh and the maximum (ties share
/// its part). 1 bit: sign(w), sign(0) = +1, the gradient passes unchanged. All-zero weights count as max|tanh w| = 1.
class DorefaWeights : public Quantizer {
 public:
  std::string name() const override { return "dorefa"; }
  Quantized lower(const Tensor<float>& x, int bits, bool) override {
    if (bits == 1) return {ops::sign_codes("dorefa weights", x, true), ops::sign_map(detail::unit_scale())};
    const Tensor<float> t = ops::finite_tanh("dorefa weights", x);
    return detail::lower_centered(t, detail::nonzero_range(ops::max_abs(t)), bits);
  }
  std::vector<Quantized> lower_all(const Tensor<float>& x, std::span<const int> widths, bool training) override {
    const Tensor<float> t = ops::finite_tanh("dorefa weights", x);
    const float range = detail::nonzero_range(ops::max_abs(t));
    std::vector<Quantized> out;
    for (const int bits : widths)
      out.push_back(bits == 1 ? lower(x, 1, training) : detail::lower_centered(t, range, bits));
    return out;
  }
  bool same_backward(int a, int b) const override { return (a == 1) == (b == 1); }
  void backward(const Tensor<float>& gradient, const QuantizerCall& call, InputGradients<float>& into) const override {
    if (!into.needs(0)) return;
    if (call.bits == 1) return into.add(0, gradient);
    into.add(0, ops::centered_gradient(gradient, ops::finite_tanh("dorefa weights", call.x), ops::reuse(gradient)));
  }
};

/// Activations, half-wave uniform. 2..8 bits: round(clamp(a, 0, 1)·n)/n with n = 2^bits − 1, half to even; gradient 1
/// on [0, 1], ends included, 0 outside. 1 bit: +1 where a > 0, else −1 (so 0 → −1); gradient 1 on [−1, 1], 0 outside.
/// Signed, at 2..8 bits [ours]: round(clamp(a·m, −m, m − 1))/m with m = 2^(bits−1); gradient 1 on [−1, 1].
class DorefaActivations : public ElementwiseQuantizer {
 public:
  /// Throws ValueError where one scale for each channel is asked for.
  explicit DorefaActivations(const QuantizerOptions& options = {}) : is_signed_(options.is_signed) {
    check<ValueError>(!options.per_channel, "quantizer dorefa: activations have one range a layer");
  }
  std::string name() const override { return "dorefa"; }
  std::optional<Form> form(int bits) const override {
    if (bits == 1) return Form{{.sign = true}, ops::sign_map(detail::unit_scale()), -1.0f, 1.0f};
    const int levels = (1 << bits) - 1, low = is_signed_ ? -(1 << (bits - 1)) : 0;
    const auto factor = static_cast<float>(is_signed_ ? -low : levels);
    return Form{{.factor = factor, .low = low, .high = low + levels},
                {.scale = Tensor<float>::full({1}, 1.0f / factor), .zero_point = -low, .qmin = 0, .qmax = levels},
                is_signed_ ? -1.0f : 0.0f,
                1.0f};
  }

 private:
  bool is_signed_;
};

}  // namespace v0
}  // namespace spnet
