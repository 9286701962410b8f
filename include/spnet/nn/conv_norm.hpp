// A convolution with the batch norm behind it: the unit whose precision may be set apart from the rest.
#pragma once

#include <string>

#include "spnet/autograd/activation.hpp"
#include "spnet/nn/conv.hpp"
#include "spnet/nn/switchable_batch_norm.hpp"

namespace spnet {
inline namespace v0 {
namespace nn {

/// Convolution without bias, then switchable batch norm, with a ReLU after it, or before it where the block order of
/// `quantization` says so. Register it under an empty name: its two children carry the
/// names that the float network has elsewhere ("conv1" and "bn1"), so that checkpoints can be exchanged.
class ConvNorm : public Module {
 public:
  ConvNorm(const std::string& conv_name, const std::string& norm_name, std::int64_t in_channels, std::int64_t out_channels,
           std::int64_t kernel_size, const Conv2d::Options& options, const Quantization& quantization, Random& random,
           bool quantize_conv = true)
      : conv(in_channels, out_channels, kernel_size, options, quantize_conv ? quantization : Quantization{}, random),
        norm(out_channels, quantization.switches),
        order_(quantization.block_order) {
    register_module(conv_name, conv);
    register_module(norm_name, norm);
  }

  Variable<float> forward(const Variable<float>& x) override { return norm.forward(conv.forward(x)); }
  /// relu(norm(conv(x))), or norm(relu(conv(x))).
  Variable<float> forward_relu(const Variable<float>& x) {
    const Variable<float> y = conv.forward(x);
    return order_ == BlockOrder::kNormRelu ? norm.forward_relu(y) : norm.forward(relu(y));
  }
  /// relu(norm(conv(x)) + residual), or norm(relu(conv(x))) + residual.
  Variable<float> forward_add_relu(const Variable<float>& x, const Variable<float>& residual) {
    const Variable<float> y = conv.forward(x);
    return order_ == BlockOrder::kNormRelu ? norm.forward_add_relu(y, residual) : norm.forward(relu(y)) + residual;
  }

  Conv2d conv;
  SwitchableBatchNorm norm;

 private:
  BlockOrder order_;
};

}  // namespace nn
}  // namespace v0
}  // namespace spnet
