// Batch normalisation with its own parameters and statistics for every switch.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "spnet/autograd/norm.hpp"
#include "spnet/nn/module.hpp"
#include "spnet/nn/quantization.hpp"
#include "spnet/nn/quantized_layer.hpp"

namespace spnet {
inline namespace v0 {
namespace nn {

/// Batch norm over the last axis with affine parameters and running statistics of its own for every (weight bits,
/// activation bits) pair (SP-Nets, arXiv 2002.02815). Without switches it is one plain batch norm, used at every
/// precision. The pair is that of the layer before it, where that was told and is quantized; else that of the layer
/// that reads its results; where neither is known, what was set last. x [...,C] → the same shape; gradients are exact.
class SwitchableBatchNorm : public Module {
 public:
  /// Throws ValueError unless channels > 0.
  explicit SwitchableBatchNorm(std::int64_t channels, std::vector<Precision> switches = {},
                               BatchNormOptions options = {})
      : switches_(std::move(switches)), options_(options) {
    check<ValueError>(channels > 0, "SwitchableBatchNorm: ", channels, " channels given, expected > 0");
    for (const Precision p : switches_) add_norm(to_string(p) + ".", channels);
    if (switches_.empty()) {
      add_norm("", channels);
    } else {
      precision_ = *std::max_element(switches_.begin(), switches_.end());
    }
  }

  Variable<float> forward(const Variable<float>& x) override {
    Norm& n = norms_[active()];
    return batch_norm(x, n.gamma, n.beta, n.running_mean, n.running_var, options());
  }
  /// relu(forward(x)), in one pass.
  Variable<float> forward_relu(const Variable<float>& x) {
    Norm& n = norms_[active()];
    return batch_norm_relu(x, n.gamma, n.beta, n.running_mean, n.running_var, options());
  }
  /// relu(forward(x) + residual), in one pass; `residual` has the shape of `x`.
  Variable<float> forward_add_relu(const Variable<float>& x, const Variable<float>& residual) {
    Norm& n = norms_[active()];
    return batch_norm_add_relu(x, residual, n.gamma, n.beta, n.running_mean, n.running_var, options());
  }

  /// The layers whose results it normalises and that read its own, which must live as long; null: none that is known.
  void set_neighbours(const QuantizedLayer* before, const QuantizedLayer* after) {
    before_ = before;
    after_ = after;
  }
  /// How much of a batch's statistics goes into the running ones, 0 to 1.
  void set_momentum(double momentum) { options_.momentum = momentum; }
  double momentum() const { return options_.momentum; }

  const std::vector<Precision>& switches() const { return switches_; }
  std::int64_t channels() const { return norms_.front().gamma.size(); }

 protected:
  struct Norm {
    Variable<float> gamma, beta;
    Tensor<float> running_mean, running_var;
  };

  /// Makes one more norm; its parameters' names begin with `prefix`.
  void add_norm(const std::string& prefix, std::int64_t channels) {
    Norm& n = norms_.emplace_back(Norm{Variable<float>(Tensor<float>::ones({channels}), true),
                                       Variable<float>(Tensor<float>::zeros({channels}), true),
                                       Tensor<float>::zeros({channels}), Tensor<float>::ones({channels})});
    register_parameter(prefix + "weight", n.gamma, ParameterKind::kNorm);
    register_parameter(prefix + "bias", n.beta, ParameterKind::kNorm);
    register_buffer(prefix + "running_mean", n.running_mean, ParameterKind::kNorm);
    register_buffer(prefix + "running_var", n.running_var, ParameterKind::kNorm);
  }
  /// The norm in use.
  virtual std::size_t active() const { return switches_.empty() ? 0 : place_of(precision_before()); }
  Norm& norm(std::size_t i) { return norms_[i]; }

  static bool is_quantized(const QuantizedLayer* layer) { return layer && layer->is_quantized(); }
  /// That of the layer before, else that of the layer behind, else what was set last.
  Precision precision_before() const { return is_quantized(before_) ? before_->precision() : precision_of(after_); }
  /// The same the other way round.
  Precision precision_after() const { return is_quantized(after_) ? after_->precision() : precision_of(before_); }
  std::size_t place_of(Precision p) const {
    const auto at = std::find(switches_.begin(), switches_.end(), p);
    if (at != switches_.end()) return static_cast<std::size_t>(at - switches_.begin());
    throw ValueError(message("batch norm: a layer beside it is at ", p, ", it was made for ", join(switches_)));
  }

  std::string refusal(Precision p) const override { return switch_refusal(switches_, p); }
  void on_precision(Precision p) override { precision_ = p; }

 private:
  Precision precision_of(const QuantizedLayer* layer) const {
    return is_quantized(layer) ? layer->precision() : precision_;
  }
  BatchNormOptions options() const {
    BatchNormOptions out = options_;
    out.training = training();
    return out;
  }

  std::vector<Precision> switches_;
  std::deque<Norm> norms_;  // which stay where they are
  BatchNormOptions options_;
  Precision precision_;  // what was set last
  const QuantizedLayer* before_ = nullptr;
  const QuantizedLayer* after_ = nullptr;
};

}  // namespace nn
}  // namespace v0
}  // namespace spnet
