// Tanh activations of SP-Nets (arXiv 2002.02815).
#pragma once

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "spnet/quant/dorefa.hpp"
#include "spnet/quant/running.hpp"

namespace spnet {
inline namespace v0 {

/// Activations in [−1, 1] by DoReFa's weight form, for blocks ordered conv, ReLU, norm. 2..8 bits: in training the
/// maximum is the batch's and takes part in the gradient, as for weights; a running mean of it, one for each width,
/// stands in at evaluation, where values beyond it are clipped and get no gradient. 1 bit: +1 where a > 0, else −1;
/// gradient 1 on [−1, 1], 0 outside.
class TanhActivations : public Quantizer {
 public:
  explicit TanhActivations(const QuantizerOptions& options = {}) : ranges_(options.widths, {"max"}) {
    check<ValueError>(!options.per_channel, "quantizer tanh: activations have one range a layer");
  }
  std::string name() const override { return "tanh"; }
  Quantized lower(const Tensor<float>& x, int bits, bool training) override {
    if (bits == 1) return sign_.lower(x, bits, training);
    const Tensor<float> t = ops::finite_tanh(kLabel, x);
    std::array<float, 1> range{ops::max_abs(t)};
    if (training) {
      ranges_.take_in(kLabel, bits, range);
    } else {
      ranges_.recall(kLabel, bits, range);
    }
    return detail::lower_centered(t, detail::nonzero_range(range[0]), bits);
  }
  void backward(const Tensor<float>& gradient, const QuantizerCall& call, InputGradients<float>& into) const override {
    if (call.bits == 1) return sign_.backward(gradient, call, into);
    if (!into.needs(0)) return;
    const Tensor<float> t = ops::finite_tanh(kLabel, call.x);
    if (call.training) return into.add(0, ops::centered_gradient(gradient, t, ops::reuse(gradient)));
    std::array<float, 1> most{ops::max_abs(t)};
    ranges_.recall(kLabel, call.bits, most);
    const float range = detail::nonzero_range(most[0]);
    into.add(0, ops::zip("tanh", gradient, t, [range](float g, float v) {
               return std::abs(v) <= range ? g / range * (1.0f - v * v) : 0.0f;
             }));
  }
  std::vector<NamedBuffer> buffers() const override { return ranges_.buffers(); }

 private:
  static constexpr const char* kLabel = "tanh activations";
  RunningRanges ranges_;
  DorefaActivations sign_;
};

}  // namespace v0
}  // namespace spnet
