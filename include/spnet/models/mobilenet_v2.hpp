// MobileNet-V2: inverted residuals with linear bottlenecks (Sandler et al., arXiv 1801.04381).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "spnet/autograd/arithmetic.hpp"
#include "spnet/autograd/pool.hpp"
#include "spnet/models/registry.hpp"
#include "spnet/models/stem.hpp"
#include "spnet/nn/conv_norm.hpp"
#include "spnet/nn/linear.hpp"

namespace spnet {
inline namespace v0 {
namespace models {

/// 1×1 convolution to `expansion` times the channels (left out where that is 1), 3×3 depthwise with the stride, 1×1
/// convolution without ReLU; x is added where the shape stays. x [N,H,W,in] → [N,⌈H/stride⌉,⌈W/stride⌉,out]. What a
/// block hands on has both signs, and its readers' quantizers keep them.
class InvertedResidual : public nn::Module {
 public:
  InvertedResidual(std::int64_t in_channels, std::int64_t out_channels, std::int64_t stride, std::int64_t expansion,
                   const nn::Quantization& quantization, Random& random)
      : adds_(stride == 1 && in_channels == out_channels) {
    const std::int64_t channels = expansion * in_channels;
    const auto add = [&](const std::string& name, std::int64_t from, std::int64_t to, std::int64_t kernel,
                         const nn::Conv2d::Options& options) {
      parts_.push_back(std::make_unique<nn::ConvNorm>("conv_" + name, "bn_" + name, from, to, kernel, options,
                                                      quantization, random));
      register_module("", *parts_.back());
      if (parts_.size() > 1) parts_[parts_.size() - 2]->set_next(&parts_.back()->conv);
    };
    if (expansion > 1) add("expand", in_channels, channels, 1, {.signed_input = true});
    add("dw", channels, channels, 3, {.stride = stride, .padding = 1, .groups = channels});
    add("project", channels, out_channels, 1, {});
  }
  /// The layer that reads the block's input.
  const nn::QuantizedLayer& entry() const { return parts_.front()->conv; }
  /// See ConvNorm::set_next.
  void set_next(const nn::QuantizedLayer* next) { parts_.back()->set_next(next); }

  Variable<float> forward(const Variable<float>& x) override {
    Variable<float> y = x;
    for (std::size_t i = 0; i + 1 < parts_.size(); ++i) y = parts_[i]->forward_relu(y);
    y = parts_.back()->forward(y);
    return adds_ ? y + x : y;
  }

 private:
  bool adds_;
  std::vector<std::unique_ptr<nn::ConvNorm>> parts_;
};

/// Float stem, seventeen inverted residuals, a 1×1 convolution to 1280 channels, global average pooling, float
/// classifier. ReLU stands where the paper has ReLU6: quantizers bound activations anyway, and ReLU is fused with the
/// norm before it. The stems for small images leave out as many of the halvings: "imagenet" divides the image by 32,
/// "tiny-imagenet" by 16, "cifar" by 8. x [N,H,W,3] → logits [N,classes]. Throws ValueError on another stem.
class MobileNetV2 : public nn::Classifier {
 public:
  explicit MobileNetV2(const ModelOptions& options) : MobileNetV2(options, Random(options.seed)) {}

  Variable<float> features(const Variable<float>& x) override {
    Variable<float> y = stem_.forward_relu(x);
    for (const auto& block : blocks_) y = block->forward(y);
    return global_avg_pool2d(last_->forward_relu(y));
  }
  Variable<float> classify(const Variable<float>& features) override { return classifier_.forward(features); }

 private:
  struct Stage {
    std::int64_t expansion, channels, blocks, stride;
  };
  static constexpr std::array<Stage, 7> kStages{
      {{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}}};

  // The last convolution does not get narrower than published.
  static std::int64_t last_channels(double width) { return scaled_channels(1280, std::max(width, 1.0)); }

  MobileNetV2(const ModelOptions& options, Random random)
      : stem_("conv1", "bn1", 3, scaled_channels(32, options.width), 3,
              {.stride = options.stem == "imagenet" ? 2 : 1, .padding = 1}, options.quantization, random,
              /*quantize_conv=*/false),
        classifier_((add_blocks(options, random), last_channels(options.width)), options.classes, random) {
    check_stem(options.stem);
    register_module("", stem_);
    stem_.set_next(&blocks_.front()->entry());
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      blocks_[i]->set_next(i + 1 < blocks_.size() ? &blocks_[i + 1]->entry() : &last_->conv);
      register_module(message("blocks.", i), *blocks_[i]);
    }
    register_module("", *last_);
    register_module("fc", classifier_);
  }

  void add_blocks(const ModelOptions& options, Random& random) {
    std::int64_t in_channels = scaled_channels(32, options.width);
    BlockStrides strides(options.stem);
    for (const Stage& stage : kStages) {
      const std::int64_t out_channels = scaled_channels(stage.channels, options.width);
      for (std::int64_t i = 0; i < stage.blocks; ++i) {
        const std::int64_t stride = strides.next(i == 0 ? stage.stride : 1);
        blocks_.push_back(std::make_unique<InvertedResidual>(in_channels, out_channels, stride, stage.expansion,
                                                             options.quantization, random));
        in_channels = out_channels;
      }
    }
    last_ = std::make_unique<nn::ConvNorm>("conv2", "bn2", in_channels, last_channels(options.width), 1,
                                           nn::Conv2d::Options{.signed_input = true}, options.quantization, random);
  }

  nn::ConvNorm stem_;
  std::vector<std::unique_ptr<InvertedResidual>> blocks_;
  std::unique_ptr<nn::ConvNorm> last_;
  nn::Linear classifier_;
};

/// MobileNet-V2 (Sandler et al., arXiv 1801.04381).
inline std::unique_ptr<nn::Classifier> mobilenet_v2(const ModelOptions& options) {
  return std::make_unique<MobileNetV2>(options);
}

inline const bool mobilenet_v2_registered = register_model("mobilenet_v2", mobilenet_v2);

}  // namespace models
}  // namespace v0
}  // namespace spnet
