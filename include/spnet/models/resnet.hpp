// Residual networks: ResNet-20 for small images, ResNet-18, -34 and -50 (He et al., CVPR 2016).
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

/// What a residual block of any form shares: its inner convolutions and a shortcut, which carries the unquantized
/// post-ReLU value; where the shape changes, the shortcut is a quantized 1×1 convolution with its own batch norm
/// (SP-Nets). In the block order kReluNorm the shortcut is added after the last norm [our form: the paper's is not
/// known]. x [N,H,W,in] → [N,⌈H/stride⌉,⌈W/stride⌉,out].
class ResidualBlock : public nn::Module {
 public:
  Variable<float> forward(const Variable<float>& x) override {
    Variable<float> y = x;
    for (std::size_t i = 0; i + 1 < inner_.size(); ++i) y = inner_[i]->forward_relu(y);
    return inner_.back()->forward_add_relu(y, shortcut_ ? shortcut_->forward(x) : x);
  }

  /// The layer that reads the block's input on the main path.
  const nn::QuantizedLayer& entry() const { return inner_.front()->conv; }
  /// The layer that reads the block's sum first: see ConvNorm::set_next.
  void set_next(const nn::QuantizedLayer* next) {
    inner_.back()->set_next(next);
    if (shortcut_) shortcut_->set_next(next);
  }

 protected:
  explicit ResidualBlock(const nn::Quantization& quantization) : quantization_(quantization) {}

  /// Adds "conv<i>" and "bn<i>" behind what is there.
  void add(std::int64_t in_channels, std::int64_t out_channels, std::int64_t kernel_size,
           const nn::Conv2d::Options& options, Random& random) {
    const std::size_t number = inner_.size() + 1;
    inner_.push_back(std::make_unique<nn::ConvNorm>(message("conv", number), message("bn", number), in_channels,
                                                    out_channels, kernel_size, options, quantization_, random));
    register_module("", *inner_.back());
    if (number > 1) inner_[number - 2]->set_next(&inner_.back()->conv);
  }
  /// Ends the block; its shortcut is a convolution where the shape changes.
  void add_shortcut(std::int64_t in_channels, std::int64_t out_channels, std::int64_t stride, Random& random) {
    if (stride == 1 && in_channels == out_channels) return;
    shortcut_ = std::make_unique<nn::ConvNorm>("0", "1", in_channels, out_channels, 1,
                                               nn::Conv2d::Options{.stride = stride}, quantization_, random);
    register_module("downsample", *shortcut_);
  }

 private:
  nn::Quantization quantization_;
  std::vector<std::unique_ptr<nn::ConvNorm>> inner_;
  std::unique_ptr<nn::ConvNorm> shortcut_;
};

/// Two 3×3 convolutions.
class BasicBlock : public ResidualBlock {
 public:
  static constexpr std::int64_t kExpansion = 1;

  /// From `in_channels` to kExpansion·`channels`.
  BasicBlock(std::int64_t in_channels, std::int64_t channels, std::int64_t stride, const nn::Quantization& quantization,
             Random& random)
      : ResidualBlock(quantization) {
    add(in_channels, channels, 3, {.stride = stride, .padding = 1}, random);
    add(channels, channels, 3, {.padding = 1}, random);
    add_shortcut(in_channels, channels, stride, random);
  }
};

/// A 1×1 convolution, a 3×3, which has the stride, and a 1×1 to four times the channels.
class Bottleneck : public ResidualBlock {
 public:
  static constexpr std::int64_t kExpansion = 4;

  /// From `in_channels` to kExpansion·`channels`.
  Bottleneck(std::int64_t in_channels, std::int64_t channels, std::int64_t stride, const nn::Quantization& quantization,
             Random& random)
      : ResidualBlock(quantization) {
    add(in_channels, channels, 1, {}, random);
    add(channels, channels, 3, {.stride = stride, .padding = 1}, random);
    add(channels, kExpansion * channels, 1, {}, random);
    add_shortcut(in_channels, kExpansion * channels, stride, random);
  }
};

/// Stem, stages of blocks (each stage but the first halves the image and doubles the channels), global average pooling,
/// float classifier. x [N,H,W,3] → logits [N,classes].
template <class Block>
class ResNet : public nn::Classifier {
 public:
  /// `channels` of the first stage, before the width multiplier and a block's expansion.
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
        blocks_.push_back(std::make_unique<Block>(out_channels_, channels << stage, stage > 0 && i == 0 ? 2 : 1,
                                                  quantization, random));
        out_channels_ = Block::kExpansion * (channels << stage);
        if (blocks_.size() > 1) blocks_[blocks_.size() - 2]->set_next(&blocks_.back()->entry());
      }
    }
    stem_.set_next(&blocks_.front()->entry());
  }

  Stem stem_;
  std::int64_t out_channels_ = 0;
  std::vector<std::unique_ptr<Block>> blocks_;
  nn::Linear classifier_;
};

/// ResNet-20: three stages of three blocks, 16 channels first.
inline std::unique_ptr<nn::Classifier> resnet20(const ModelOptions& options) {
  return std::make_unique<ResNet<BasicBlock>>(16, std::vector<int>{3, 3, 3}, options);
}
/// ResNet-18: four stages of two blocks, 64 channels first.
inline std::unique_ptr<nn::Classifier> resnet18(const ModelOptions& options) {
  return std::make_unique<ResNet<BasicBlock>>(64, std::vector<int>{2, 2, 2, 2}, options);
}
/// ResNet-34: four stages of 3, 4, 6 and 3 blocks, 64 channels first.
inline std::unique_ptr<nn::Classifier> resnet34(const ModelOptions& options) {
  return std::make_unique<ResNet<BasicBlock>>(64, std::vector<int>{3, 4, 6, 3}, options);
}
/// ResNet-50: four stages of 3, 4, 6 and 3 bottlenecks, 64 channels first; the stride is that of the 3×3 convolution.
inline std::unique_ptr<nn::Classifier> resnet50(const ModelOptions& options) {
  return std::make_unique<ResNet<Bottleneck>>(64, std::vector<int>{3, 4, 6, 3}, options);
}

inline const bool resnets_registered = register_model("resnet20", resnet20) && register_model("resnet18", resnet18) &&
                                       register_model("resnet34", resnet34) && register_model("resnet50", resnet50);

}  // namespace models
}  // namespace v0
}  // namespace spnet
