// MobileNet-V1: depthwise-separable convolutions (Howard et al., arXiv 1704.04861).
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "spnet/autograd/pool.hpp"
#include "spnet/models/registry.hpp"
#include "spnet/models/stem.hpp"
#include "spnet/nn/conv_norm.hpp"
#include "spnet/nn/linear.hpp"

namespace spnet {
inline namespace v0 {
namespace models {

/// 3×3 depthwise, then 1×1 convolution, each with batch norm and ReLU, both quantized.
/// x [N,H,W,in] → [N,⌈H/stride⌉,⌈W/stride⌉,out].
class SeparableBlock : public nn::Module {
 public:
  SeparableBlock(std::int64_t in_channels, std::int64_t out_channels, std::int64_t stride,
                 const nn::Quantization& quantization, Random& random)
      : depthwise_("conv_dw", "bn_dw", in_channels, in_channels, 3,
                   {.stride = stride, .padding = 1, .groups = in_channels}, quantization, random),
        pointwise_("conv_pw", "bn_pw", in_channels, out_channels, 1, {}, quantization, random) {
    register_module("", depthwise_);
    register_module("", pointwise_);
    depthwise_.set_next(&pointwise_.conv);
  }
  /// The layer that reads the block's input.
  const nn::QuantizedLayer& entry() const { return depthwise_.conv; }
  /// See ConvNorm::set_next.
  void set_next(const nn::QuantizedLayer* next) { pointwise_.set_next(next); }
  Variable<float> forward(const Variable<float>& x) override {
    return pointwise_.forward_relu(depthwise_.forward_relu(x));
  }

 private:
  nn::ConvNorm depthwise_, pointwise_;
};

/// Float stem, thirteen separable blocks, global average pooling, float classifier. The stems for small images leave
/// out as many of the halvings: "imagenet" divides the image by 32, "tiny-imagenet" by 16, "cifar" by 8.
/// x [N,H,W,3] → logits [N,classes]. Throws ValueError on another stem.
class MobileNetV1 : public nn::Classifier {
 public:
  explicit MobileNetV1(const ModelOptions& options) : MobileNetV1(options, Random(options.seed)) {}

  Variable<float> features(const Variable<float>& x) override {
    Variable<float> y = stem_.forward_relu(x);
    for (const auto& block : blocks_) y = block->forward(y);
    return global_avg_pool2d(y);
  }
  Variable<float> classify(const Variable<float>& features) override { return classifier_.forward(features); }

 private:
  struct Plan {
    std::int64_t channels, stride;
  };
  static constexpr std::array<Plan, 13> kPlan{{{64, 1}, {128, 2}, {128, 1}, {256, 2}, {256, 1}, {512, 2}, {512, 1},
                                               {512, 1}, {512, 1}, {512, 1}, {512, 1}, {1024, 2}, {1024, 1}}};

  MobileNetV1(const ModelOptions& options, Random random)
      : stem_("conv1", "bn1", 3, scaled_channels(32, options.width), 3,
              {.stride = options.stem == "imagenet" ? 2 : 1, .padding = 1}, options.quantization, random,
              /*quantize_conv=*/false),
        classifier_((add_blocks(options, random), scaled_channels(kPlan.back().channels, options.width)), options.classes,
                    random) {
    check_stem(options.stem);
    register_module("", stem_);
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      if (i > 0) blocks_[i - 1]->set_next(&blocks_[i]->entry());
      register_module(message("blocks.", i), *blocks_[i]);
    }
    stem_.set_next(&blocks_.front()->entry());
    register_module("fc", classifier_);
  }

  void add_blocks(const ModelOptions& options, Random& random) {
    std::int64_t in_channels = scaled_channels(32, options.width);
    BlockStrides strides(options.stem);
    for (const Plan& plan : kPlan) {
      const std::int64_t out_channels = scaled_channels(plan.channels, options.width);
      blocks_.push_back(std::make_unique<SeparableBlock>(in_channels, out_channels, strides.next(plan.stride),
                                                         options.quantization, random));
      in_channels = out_channels;
    }
  }

  nn::ConvNorm stem_;
  std::vector<std::unique_ptr<SeparableBlock>> blocks_;
  nn::Linear classifier_;
};

/// MobileNet-V1 (Howard et al., arXiv 1704.04861).
inline std::unique_ptr<nn::Classifier> mobilenet_v1(const ModelOptions& options) {
  return std::make_unique<MobileNetV1>(options);
}

inline const bool mobilenet_v1_registered = register_model("mobilenet_v1", mobilenet_v1);

}  // namespace models
}  // namespace v0
}  // namespace spnet
