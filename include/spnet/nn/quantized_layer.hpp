// What convolution and linear layers share: float master weights, quantizers, and the active precision.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "spnet/nn/module.hpp"
#include "spnet/nn/quantization.hpp"
#include "spnet/quant/mixture.hpp"
#include "spnet/quant/quantizer.hpp"
#include "spnet/quant/registry.hpp"

namespace spnet {
inline namespace v0 {
namespace nn {

/// Widths that an operand has at once, each by its share: see quantize_mixture.
struct WidthMixture {
  std::vector<int> widths;
  Variable<float> shares;  ///< [widths]
};

/// A layer with a weight that is quantized together with the layer's own input, to whatever precision is set. Made
/// without switches it is a float layer and stays one at every precision.
class QuantizedLayer : public Module {
 public:
  Precision precision() const { return precision_; }
  bool is_quantized() const { return weight_quantizer_ != nullptr; }
  const Variable<float>& weight() const { return weight_; }
  /// False: weights stay float whatever the precision, as in the first stage of Bit-Mixer's training. The precision
  /// itself is the same.
  void quantize_weights(bool quantize) { quantizes_weights_ = quantize; }
  /// From now on the layer has `precision`, whatever is set to the network, as float layers do. Throws ValueError where
  /// its quantizers were not made for one of the widths.
  void fix_precision(Precision precision) {
    require_widths(quantization_.weight_widths(), {precision.weight_bits}, "weights");
    require_widths(quantization_.activation_widths(), {precision.activation_bits}, "activations");
    precision_ = precision;
    is_fixed_ = true;
  }
  bool is_fixed() const { return is_fixed_; }
  /// The weight, or the layer's input, is this mixture whatever the precision; none: as the precision says. Throws
  /// ValueError where its quantizer was not made for one of the widths.
  void mix_weights(std::optional<WidthMixture> mixture) {
    if (mixture) require_widths(quantization_.weight_widths(), mixture->widths, "weights");
    weight_mixture_ = std::move(mixture);
  }
  void mix_activations(std::optional<WidthMixture> mixture) {
    if (mixture) require_widths(quantization_.activation_widths(), mixture->widths, "activations");
    activation_mixture_ = std::move(mixture);
  }
  Quantizer* weight_quantizer() { return weight_quantizer_.get(); }
  Quantizer* activation_quantizer() { return activation_quantizer_.get(); }

  /// Bits that each value of the weight takes at `precision`, or at the one that the layer was fixed to.
  int stored_weight_bits(Precision precision) const {
    return is_quantized() ? (is_fixed_ ? precision_ : precision).weight_bits : kFloatBits;
  }

 protected:
  QuantizedLayer(const char* op, const Quantization& quantization) : op_(op), quantization_(quantization) {
    if (quantization.switches.empty()) return;
    for (Precision p : quantization.switches) check_precision(p, op);
    precision_ = *std::max_element(quantization.switches.begin(), quantization.switches.end());
  }

  /// Makes `initial` the weight and, where the layer has switches, the quantizers with their parameters.
  Variable<float> make_weight(Tensor<float> initial, bool signed_input = false) {
    weight_ = Variable<float>(std::move(initial), true);
    register_parameter("weight", weight_, ParameterKind::kWeight);
    if (quantization_.switches.empty()) return weight_;
    weight_quantizer_ =
        make_weight_quantizer(quantization_.weight_quantizer, {.widths = quantization_.weight_widths(),
                                                               .channels = weight_.dim(0),
                                                               .per_channel = quantization_.per_channel,
                                                               .scale_rates = quantization_.scale_rates});
    activation_quantizer_ = make_activation_quantizer(
        quantization_.activation_quantizer, {.widths = quantization_.activation_widths(), .is_signed = signed_input});
    register_quantizer("weight_quantizer.", *weight_quantizer_);
    register_quantizer("activation_quantizer.", *activation_quantizer_);
    return weight_;
  }

  /// Throws ValueError where sums over `length` products of codes could pass int32 at a switch of the layer.
  void require_sums(std::int64_t length) const {
    for (Precision p : quantization_.switches) {
      if (p.weight_bits == kFloatBits || p.activation_bits == kFloatBits) continue;
      const std::int64_t largest = ((std::int64_t{1} << p.weight_bits) - 1) * ((std::int64_t{1} << p.activation_bits) - 1);
      check<ValueError>(length <= std::numeric_limits<std::int32_t>::max() / largest, op_, ": ", length,
                        " products an output could pass int32 at ", p, "; at most ",
                        std::numeric_limits<std::int32_t>::max() / largest, " are safe");
    }
  }

  Variable<float> quantized_input(const Variable<float>& x) {
    if (activation_mixture_)
      return quantize_mixture(x, *activation_quantizer_, activation_mixture_->widths, activation_mixture_->shares,
                              training());
    if (!is_quantized() || precision_.activation_bits == kFloatBits) return x;
    return quantize(x, *activation_quantizer_, precision_.activation_bits, training());
  }
  Variable<float> quantized_weight() {
    if (weight_mixture_)
      return quantize_mixture(weight_, *weight_quantizer_, weight_mixture_->widths, weight_mixture_->shares,
                              training());
    if (!is_quantized() || !quantizes_weights_ || precision_.weight_bits == kFloatBits) return weight_;
    return quantize(weight_, *weight_quantizer_, precision_.weight_bits, training());
  }

  std::string refusal(Precision precision) const override {
    return is_fixed_ ? std::string() : switch_refusal(quantization_.switches, precision);
  }
  void on_precision(Precision precision) override {
    if (is_quantized() && !is_fixed_) precision_ = precision;
  }

  Variable<float> weight_;

 private:
  void register_quantizer(const std::string& prefix, const Quantizer& quantizer) {
    for (const auto& p : quantizer.parameters())
      register_parameter(prefix + p.name, p.variable, ParameterKind::kScale, p.bits);
    for (const auto& b : quantizer.buffers())
      register_buffer(prefix + b.name, quantizer_buffers_.emplace_back(b.tensor), ParameterKind::kScale);
  }

  void require_widths(const std::vector<int>& known, const std::vector<int>& asked, const char* what) const {
    for (const int bits : asked)
      check<ValueError>(is_quantized() && (bits == kFloatBits || std::find(known.begin(), known.end(), bits) != known.end()),
                        op_, ": ", bits, " bits of ", what, " given, the layer was made for ", join(known));
  }

  const char* op_;
  Quantization quantization_;
  std::unique_ptr<Quantizer> weight_quantizer_, activation_quantizer_;
  std::deque<Tensor<float>> quantizer_buffers_;  // share the quantizers' memory
  std::optional<WidthMixture> weight_mixture_, activation_mixture_;
  Precision precision_;
  bool quantizes_weights_ = true, is_fixed_ = false;
};

/// A layer that has a precision of its own, with its dotted name, as "layer1.0.conv1".
struct NamedLayer {
  std::string name;
  QuantizedLayer* layer;
};

/// The quantized layers of a network, in the order of registration.
inline std::vector<NamedLayer> quantized_layers(Module& module) {
  std::vector<NamedLayer> layers;
  module.visit("", [&](const std::string& prefix, Module& below) {
    if (auto* layer = dynamic_cast<QuantizedLayer*>(&below); layer && layer->is_quantized())
      layers.push_back({prefix.substr(0, prefix.empty() ? 0 : prefix.size() - 1), layer});
  });
  return layers;
}

}  // namespace nn
}  // namespace v0
}  // namespace spnet
