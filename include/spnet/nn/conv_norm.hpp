// A convolution with the batch norm behind it: the unit whose precision may be set apart from the rest.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "spnet/autograd/activation.hpp"
#include "spnet/nn/conv.hpp"
#include "spnet/nn/switchable_batch_norm.hpp"
#include "spnet/nn/transitional_batch_norm.hpp"

namespace spnet {
inline namespace v0 {
namespace nn {

/// Convolution without bias, then batch norm of the kind that `quantization` asks for, with a ReLU after it, or before
/// it where the block order of `quantization` says so. Register it under an empty name: its two children carry the
/// names that the float network has elsewhere ("conv1" and "bn1"), so that checkpoints can be exchanged.
class ConvNorm : public Module {
 public:
  ConvNorm(const std::string& conv_name, const std::string& norm_name, std::int64_t in_channels,
           std::int64_t out_channels, std::int64_t kernel_size, const Conv2d::Options& options,
           const Quantization& quantization, Random& random, bool quantize_conv = true)
      : conv(in_channels, out_channels, kernel_size, options, quantize_conv ? quantization : Quantization{}, random),
        norm_(make_norm(out_channels, quantization)),
        order_(quantization.block_order) {
    register_module(conv_name, conv);
    register_module(norm_name, *norm_);
    set_next(nullptr);
  }

  /// The layer that reads the results first; null: none, or a float layer. It must live as long as this.
  void set_next(const QuantizedLayer* next) { norm_->set_neighbours(&conv, next); }
  SwitchableBatchNorm& norm() { return *norm_; }

  Variable<float> forward(const Variable<float>& x) override { return norm_->forward(conv.forward(x)); }
  /// relu(norm(conv(x))), or norm(relu(conv(x))).
  Variable<float> forward_relu(const Variable<float>& x) {
    const Variable<float> y = conv.forward(x);
    return order_ == BlockOrder::kNormRelu ? norm_->forward_relu(y) : norm_->forward(relu(y));
  }
  /// relu(norm(conv(x)) + residual), or norm(relu(conv(x))) + residual.
  Variable<float> forward_add_relu(const Variable<float>& x, const Variable<float>& residual) {
    const Variable<float> y = conv.forward(x);
    return order_ == BlockOrder::kNormRelu ? norm_->forward_add_relu(y, residual) : norm_->forward(relu(y)) + residual;
  }

  Conv2d conv;

 private:
  static std::unique_ptr<SwitchableBatchNorm> make_norm(std::int64_t channels, const Quantization& quantization) {
    switch (quantization.norm) {
      case NormKind::kTransitional:
        return std::make_unique<TransitionalBatchNorm>(channels, quantization.switches);
      case NormKind::kShared:
        return std::make_unique<SwitchableBatchNorm>(channels);
      case NormKind::kSwitchable:
        break;
    }
    return std::make_unique<SwitchableBatchNorm>(channels, quantization.switches);
  }

  std::unique_ptr<SwitchableBatchNorm> norm_;
  BlockOrder order_;
};

}  // namespace nn
}  // namespace v0
}  // namespace spnet
