// Residual networks of basic blocks: ResNet-20 for small images, ResNet-18 and -34 (He et al., CVPR 2016).
#pragma once

#include <algorithm>
#include <cmath>
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

/// Two 3×3 convolutions and a shortcut, which carries the unquantized post-ReLU value; where the shape changes, the
/// shortcut is a quantized 1×1 convolution with its own batch norm (SP-Nets). In the block order kReluNorm the shortcut is
/// added after the second norm [our form: the paper's is not known]. x [N,H,W,in] → [N,⌈H/stride⌉,⌈W/stride⌉,out].
class BasicBlock : public nn::Module {
 public:
  BasicBlock(std::int64_t in_channels, std::int64_t out_channels, std::int64_t stride, const nn::Quantization& quantization,
             Random& random)
      : first_("conv1", "bn1", in_channels, out_channels, 3, {.stride = stride, .padding = 1}, quantization, random),
        second_("conv2", "bn2", out_channels, out_channels, 3, {.padding = 1}, quantization, random) {
    register_module("", first_);
    register_module("", second_);
    if (stride != 1 || in_channels != out_channels) {
      shortcut_ = std::make_unique<nn::ConvNorm>("0", "1", in_channels, out_channels, 1,
                                                 nn::Conv2d::Options{.stride = stride}, quantization, random);
      register_module("downsample", *shortcut_);
    }
  }

  Variable<float> forward(const Variable<float>& x) override {
    const Variable<float> inner = first_.forward_relu(x);
    return second_.forward_add_relu(inner, shortcut_ ? shortcut_->forward(x) : x);
  }

 private:
  nn::ConvNorm first_, second_;
  std::unique_ptr<nn::ConvNorm> shortcut_;
};

/// Stem, stages of basic blocks (each stage but the first halves the image and doubles the channels), global average
/// pooling, float classifier. x [N,H,W,3] → logits [N,classes].
class ResNet : public nn::Classifier {
 public:
  /// `channels` of the first stage, before the width multiplier.
  ResNet(std::int64_t channels, const std::vector<int>& blocks_per_stage, const ModelOptions& options)
      : ResNet(scaled_channels(channels, options.width), blocks_per_stage, options, Random(options.seed)) {}

  Variable<float> features(const Variable<float>& x) override {
    Variable<float> y = stem_.forward(x);
    for (const auto& block : blocks_) y = block->forward(y);
    return global_avg_pool2d(y);
  }
  Variable<float> classify(const Variable<float>& features) override { return classifier_.forward(features); }

 private:
  ResNet(std::int64_t channels, const std::vector<int>& blocks_per_stage, const ModelOptions& options, Random random)
      : stem_(channels, options, random),
        classifier_((add_blocks(channels, blocks_per_stage, options.quantization, random), out_channels_), options.classes,
                    random) {
    register_module("", stem_);
    std::size_t next = 0;
    for (std::size_t stage = 0; stage < blocks_per_stage.size(); ++stage)
      for (int i = 0; i < blocks_per_stage[stage]; ++i)
        register_module(message("layer", stage + 1, '.', i), *blocks_[next++]);
    register_module("fc", classifier_);
  }

  void add_blocks(std::int64_t channels, const std::vector<int>& blocks_per_stage, const nn::Quantization& quantization,
                  Random& random) {
    out_channels_ = channels;
    for (std::size_t stage = 0; stage < blocks_per_stage.size(); ++stage) {
      for (int i = 0; i < blocks_per_stage[stage]; ++i) {
        const std::int64_t in_channels = out_channels_;
        out_channels_ = channels << stage;
        blocks_.push_back(std::make_unique<BasicBlock>(in_channels, out_channels_, stage > 0 && i == 0 ? 2 : 1,
                                                       quantization, random));
      }
    }
  }

  Stem stem_;
  std::int64_t out_channels_ = 0;
  std::vector<std::unique_ptr<BasicBlock>> blocks_;
  nn::Linear classifier_;
};

/// ResNet-20: three stages of three blocks, 16 channels first.
inline std::unique_ptr<nn::Classifier> resnet20(const ModelOptions& options) {
  return std::make_unique<ResNet>(16, std::vector<int>{3, 3, 3}, options);
}
/// ResNet-18: four stages of two blocks, 64 channels first.
inline std::unique_ptr<nn::Classifier> resnet18(const ModelOptions& options) {
  return std::make_unique<ResNet>(64, std::vector<int>{2, 2, 2, 2}, options);
}
/// ResNet-34: four stages of 3, 4, 6 and 3 blocks, 64 channels first.
inline std::unique_ptr<nn::Classifier> resnet34(const ModelOptions& options) {
  return std::make_unique<ResNet>(64, std::vector<int>{3, 4, 6, 3}, options);
}

inline const bool resnets_registered = register_model("resnet20", resnet20) && register_model("resnet18", resnet18) &&
                                       register_model("resnet34", resnet34);

}  // namespace models
}  // namespace v0
}  // namespace spnet
