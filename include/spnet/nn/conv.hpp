// The convolution layer, at any precision.
#pragma once

#include <memory>
#include <string>

#include "spnet/autograd/arithmetic.hpp"
#include "spnet/autograd/conv.hpp"
#include "spnet/nn/init.hpp"
#include "spnet/nn/quantized_layer.hpp"

namespace spnet {
inline namespace v0 {
namespace nn {

/// A 2-D convolution that quantizes its own input and its weights to the active precision.
/// x [N,H,W,in] → [N,H',W',out]; weight [out,k,k,in/groups], float masters for every width.
/// Gradients pass the quantizers by their surrogates and are exact otherwise.
class Conv2d : public QuantizedLayer {
 public:
  struct Options {
    std::int64_t stride = 1, padding = 0, dilation = 1, groups = 1;
    bool bias = false;
    bool signed_input = false;  ///< quantizers of the input keep both signs, where they know that form
  };

  /// Weights start Kaiming-normal by fan-out. Throws ValueError on non-positive sizes or groups that do not divide,
  /// and where sums of codes at the widest switch could pass int32.
  Conv2d(std::int64_t in_channels, std::int64_t out_channels, std::int64_t kernel_size, const Options& options,
         const Quantization& quantization, Random& random)
      : QuantizedLayer("Conv2d", quantization), options_(options) {
    check<ValueError>(in_channels > 0 && out_channels > 0 && kernel_size > 0, "Conv2d: ", in_channels, " to ", out_channels,
                      " channels, kernel ", kernel_size, " given, expected sizes > 0");
    check<ValueError>(options.groups > 0 && in_channels % options.groups == 0 && out_channels % options.groups == 0,
                      "Conv2d: ", options.groups, " groups do not divide ", in_channels, " and ", out_channels, " channels");
    is_depthwise_ = options.groups > 1 && options.groups == in_channels && in_channels == out_channels;
    const std::int64_t taps = kernel_size * kernel_size;
    require_sums(taps * in_channels / options.groups);
    weight_ = make_weight(kaiming_normal({out_channels, kernel_size, kernel_size, in_channels / options.groups},
                                         taps * out_channels / options.groups, random),
                          options.signed_input);
    if (options.bias) {
      bias_ = Variable<float>(Tensor<float>::zeros({out_channels}), true);
      register_parameter("bias", bias_, ParameterKind::kBias);
    }
  }
  Conv2d(std::int64_t in_channels, std::int64_t out_channels, std::int64_t kernel_size, const Options& options,
         Random& random)
      : Conv2d(in_channels, out_channels, kernel_size, options, Quantization{}, random) {}

  Variable<float> forward(const Variable<float>& x) override {
    const Conv2dOptions options{.stride = options_.stride, .padding = options_.padding, .dilation = options_.dilation,
                                .groups = groups()};
    const Variable<float> y = conv2d(quantized_input(x), quantized_weight(), options);
    return bias_.defined() ? y + bias_ : y;
  }

  /// Those it was made with; what was pruned since shows in the weight.
  const Options& options() const { return options_; }

 private:
  // Of a depthwise convolution, as many as there are filters: some may have been removed.
  std::int64_t groups() const { return is_depthwise_ ? weight_.dim(0) : options_.groups; }

  Options options_;
  bool is_depthwise_ = false;
  Variable<float> bias_;
};

}  // namespace nn
}  // namespace v0
}  // namespace spnet
