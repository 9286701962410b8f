// The first, float layers of a network, by image size.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "spnet/autograd/pool.hpp"
#include "spnet/models/registry.hpp"
#include "spnet/nn/conv_norm.hpp"

namespace spnet {
inline namespace v0 {
namespace models {

/// `channels`·`width`, rounded, at least 1.
inline std::int64_t scaled_channels(std::int64_t channels, double width) {
  return std::max<std::int64_t>(1, std::llround(static_cast<double>(channels) * width));
}

/// Throws ValueError unless `stem` is one of those that networks know.
inline void check_stem(const std::string& stem) {
  check<ValueError>(stem == "cifar" || stem == "tiny-imagenet" || stem == "imagenet", "stem: '", stem,
                    "' given, expected cifar, tiny-imagenet or imagenet");
}

/// The strides of blocks, one after the other: with the stem for the smallest images, "cifar", the first halving is
/// left out.
class BlockStrides {
 public:
  explicit BlockStrides(const std::string& stem) : keep_size_(stem == "cifar") {}
  std::int64_t next(std::int64_t stride) { return stride == 2 && std::exchange(keep_size_, false) ? 1 : stride; }

 private:
  bool keep_size_;
};

/// Float convolution, switchable batch norm, ReLU, by name:
/// "cifar" 3×3 stride 1; "tiny-imagenet" 3×3 stride 1, 3×3 max-pool stride 2; "imagenet" 7×7 stride 2, max-pool stride 2.
class Stem : public nn::Module {
 public:
  /// Throws ValueError on another name.
  Stem(std::int64_t channels, const ModelOptions& options, Random& random)
      : first_("conv1", "bn1", 3, channels, options.stem == "imagenet" ? 7 : 3,
               {.stride = options.stem == "imagenet" ? 2 : 1, .padding = options.stem == "imagenet" ? 3 : 1},
               options.quantization, random, /*quantize_conv=*/false),
        pools_(options.stem != "cifar") {
    check_stem(options.stem);
    register_module("", first_);
  }

  /// See ConvNorm::set_next.
  void set_next(const nn::QuantizedLayer* next) { first_.set_next(next); }

  Variable<float> forward(const Variable<float>& x) override {
    const Variable<float> y = first_.forward_relu(x);
    return pools_ ? max_pool2d(y, {.kernel = 3, .stride = 2, .padding = 1}) : y;
  }

 private:
  nn::ConvNorm first_;
  bool pools_;
};

}  // namespace models
}  // namespace v0
}  // namespace spnet
