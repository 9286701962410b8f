// The fully connected layer, at any precision.
#pragma once

#include "spnet/autograd/conv.hpp"
#include "spnet/nn/init.hpp"
#include "spnet/nn/quantized_layer.hpp"

namespace spnet {
inline namespace v0 {
namespace nn {

/// x [N,in] → x·weightᵀ + bias [N,out]; weight [out,in]. Quantized and multiplied as Conv2d is, in integers where both
/// are codes; the classifiers of `models` are float altogether.
class Linear : public QuantizedLayer {
 public:
  /// Starts uniform in ±1/√in, as PyTorch does. Throws ValueError on non-positive sizes, and where sums
  /// of codes at the widest switch could pass int32.
  Linear(std::int64_t in_features, std::int64_t out_features, const Quantization& quantization, Random& random)
      : QuantizedLayer("Linear", quantization) {
    check<ValueError>(in_features > 0 && out_features > 0, "Linear: ", in_features, " to ", out_features,
                      " features given, expected > 0");
    require_sums(in_features);
    weight_ = make_weight(uniform_fan_in({out_features, in_features}, in_features, random));
    bias_ = Variable<float>(uniform_fan_in({out_features}, in_features, random), true);
    register_parameter("bias", bias_, ParameterKind::kBias);
  }
  Linear(std::int64_t in_features, std::int64_t out_features, Random& random)
      : Linear(in_features, out_features, Quantization{}, random) {}

  Variable<float> forward(const Variable<float>& x) override {
    return linear(quantized_input(x), quantized_weight(), bias_);
  }

 private:
  Variable<float> bias_;
};

}  // namespace nn
}  // namespace v0
}  // namespace spnet
