// From a quantizer of activations, which may be anybody's, to the rule by which a packed network finds the same codes.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
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
      for_each_change([&](std::int64_t low, std::int64_t high) {
        if (high - low > 1) at.push_back(low + (high - low) / 2);
      });
      if (at.empty()) break;
      ask(at);
    }
    // Functions that were computed with rounding waver where they change: all is asked until it has been calm for a
    // while.
    while (known_.size() < kMost) {
      at.clear();
      for_each_change([&](std::int64_t low, std::int64_t high) {
        std::int64_t order = std::max(low - kCalm, order_of(-kLargest));
        if (!at.empty()) order = std::max(order, at.back() + 1);
        for (; order <= std::min(high + kCalm, order_of(kLargest)); ++order) at.push_back(order);
      });
      auto known = known_.begin();
      std::erase_if(at, [&](std::int64_t order) {
        while (known != known_.end() && known->first < order) ++known;
        return known != known_.end() && known->first == order;
      });
      if (at.empty()) break;
      ask(at);
    }
    runtime::CodeSteps out;
    std::vector<float> bounds;
    out.codes.push_back(known_.front().second);
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

  // Neighbours among what is known that have different codes.
  template <class Call>
  void for_each_change(const Call& call) const {
    for (std::size_t i = 1; i < known_.size(); ++i)
      if (known_[i - 1].second != known_[i].second) call(known_[i - 1].first, known_[i].first);
  }
  // Ascending ones, none of which is known.
  void ask(const std::vector<std::int64_t>& orders) {
    std::vector<float> x;
    for (const std::int64_t order : orders) x.push_back(float_at(order));
    const auto codes = codes_at(quantizer_, x, bits_);
    const auto before = std::ssize(known_);
    for (std::size_t i = 0; i < x.size(); ++i) known_.emplace_back(orders[i], codes[i]);
    std::inplace_merge(known_.begin(), known_.begin() + before, known_.end());
  }

  Quantizer& quantizer_;
  int bits_;
  std::vector<std::pair<std::int64_t, std::uint8_t>> known_;  // ascending
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
