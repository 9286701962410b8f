// A network and quantizers that the library does not know, as a user writes them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "spnet/autograd/activation.hpp"
#include "spnet/autograd/arithmetic.hpp"
#include "spnet/autograd/pool.hpp"
#include "spnet/core/random_fill.hpp"
#include "spnet/nn/conv_norm.hpp"
#include "spnet/nn/linear.hpp"
#include "spnet/quant/registry.hpp"

namespace spnet::test {

/// Weights −1, 0, +1 times the tensor's mean magnitude, at 2 bits and more: three of the four codes of 2 bits.
class TernaryWeights : public Quantizer {
 public:
  std::string name() const override { return "test_ternary"; }
  Quantized lower(const Tensor<float>& x, int, bool) override {
    double sum = 0;
    for (const float v : x.span()) sum += std::abs(static_cast<double>(v));
    const float mean = static_cast<float>(sum / static_cast<double>(x.size())) + 1e-6f;
    Tensor<std::uint8_t> codes(x.shape());
    for (std::size_t i = 0; i < x.span().size(); ++i)
      codes.span()[i] = static_cast<std::uint8_t>(1 + (x.span()[i] > 0.7f * mean) - (x.span()[i] < -0.7f * mean));
    return {codes, AffineCodes{.scale = Tensor<float>::full({1}, mean), .zero_point = 1, .qmin = 0, .qmax = 2}};
  }
  void backward(const Tensor<float>& gradient, const QuantizerCall&, InputGradients<float>& into) const override {
    into.add(0, gradient);
  }
};

/// Activations to a table of uneven values, negative ones too.
class UnevenActivations : public Quantizer {
 public:
  std::string name() const override { return "test_uneven"; }
  Quantized lower(const Tensor<float>& x, int bits, bool) override {
    const int levels = 1 << bits;
    Tensor<float> table({levels});
    for (int i = 0; i < levels; ++i)
      table(i) = static_cast<float>((i - levels / 4) * std::abs(i - levels / 4)) / static_cast<float>(levels);
    Tensor<std::uint8_t> codes(x.shape());
    for (std::size_t i = 0; i < x.span().size(); ++i) {
      int code = 0;
      while (code + 1 < levels && x.span()[i] >= 0.5f * (table(code) + table(code + 1))) ++code;
      codes.span()[i] = static_cast<std::uint8_t>(code);
    }
    return {codes, LutCodes{table}};
  }
  void backward(const Tensor<float>& gradient, const QuantizerCall&, InputGradients<float>& into) const override {
    into.add(0, gradient);
  }
};

/// Activations to even steps with an offset, which no fixed form tells: −0.5, 0, 0.5, ….
class OffsetActivations : public Quantizer {
 public:
  std::string name() const override { return "test_offset"; }
  Quantized lower(const Tensor<float>& x, int bits, bool) override {
    const int most = (1 << bits) - 1;
    Tensor<std::uint8_t> codes(x.shape());
    for (std::size_t i = 0; i < x.span().size(); ++i)
      codes.span()[i] =
          static_cast<std::uint8_t>(std::clamp(std::floor(x.span()[i] * 2.0f + 1.5f), 0.0f, static_cast<float>(most)));
    return {codes, AffineCodes{.scale = Tensor<float>::full({1}, 0.5f), .zero_point = 1, .qmin = 0, .qmax = most}};
  }
  void backward(const Tensor<float>& gradient, const QuantizerCall&, InputGradients<float>& into) const override {
    into.add(0, gradient);
  }
};

inline void register_own_quantizers() {
  static const bool once = [] {
    register_quantizer("test_ternary", {[](const auto&) { return std::make_unique<TernaryWeights>(); }, nullptr});
    register_quantizer("test_uneven", {nullptr, [](const auto&) { return std::make_unique<UnevenActivations>(); }});
    register_quantizer("test_offset", {nullptr, [](const auto&) { return std::make_unique<OffsetActivations>(); }});
    return true;
  }();
  static_cast<void>(once);
}

/// Two branches, one depthwise, joined; a gate of each channel; a bias, a PReLU, pools, a classifier that is quantized.
class OwnNetwork : public nn::Module {
 public:
  explicit OwnNetwork(const nn::Quantization& q, std::uint64_t seed = 5) : OwnNetwork(q, Random(seed)) {}

  Variable<float> forward(const Variable<float>& x) override {
    const Variable<float> a = stem_.forward_relu(x);
    const Variable<float> wide = wide_.forward_relu(a), deep = prelu(deep_.forward(a), slope_);
    const Variable<float> joined = concat<float>({wide, deep, a}, -1);
    const Variable<float> gate = sigmoid(affine(avg_pool2d(joined, {.kernel = 8}), 2.0f, -0.5f));
    const Variable<float> half = narrow(joined * gate, 3, 4, 24);
    const Variable<float> mixed =
        clamp(mix_.forward(max_pool2d(half, {.kernel = 3, .stride = 2, .padding = 1})), -1.0f, 4.0f);
    const Variable<float> sum = shortcut_.forward_add_relu(mixed, mixed);
    const Variable<float> flat = reshape(avg_pool2d(sum, {.kernel = 2}), {x.dim(0), -1});
    return classifier_.forward(tanh(flat) - 0.25f);
  }

  nn::ConvNorm& wide() { return wide_; }
  nn::ConvNorm& deep() { return deep_; }

 private:
  OwnNetwork(const nn::Quantization& q, Random random)
      : stem_("stem", "stem_norm", 3, 16, 3, {.padding = 1}, q, random, /*quantize_conv=*/false),
        wide_("wide", "wide_norm", 16, 16, 3, {.padding = 1, .groups = 2}, q, random),
        deep_("deep", "deep_norm", 16, 16, 3, {.padding = 1, .groups = 16}, q, random),
        mix_(24, 20, 1, {.bias = true}, q, random),
        shortcut_("shortcut", "shortcut_norm", 20, 20, 3, {.padding = 1}, q, random),
        slope_(Tensor<float>::from({1}, {0.25f}), true),
        classifier_(80, 7, q, random) {
    register_module("", stem_);
    register_module("", wide_);
    register_module("", deep_);
    register_module("mix", mix_);
    register_module("", shortcut_);
    register_parameter("slope", slope_, nn::ParameterKind::kWeight);
    register_module("fc", classifier_);
  }

  nn::ConvNorm stem_, wide_, deep_;
  nn::Conv2d mix_;
  nn::ConvNorm shortcut_;
  Variable<float> slope_;
  nn::Linear classifier_;
};

/// A few batches in training mode at every precision, so that running statistics and learned scales are there.
inline void settle(nn::Module& module, const std::vector<Precision>& precisions, const Shape& images) {
  const NoGradGuard no_grad;
  module.train();
  for (const Precision p : precisions) {
    module.set_precision(p);
    for (std::uint64_t batch = 0; batch < 3; ++batch) {
      Random random(static_cast<std::uint64_t>(100 * p.weight_bits + p.activation_bits) + 10000 * batch);
      Tensor<float> x(images);
      fill_normal(x.span(), random);
      module(Variable<float>(x));
    }
  }
  module.eval();
}

}  // namespace spnet::test
