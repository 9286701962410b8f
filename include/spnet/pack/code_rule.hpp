// From a quantizer of activations, which may be anybody's, to the rule by which a packed network finds the same codes.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/pack/packed_weight.hpp"
#include "spnet/quant/quantizer.hpp"
#include "spnet/runtime/graph.hpp"

namespace spnet {
inline namespace v0 {
namespace pack {

namespace detail {

// The finite floats in their order, as integers without gaps, and back.
inline std::int64_t order_of(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return bits >> 31 ? -static_cast<std::int64_t>(bits & 0x7FFFFFFF) - 1 : static_cast<std::int64_t>(bits);
}
inline float float_at(std::int64_t order) {
  return std::bit_cast<float>(order < 0 ? static_cast<std::uint32_t>(-order - 1) | 0x80000000U
                                        : static_cast<std::uint32_t>(order));
}

inline std::vector<std::uint8_t> codes_at(Quantizer& quantizer, const std::vector<float>& x, int bits) {
  const Quantized q =
      quantizer.lower(Tensor<float>::from({static_cast<std::int64_t>(x.size())}, x), bits, /*training=*/false);
  const Tensor<std::uint8_t> codes = q.codes.contiguous();
  return {codes.span().begin(), codes.span().end()};
}

/// Finds where a quantizer's codes change, over all finite floats.
class StepFinder {
 public:
  StepFinder(Quantizer& quantizer, int bits) : quantizer_(quantizer), bits_(bits) {}

  runtime::CodeSteps find() {
    // A grid; then the intervals between different codes are halved until nothing lies inside.
    constexpr float kLargest = std::numeric_limits<float>::max();
    std::vector<std::int64_t> at;
    for (std::int64_t order = order_of(-kLargest); order < order_of(kLargest); order += kGrid) at.push_back(order);
    at.push_back(order_of(kLargest));
    ask(at);
    for (int round = 0; round < 24; ++round) {
      at.clear();
      for (auto low = known_.begin(), high = std::next(low); high != known_.end(); low = high++)
        if (low->second != high->second && high->first - low->first > 1)
          at.push_back(low->first + (high->first - low->first) / 2);
      if (at.empty()) break;
      ask(at);
    }
    // Functions that were computed with rounding waver where they change: all is asked until it has been calm for a
    // while.
    while (known_.size() < kMost) {
      at.clear();
      for (auto low = known_.begin(), high = std::next(low); high != known_.end(); low = high++)
        if (low->second != high->second)
          for (std::int64_t order = low->first - kCalm; order <= high->first + kCalm; ++order)
            if (!known_.contains(order) && order >= order_of(-kLargest) && order <= order_of(kLargest))
              at.push_back(order);
      if (at.empty()) break;
      ask(at);
    }
    runtime::CodeSteps out;
    std::vector<float> bounds;
    out.codes.push_back(known_.begin()->second);
    for (const auto& [order, code] : known_) {
      if (code == out.codes.back()) continue;
      out.codes.push_back(code);
      bounds.push_back(float_at(order));
    }
    out.bounds = Tensor<float>::from({static_cast<std::int64_t>(bounds.size())}, bounds);
    return out;
  }

 private:
  static constexpr std::int64_t kGrid = 1 << 18, kCalm = 128;
  static constexpr std::size_t kMost = 1 << 20;  // a function that is never calm depends on something else

  void ask(const std::vector<std::int64_t>& orders) {
    std::vector<float> x;
    for (const std::int64_t order : orders) x.push_back(float_at(order));
    const auto codes = codes_at(quantizer_, x, bits_);
    for (std::size_t i = 0; i < x.size(); ++i) known_[orders[i]] = codes[i];
  }

  Quantizer& quantizer_;
  int bits_;
  std::map<std::int64_t, std::uint8_t> known_;
};

// Floats of all magnitudes and signs, and the neighbours of `bounds`.
inline std::vector<float> probes(const Tensor<float>& bounds) {
  std::vector<float> x{0.0f, -0.0f, 1.0f, -1.0f};
  Random random(7);
  for (int i = 0; i < 4000; ++i) x.push_back(std::ldexp(random.normal(), static_cast<int>(random.uniform(-12, 6))));
  for (const float t : bounds.span())
    for (const float v : {t, std::nextafter(t, -1e30f), std::nextafter(t, 1e30f)}) x.push_back(v);
  return x;
}

}  // namespace detail

/// The rule of `quantizer` at `bits`, in evaluation: its form where it is known, else the bounds between its codes,
/// found by asking. Throws ValueError where there are none: where codes depend on more than their own element, as those
/// of ranges that no training has settled.
inline runtime::CodeRule code_rule(Quantizer& quantizer, int bits) {
  if (const auto* elementwise = dynamic_cast<const ElementwiseQuantizer*>(&quantizer))
    if (const auto form = elementwise->form(bits)) return {form->codes, form->map};
  const auto require = [&](bool condition, const char* reason) {
    check<ValueError>(condition, "pack: activation quantizer ", quantizer.name(), " at ", bits, " bits: ", reason);
  };
  const CodeMap map = quantizer.lower(Tensor<float>::zeros({1}), bits, /*training=*/false).map;
  const auto* affine = std::get_if<AffineCodes>(&map);
  require(!affine || (affine->channel_axis < 0 && affine->qmin == 0),
          "codes of activations have one scale and begin at 0");
  const runtime::CodeSteps steps = detail::StepFinder(quantizer, bits).find();
  const std::vector<float> x = detail::probes(steps.bounds);
  const auto codes = detail::codes_at(quantizer, x, bits);
  bool same = true;
  for (std::size_t i = 0; i < x.size(); ++i) same = same && steps(x[i]) == codes[i];
  require(same, "its codes depend on more than their own element (has it been trained at this width?)");
  return {steps, map};
}

}  // namespace pack
}  // namespace v0
}  // namespace spnet
