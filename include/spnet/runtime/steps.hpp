// What a plan is made of: steps that read and write buffers of one block of memory. A convolution hands its sums on
// while they are in the cache: normalised, added to a residual, through a relu, and as the codes that the next layers
// read.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "spnet/core/parallel.hpp"
#include "spnet/ops/activation.hpp"
#include "spnet/ops/batch_norm.hpp"
#include "spnet/ops/elementwise.hpp"
#include "spnet/ops/pool.hpp"
#include "spnet/ops/softmax.hpp"
#include "spnet/runtime/graph.hpp"
#include "spnet/runtime/product.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

/// A buffer of a plan, by number; −1: none.
using BufferId = std::int32_t;
inline constexpr BufferId kNoBuffer = -1;

/// Where the buffers of a plan lie while it runs.
class Memory {
 public:
  Memory(const Buffer& block, std::span<const std::int64_t> offsets) : block_(block), offsets_(offsets) {}
  template <class T>
  T* at(BufferId id) const {
    return id == kNoBuffer
               ? nullptr
               : reinterpret_cast<T*>(static_cast<std::byte*>(block_.data()) + offsets_[static_cast<std::size_t>(id)]);
  }
  Tensor<float> tensor(BufferId id, const Shape& shape) const {
    return Tensor<float>(block_, static_cast<std::size_t>(offsets_[static_cast<std::size_t>(id)]), shape);
  }

 private:
  const Buffer& block_;
  std::span<const std::int64_t> offsets_;
};

/// What codes are to be as floats, if anything: the values that they stand for, or the integers that the scale stands
/// before.
enum class Decoding : std::uint8_t { kNone, kValues, kIntegers };

/// Codes that a step leaves for a later one, and floats of them.
struct CodesOutput {
  const CodeRule* rule = nullptr;
  Decoding decoding = Decoding::kNone;
  bool needs_codes = false;  ///< else the floats are enough
  BufferId codes = kNoBuffer, decoded = kNoBuffer;
};

namespace detail {

inline float decoding_scale(const AffineCodes& map, Decoding decoding) {
  return decoding == Decoding::kIntegers ? 1.0f : map.scale.data()[0];
}
inline void decode(const CodeRule& rule, Decoding decoding, const std::uint8_t* codes, std::int64_t count, float* y) {
  if (const auto* affine = std::get_if<AffineCodes>(&rule.map)) {
    kernels::active().quantize.decode(
        {codes, count, affine->step, affine->zero_point, decoding_scale(*affine, decoding), y});
    return;
  }
  const float* const table = std::get<LutCodes>(rule.map).table.data();
  for (std::int64_t i = 0; i < count; ++i) y[i] = table[codes[i]];
}

}  // namespace detail

/// x·scale + shift, plus the residual, through relu, as floats and as codes by the forms of `outputs`.
class NormalizeStage {
 public:
  /// `unit` [C] is what sums stand for; undefined for floats. `pixels` of one image.
  NormalizeStage(const ops::ChannelAffine<float>& affine, const Tensor<float>& unit, bool relu, std::int64_t pixels,
                 BufferId residual, BufferId y, std::vector<CodesOutput> outputs)
      : channels_(affine.scale.size()),
        pixels_(pixels),
        relu_(relu),
        residual_(residual),
        y_(y),
        outputs_(std::move(outputs)) {
    // Several pixels at a time where that fills vectors; of many channels it would gain nothing.
    constexpr std::int64_t kLanes = 64, kMost = 4096;
    if (channels_ <= kMost) repeat_ = kLanes / std::gcd(channels_, kLanes);
    scale_ = ops::detail::repeated<float>(ops::detail::input_scale(ops::NormalizeSums{{}, unit}, affine), repeat_);
    shift_ = ops::detail::repeated<float>(affine.shift, repeat_);
  }

  /// Of `count` pixels of image `image` from `pixel` on, `channels` from `channel` on; x's pixels lie `step` apart.
  /// Returns false where a value that becomes a code is not finite.
  template <class X>
  bool operator()(const Memory& memory, const X* x, std::int64_t step, std::int64_t image, std::int64_t pixel,
                  std::int64_t count, std::int64_t channel, std::int64_t channels) const {
    const std::int64_t at = (image * pixels_ + pixel) * channels_ + channel;
    if (channels != channels_ || step != channels_)
      return rows(memory, x, at, count, channel, channels, step, channels_);
    const std::int64_t wide = count / repeat_, rest = count - wide * repeat_, done = wide * repeat_ * channels_;
    bool finite = rows(memory, x, at, wide, 0, repeat_ * channels_, 0, 0);
    if (rest > 0) finite &= rows(memory, x + done, at + done, rest, 0, channels_, 0, 0);
    return finite;
  }
  std::int64_t channels() const { return channels_; }
  std::int64_t pixels() const { return pixels_; }

 private:
  template <class X>
  bool rows(const Memory& memory, const X* x, std::int64_t at, std::int64_t count, std::int64_t channel,
            std::int64_t channels, std::int64_t x_step, std::int64_t y_step) const {
    const float* const residual = memory.at<const float>(residual_);
    float* const y = memory.at<float>(y_);
    const auto& kernel = ops::detail::normalize_kernels<float, X>();
    kernels::NormalizeArgs<float, X> args{x,
                                          residual ? residual + at : nullptr,
                                          scale_.data() + channel,
                                          shift_.data() + channel,
                                          relu_,
                                          y ? y + at : nullptr,
                                          count,
                                          channels,
                                          x_step,
                                          y_step};
    if (outputs_.empty()) {
      kernel.normalize(args);
      return true;
    }
    bool finite = true;
    for (const CodesOutput& output : outputs_) {
      const auto& form = std::get<ops::UniformForm>(output.rule->codes);
      const auto* const map = std::get_if<AffineCodes>(&output.rule->map);
      auto* const codes = memory.at<std::uint8_t>(output.codes);
      auto* const decoded = memory.at<float>(output.decoded);
      kernels::NormalizeCodesArgs<float, X> coded{args,
                                                  form.sign,
                                                  form.factor,
                                                  static_cast<float>(form.low),
                                                  static_cast<float>(form.high),
                                                  codes ? codes + at : nullptr};
      if (decoded && map) {
        coded.values = decoded + at;
        coded.step = static_cast<float>(map->step);
        coded.zero_point = static_cast<float>(map->zero_point);
        coded.scale = detail::decoding_scale(*map, output.decoding);
      }
      const bool valid = kernel.normalize_codes(coded);
      finite &= valid;
      args.y = nullptr;  // written once
      if (!decoded || map || !valid) continue;  // what is not finite has codes that no table need have
      // Of tables, while the codes are in the cache; rows follow each other unless they are a part of the channels.
      const std::int64_t runs = y_step == 0 ? 1 : count, length = y_step == 0 ? count * channels : channels;
      for (std::int64_t r = 0, i = at; r < runs; ++r, i += y_step)
        detail::decode(*output.rule, output.decoding, codes + i, length, decoded + i);
    }
    return finite;
  }

  std::int64_t channels_, pixels_, repeat_ = 1;
  bool relu_;
  BufferId residual_, y_;
  std::vector<CodesOutput> outputs_;
  Tensor<float> scale_, shift_;
};

/// One step of a plan. `products` are the plan's; those of other steps are of no concern.
class Step {
 public:
  Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  virtual ~Step() = default;
  /// Returns false where a value that becomes a code is not finite.
  virtual bool run(const Memory& memory, const Product* product) const = 0;

  std::size_t node = 0;       ///< of the graph
  std::int32_t product = -1;  ///< which of the plan's it needs; −1: none
};

/// Codes by codes, and what follows.
class SumsStep final : public Step {
 public:
  SumsStep(BufferId x, NormalizeStage stage) : x_(x), stage_(std::move(stage)) {}
  bool run(const Memory& memory, const Product* product) const override {
    std::atomic<bool> finite{true};
    std::get<ops::PackedCodesConv2d>(product->kernel)
        .for_each_block(memory.at<const std::uint8_t>(x_), [&](const ops::detail::SumsBlock& b) {
          if (!stage_(memory, b.sums, b.step, b.image, b.pixel, b.pixels, b.channel, b.channels))
            finite.store(false, std::memory_order_relaxed);
        });
    return finite.load();
  }

 private:
  BufferId x_;
  NormalizeStage stage_;
};

/// Floats, or codes, by floats, and what follows, if anything.
class FloatProductStep final : public Step {
 public:
  /// `map` of the codes where the product reads such.
  FloatProductStep(BufferId x, const AffineCodes* map, BufferId y, std::optional<NormalizeStage> stage)
      : x_(x), map_(map), y_(y), stage_(std::move(stage)) {}
  bool run(const Memory& memory, const Product* product) const override {
    float* const y = memory.at<float>(y_);
    std::atomic<bool> finite{true};
    const auto normalize = [&](const ops::detail::OutputBlock& b) {
      const std::int64_t step = stage_->channels();
      if (!(*stage_)(memory, y + b.pixel * step + b.channel, step, 0, b.pixel, b.pixels, b.channel, b.channels))
        finite.store(false, std::memory_order_relaxed);
    };
    // By way of one reference, which a std::function holds without memory of its own.
    ops::detail::OutputConsumer consume;
    if (stage_) consume = [&normalize](const ops::detail::OutputBlock& b) { normalize(b); };
    if (const auto& conv = std::get<ops::PackedConv2d>(product->kernel); product->reads_codes) {
      conv(ops::detail::CodeSource{memory.at<const std::uint8_t>(x_), map_->step, map_->zero_point,
                                   ops::detail::IntegerRange(*map_).largest()},
           y, consume);
    } else {
      conv(memory.at<const float>(x_), y, consume);
    }
    return finite.load();
  }

 private:
  BufferId x_;
  const AffineCodes* map_;
  BufferId y_;
  std::optional<NormalizeStage> stage_;
};

/// A normalisation of floats.
class NormalizeStep final : public Step {
 public:
  NormalizeStep(BufferId x, std::int64_t images, NormalizeStage stage)
      : x_(x), images_(images), stage_(std::move(stage)) {}
  bool run(const Memory& memory, const Product*) const override {
    const auto* const x = memory.at<const float>(x_);
    const std::int64_t channels = stage_.channels(), count = images_ * stage_.pixels();
    std::atomic<bool> finite{true};
    parallel_ranges(count, chunk_count(ops::kElementwiseChunk, channels), [&](std::int64_t begin, std::int64_t end) {
      if (!stage_(memory, x + begin * channels, channels, 0, begin, end - begin, 0, channels))
        finite.store(false, std::memory_order_relaxed);
    });
    return finite.load();
  }

 private:
  BufferId x_;
  std::int64_t images_;
  NormalizeStage stage_;
};

/// Floats to codes.
class EncodeStep final : public Step {
 public:
  EncodeStep(BufferId x, std::int64_t count, CodesOutput output) : x_(x), count_(count), output_(output) {}
  bool run(const Memory& memory, const Product*) const override {
    const auto* const x = memory.at<const float>(x_);
    auto* const codes = memory.at<std::uint8_t>(output_.codes);
    auto* const decoded = memory.at<float>(output_.decoded);
    std::atomic<bool> finite{true};
    parallel_ranges(count_, ops::kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
      if (!encode(x + begin, end - begin, codes + begin)) return finite.store(false, std::memory_order_relaxed);
      if (decoded) detail::decode(*output_.rule, output_.decoding, codes + begin, end - begin, decoded + begin);
    });
    return finite.load();
  }

 private:
  bool encode(const float* x, std::int64_t count, std::uint8_t* codes) const {
    const auto& kernels = kernels::active().quantize;
    if (const auto* form = std::get_if<ops::UniformForm>(&output_.rule->codes)) {
      if (form->sign) return kernels.sign_codes(x, count, false, codes);
      return kernels.uniform_codes(
          {x, count, form->factor, static_cast<float>(form->low), static_cast<float>(form->high), codes});
    }
    const auto& steps = std::get<CodeSteps>(output_.rule->codes);
    bool finite = true;
    for (std::int64_t i = 0; i < count; ++i) {
      finite &= std::isfinite(x[i]);
      codes[i] = steps(x[i]);
    }
    return finite;
  }

  BufferId x_;
  std::int64_t count_;
  CodesOutput output_;
};

/// Codes to floats.
class DecodeStep final : public Step {
 public:
  DecodeStep(const CodeRule& rule, Decoding decoding, BufferId codes, std::int64_t count, BufferId y)
      : rule_(rule), decoding_(decoding), codes_(codes), count_(count), y_(y) {}
  bool run(const Memory& memory, const Product*) const override {
    const auto* const codes = memory.at<const std::uint8_t>(codes_);
    auto* const y = memory.at<float>(y_);
    parallel_ranges(count_, ops::kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
      detail::decode(rule_, decoding_, codes + begin, end - begin, y + begin);
    });
    return true;
  }

 private:
  const CodeRule& rule_;
  Decoding decoding_;
  BufferId codes_;
  std::int64_t count_;
  BufferId y_;
};

class PoolStep final : public Step {
 public:
  PoolStep(BufferId x, const Shape& shape, const Pool2d& pool, BufferId y)
      : x_(x), geometry_(ops::detail::pool_geometry("pool2d", shape, pool.options)), pool_(pool), y_(y) {}
  bool run(const Memory& memory, const Product*) const override {
    if (pool_.kind == PoolKind::kMax) {
      ops::detail::max_pool2d(geometry_, memory.at<const float>(x_), memory.at<float>(y_));
    } else {
      ops::detail::avg_pool2d(geometry_, pool_.options.count_include_pad, memory.at<const float>(x_),
                              memory.at<float>(y_));
    }
    return true;
  }

 private:
  BufferId x_;
  ops::detail::PoolGeometry geometry_;
  Pool2d pool_;
  BufferId y_;
};

class GlobalAvgPoolStep final : public Step {
 public:
  GlobalAvgPoolStep(BufferId x, const Shape& shape, BufferId y) : x_(x), shape_(shape), y_(y) {}
  bool run(const Memory& memory, const Product*) const override {
    ops::detail::global_avg_pool2d(shape_[0], shape_[1] * shape_[2], shape_[3], memory.at<const float>(x_),
                                   memory.at<float>(y_));
    return true;
  }

 private:
  BufferId x_;
  Shape shape_;
  BufferId y_;
};

/// What a TensorStep reads: a buffer, or a constant where that is defined.
struct Operand {
  BufferId buffer;
  Shape shape;
  Tensor<float> constant = {};
};

/// Any other operator: run(inputs, y) writes y, by the operator on tensors that training calls.
class TensorStep final : public Step {
 public:
  using Run = std::function<void(std::span<const Tensor<float>> inputs, Tensor<float>& y)>;
  TensorStep(std::vector<Operand> inputs, BufferId y, Shape shape, Run run)
      : inputs_(std::move(inputs)), y_(y), shape_(std::move(shape)), run_(std::move(run)) {}
  bool run(const Memory& memory, const Product*) const override {
    std::array<Tensor<float>, 2> few;
    std::vector<Tensor<float>, PoolAllocator<Tensor<float>>> many;
    std::span<Tensor<float>> inputs(few.data(), std::min(inputs_.size(), few.size()));
    if (inputs_.size() > few.size()) {
      many.resize(inputs_.size());
      inputs = many;
    }
    for (std::size_t i = 0; i < inputs_.size(); ++i)
      inputs[i] =
          inputs_[i].constant.defined() ? inputs_[i].constant : memory.tensor(inputs_[i].buffer, inputs_[i].shape);
    Tensor<float> y = memory.tensor(y_, shape_);
    run_(std::span<const Tensor<float>>(inputs), y);
    return true;
  }

 private:
  std::vector<Operand> inputs_;
  BufferId y_;
  Shape shape_;
  Run run_;
};

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
