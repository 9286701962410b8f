// Weight quantizers whose widths all come from one stored 8-bit integer master.
#pragma once

#include <cmath>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "spnet/ops/quantize_nested.hpp"
#include "spnet/quant/lsq.hpp"

namespace spnet {
inline namespace v0 {

/// What the nested quantizers share: one learned scale s of the 8-bit master, which every width from 2 to 8 trains, and
/// a sign plane (master ≥ 0) with a scale of its own at 1 bit [open: the published forms degenerate there].
/// With S = s·2^Δ, Δ = 8 − b, values are code·S. Gradients as in LSQ with step S and this width's clip levels, that of
/// s times 2^−Δ/√(N·high): each width pulls s as far, relative to it, as LSQ would pull a step of its own [open]; times
/// the width's rate, where the options name one (Double Rounding, arXiv 2502.01199, gives each width its own).
class NestedWeights : public Quantizer {
 public:
  Quantized lower(const Tensor<float>& x, int bits, bool training) override {
    const Tensor<float> scale = scale_.use(label_, x, kStart, training);
    return narrowed(master_codes(x, scale), scale, x, bits, training);
  }
  std::vector<Quantized> lower_all(const Tensor<float>& x, std::span<const int> widths, bool training) override {
    const Tensor<float> scale = scale_.use(label_, x, kStart, training);
    const Tensor<std::uint8_t> master = master_codes(x, scale);
    std::vector<Quantized> out;
    for (const int bits : widths) out.push_back(narrowed(master, scale, x, bits, training));
    return out;
  }
  void backward(const Tensor<float>& gradient, const QuantizerCall& call, InputGradients<float>& into) const override {
    if (call.bits == 1) return detail::sign_gradient(gradient, call, sign_scale_, into);
    const Range r = range(call.bits);
    const float unit = std::ldexp(1.0f, ops::kMasterBits - call.bits);
    const auto& map = std::get<AffineCodes>(call.lowered.map);
    Tensor<float> step = map.scale.clone();
    step.data()[0] *= static_cast<float>(map.step);
    const auto low = static_cast<float>(r.low), high = static_cast<float>(is_centered_ ? r.high + 1 : r.high);
    detail::learned_gradient(gradient, call, scale_, step,
                             {.unit = 1.0f / static_cast<float>(map.step), .low = low, .high = high},
                             detail::scale_rate(call.x.size(), high) / unit * rate(call.bits), into);
  }
  std::span<const Variable<float>> parameters_at(int bits) const override {
    return {bits == 1 ? sign_scale_.address() : scale_.address(), 1};
  }
  std::vector<NamedParameter> parameters() const override {
    return {{"scale", scale_.variable()}, {"scale.1", sign_scale_.variable(), 1}};
  }

 protected:
  /// With `is_centered` a level stands for the centre of its bin, (level + ½)·S, and clips where the last bins end.
  NestedWeights(const char* label, const QuantizerOptions& options, bool is_centered = false)
      : label_(label), is_centered_(is_centered), rates_(options.scale_rates), scale_(1), sign_scale_(1) {
    check<ValueError>(!options.per_channel, "quantizer ", label,
                      ": there is no form with a learned scale for each channel");
  }
  struct Range {
    int low, high;
  };
  /// The integers of a width.
  virtual Range range(int bits) const = 0;
  /// The 8-bit master plus 128.
  virtual Tensor<std::uint8_t> master_codes(const Tensor<float>& x, const Tensor<float>& scale) const = 0;
  /// The integers at `bits`, plus `offset`.
  virtual Tensor<std::uint8_t> narrow(const Tensor<std::uint8_t>& master, int bits, int offset) const = 0;

  const char* label_;

 private:
  // At 2 bits, S = 2·mean|w|, where LSQ starts too; the master then reaches 4·mean|w|. From LSQ's own start at 8 bits
  // every 2-bit weight would be zero.
  static constexpr float kStart = 1.0f / 32;

  Quantized narrowed(const Tensor<std::uint8_t>& master, const Tensor<float>& master_scale, const Tensor<float>& x,
                     int bits, bool training) {
    if (bits == 1)
      return {ops::from_master(master, 0, [](int w) { return w >= 0; }),
              ops::sign_map(sign_scale_.use(label_, x, 1.0f, training))};
    const Range r = range(bits);
    // Values of bins are their lower edges, or their centres: (2·level + 1)·S/2.
    const int step = is_centered_ ? 2 : 1;
    Tensor<float> scale = master_scale.clone();
    scale.data()[0] = std::ldexp(scale.data()[0], ops::kMasterBits - bits) / static_cast<float>(step);
    return {narrow(master, bits, -r.low), AffineCodes{.scale = std::move(scale),
                                                      .step = step,
                                                      .zero_point = -step * r.low - (step - 1),
                                                      .qmin = 0,
                                                      .qmax = r.high - r.low}};
  }
  float rate(int bits) const {
    const auto at = rates_.find(bits);
    return at == rates_.end() ? 1.0f : static_cast<float>(at->second);
  }

  bool is_centered_;
  std::map<int, double> rates_;
  LearnedScale scale_, sign_scale_;
};

/// Double Rounding (arXiv 2502.01199): master W_h = clip(round(w/s), −128, 127), half to even; at b bits
/// clip(⌊W_h/2^Δ + ½⌋, −2^(b−1), 2^(b−1) − 1), half up so that b + 1 bit-planes decide.
class DoubleRoundingWeights : public NestedWeights {
 public:
  explicit DoubleRoundingWeights(const QuantizerOptions& options = {})
      : NestedWeights("double_rounding weights", options) {}
  std::string name() const override { return "double_rounding"; }

 protected:
  Range range(int bits) const override { return {-(1 << (bits - 1)), (1 << (bits - 1)) - 1}; }
  Tensor<std::uint8_t> master_codes(const Tensor<float>& x, const Tensor<float>& scale) const override {
    return ops::scaled_codes(label_, x, scale, -128, 127);
  }
  Tensor<std::uint8_t> narrow(const Tensor<std::uint8_t>& master, int bits, int offset) const override {
    return ops::from_master(master, offset, [bits](int w) { return ops::double_rounded(w, bits); });
  }
};

/// Bit-Mixer's weights (arXiv 2103.17267, as later papers give them): at b bits clamp(⌊w/(s·2^Δ)⌋, ±(2^(b−1) − 1)), so
/// that b bit-planes of one master decide. Values are code·s·2^Δ, without an offset of half a step [open]: at 2 bits
/// most weights then become 0 or negative (not measured what that costs); see MidriseNestedWeights.
class FloorNestedWeights : public NestedWeights {
 public:
  explicit FloorNestedWeights(const QuantizerOptions& options = {}) : NestedWeights("floor_nested weights", options) {}
  std::string name() const override { return "floor_nested"; }

 protected:
  Range range(int bits) const override {
    const int limit = (1 << (bits - 1)) - 1;
    return {-limit, limit};
  }
  Tensor<std::uint8_t> master_codes(const Tensor<float>& x, const Tensor<float>& scale) const override {
    return ops::floor_master(label_, x, scale.data()[0]);
  }
  Tensor<std::uint8_t> narrow(const Tensor<std::uint8_t>& master, int bits, int offset) const override {
    return ops::from_master(master, offset, [bits](int w) { return ops::floor_nested(w, bits); });
  }
};

/// Floor-nested weights whose values are the centres of their bins, with all 2^b levels [ours]: (⌊w/(s·2^Δ)⌋ +
/// ½)·s·2^Δ, clipped to −2^(b−1) … 2^(b−1) − 1 before the half is added. b bit-planes of one master decide, and every
/// width is symmetrical around zero.
class MidriseNestedWeights : public NestedWeights {
 public:
  explicit MidriseNestedWeights(const QuantizerOptions& options = {})
      : NestedWeights("midrise_nested weights", options, /*is_centered=*/true) {}
  std::string name() const override { return "midrise_nested"; }

 protected:
  Range range(int bits) const override { return {-(1 << (bits - 1)), (1 << (bits - 1)) - 1}; }
  Tensor<std::uint8_t> master_codes(const Tensor<float>& x, const Tensor<float>& scale) const override {
    return ops::floor_master(label_, x, scale.data()[0]);
  }
  Tensor<std::uint8_t> narrow(const Tensor<std::uint8_t>& master, int bits, int offset) const override {
    return ops::from_master(master, offset, [bits](int w) { return ops::prefix_nested(w, bits); });
  }
};

}  // namespace v0
}  // namespace spnet
