// Batch normalisation with its own parameters and statistics for every switch.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "spnet/autograd/norm.hpp"
#include "spnet/nn/module.hpp"
#include "spnet/nn/quantization.hpp"

namespace spnet {
inline namespace v0 {
namespace nn {

/// Batch norm over the last axis with affine parameters and running statistics of its own for every (weight bits,
/// activation bits) pair (SP-Nets, arXiv 2002.02815). Without switches it is one plain batch norm, used at every
/// precision. x [...,C] → the same shape; gradients are exact.
class SwitchableBatchNorm : public Module {
 public:
  /// Throws ValueError unless channels > 0.
  explicit SwitchableBatchNorm(std::int64_t channels, std::vector<Precision> switches = {}, BatchNormOptions options = {})
      : switches_(std::move(switches)), options_(options) {
    check<ValueError>(channels > 0, "SwitchableBatchNorm: ", channels, " channels given, expected > 0");
    for (std::size_t i = 0; i < std::max<std::size_t>(switches_.size(), 1); ++i) {
      norms_.push_back({Variable<float>(Tensor<float>::ones({channels}), true),
                        Variable<float>(Tensor<float>::zeros({channels}), true), Tensor<float>::zeros({channels}),
                        Tensor<float>::ones({channels})});
      const std::string prefix = switches_.empty() ? "" : to_string(switches_[i]) + ".";
      register_parameter(prefix + "weight", norms_[i].gamma, ParameterKind::kNorm);
      register_parameter(prefix + "bias", norms_[i].beta, ParameterKind::kNorm);
      register_buffer(prefix + "running_mean", norms_[i].running_mean, ParameterKind::kNorm);
      register_buffer(prefix + "running_var", norms_[i].running_var, ParameterKind::kNorm);
    }
    if (!switches_.empty())
      active_ = static_cast<std::size_t>(std::max_element(switches_.begin(), switches_.end()) - switches_.begin());
  }

  Variable<float> forward(const Variable<float>& x) override {
    Norm& n = norms_[active_];
    return batch_norm(x, n.gamma, n.beta, n.running_mean, n.running_var, options());
  }
  /// relu(forward(x)), in one pass.
  Variable<float> forward_relu(const Variable<float>& x) {
    Norm& n = norms_[active_];
    return batch_norm_relu(x, n.gamma, n.beta, n.running_mean, n.running_var, options());
  }
  /// relu(forward(x) + residual), in one pass; `residual` has the shape of `x`.
  Variable<float> forward_add_relu(const Variable<float>& x, const Variable<float>& residual) {
    Norm& n = norms_[active_];
    return batch_norm_add_relu(x, residual, n.gamma, n.beta, n.running_mean, n.running_var, options());
  }

  const std::vector<Precision>& switches() const { return switches_; }
  std::int64_t channels() const { return norms_[0].gamma.size(); }

 protected:
  std::string refusal(Precision p) const override { return switch_refusal(switches_, p); }
  void on_precision(Precision p) override {
    if (!switches_.empty())
      active_ = static_cast<std::size_t>(std::find(switches_.begin(), switches_.end(), p) - switches_.begin());
  }

 private:
  struct Norm {
    Variable<float> gamma, beta;
    Tensor<float> running_mean, running_var;
  };
  BatchNormOptions options() const {
    BatchNormOptions out = options_;
    out.training = training();
    return out;
  }

  std::vector<Precision> switches_;
  std::vector<Norm> norms_;
  BatchNormOptions options_;
  std::size_t active_ = 0;
};

}  // namespace nn
}  // namespace v0
}  // namespace spnet
