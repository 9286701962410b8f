// A tensor quantized to several widths at once, each by its share: what a search for widths differentiates through.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "spnet/ops/reduce.hpp"
#include "spnet/quant/quantizer.hpp"

namespace spnet {
inline namespace v0 {

namespace detail {

/// The widths of a mixture whose codes depend on their own element alone: float where there is no form. Pieces of x
/// stay in the first-level cache while they go through all of them, so that nothing but x and the sum is ever in memory.
class ElementwiseMixture {
 public:
  ElementwiseMixture(std::string name, Tensor<float> x, std::vector<std::optional<ElementwiseQuantizer::Form>> forms,
                     std::span<const float> shares)
      : name_(std::move(name)), x_(std::move(x)), forms_(std::move(forms)), shares_(shares.begin(), shares.end()) {}

  /// Σ share·value; what has no share is passed over. Throws NumericError where x is not finite.
  Tensor<float> values() const {
    Tensor<float> y(x_.shape());
    std::atomic<bool> finite{true};
    parallel_ranges(x_.size(), kPiece, [&](std::int64_t begin, std::int64_t end) {
      Piece piece;
      const std::int64_t n = end - begin;
      float* const to = y.data() + begin;
      std::fill_n(to, n, 0.0f);
      for (std::size_t i = 0; i < forms_.size(); ++i) {
        if (shares_[i] == 0) continue;
        const float* const v = value(i, x_.data() + begin, n, piece, finite);
        for (std::int64_t k = 0; k < n; ++k) to[k] += shares_[i] * v[k];
      }
    });
    if (!finite.load()) ops::detail::throw_not_finite(name_.c_str(), x_);
    return y;
  }

  /// Those of width i, which has a form. Throws as `values`.
  Quantized codes(std::size_t i) const { return {forms_[i]->codes.codes(name_.c_str(), x_), forms_[i]->map}; }
  bool learns_scale(std::size_t i) const { return forms_[i] && forms_[i]->learns_scale; }

  struct Gradients {
    Tensor<float> x;
    std::vector<double> shares;  ///< Σ gradient·value of each width
    std::vector<double> scales;  ///< what ElementwiseQuantizer::scale_gradient wants, of widths that learn theirs
  };
  Gradients gradients(const Tensor<float>& g) const {
    const std::size_t widths = forms_.size();
    Gradients out{Tensor<float>(x_.shape()), std::vector<double>(widths), std::vector<double>(widths)};
    // Sums of pieces are added in their order, whoever made them.
    std::vector<double, PoolAllocator<double>> partial(
        static_cast<std::size_t>(chunk_count(x_.size(), kPiece)) * 2 * widths, 0.0);
    parallel_ranges(x_.size(), kPiece, [&](std::int64_t begin, std::int64_t end) {
      Piece piece;
      std::atomic<bool> finite{true};
      const std::int64_t n = end - begin;
      const float *const dy = g.data() + begin, *const at = x_.data() + begin;
      float* const dx = out.x.data() + begin;
      double* const sums = partial.data() + static_cast<std::size_t>(begin / kPiece) * 2 * widths;
      std::fill_n(dx, n, 0.0f);
      for (std::size_t i = 0; i < widths; ++i) {
        const float* const v = value(i, at, n, piece, finite);
        sums[i] = dot(dy, v, n);
        if (shares_[i] == 0) continue;
        float* const part = piece.values.data();
        for (std::int64_t k = 0; k < n; ++k) part[k] = shares_[i] * dy[k];
        if (forms_[i]) sums[widths + i] = clip(*forms_[i], part, at, n, piece);
        for (std::int64_t k = 0; k < n; ++k) dx[k] += part[k];
      }
    });
    for (std::size_t at = 0; at < partial.size(); at += 2 * widths)
      for (std::size_t i = 0; i < widths; ++i) {
        out.shares[i] += partial[at + i];
        out.scales[i] += partial[at + widths + i];
      }
    return out;
  }

 private:
  // In lanes, so that sums do not wait for each other.
  static double dot(const float* a, const float* b, std::int64_t n) {
    constexpr std::int64_t kLanes = 8;
    std::array<double, kLanes> lanes{};
    std::int64_t k = 0;
    for (; k + kLanes <= n; k += kLanes)
      for (std::int64_t j = 0; j < kLanes; ++j)
        lanes[static_cast<std::size_t>(j)] += static_cast<double>(a[k + j]) * static_cast<double>(b[k + j]);
    for (; k < n; ++k) lanes[0] += static_cast<double>(a[k]) * static_cast<double>(b[k]);
    double sum = 0;
    for (const double lane : lanes) sum += lane;
    return sum;
  }

  static constexpr std::int64_t kPiece = 2048;
  struct Piece {
    std::array<std::uint8_t, kPiece> codes;
    std::array<float, kPiece> values;
  };

  // The values of n elements at width i.
  const float* value(std::size_t i, const float* x, std::int64_t n, Piece& piece, std::atomic<bool>& finite) const {
    if (!forms_[i]) return x;
    const auto& [codes, map, low, high, learns] = *forms_[i];
    const auto& k = kernels::active().quantize;
    const bool all = codes.sign ? k.sign_codes(x, n, false, piece.codes.data())
                                : k.uniform_codes({x, n, codes.factor, static_cast<float>(codes.low),
                                                   static_cast<float>(codes.high), piece.codes.data()});
    if (!all) finite.store(false, std::memory_order_relaxed);
    k.decode({piece.codes.data(), n, map.step, map.zero_point, map.scale.data()[0], piece.values.data()});
    return piece.values.data();
  }
  // Passes the gradient where the form does, in place; returns the sum for the scale, 0 where none is learned.
  static double clip(const ElementwiseQuantizer::Form& form, float* gradient, const float* x, std::int64_t n,
                     const Piece& piece) {
    const auto& k = kernels::active().quantize;
    if (form.learns_scale)
      return k.scale_gradient({gradient, x, piece.codes.data(), n, form.map.step, form.map.zero_point, 1.0f,
                               form.codes.factor, static_cast<float>(form.codes.low),
                               static_cast<float>(form.codes.high), gradient});
    k.clamp_gradient({gradient, x, form.pass_low, form.pass_high, gradient, n});
    return 0;
  }

  std::string name_;
  Tensor<float> x_;
  std::vector<std::optional<ElementwiseQuantizer::Form>> forms_;
  std::vector<float> shares_;
};

/// The forms of an elementwise quantizer at `widths`; nothing where it has to see data first.
inline std::optional<std::vector<std::optional<ElementwiseQuantizer::Form>>> elementwise_forms(
    const Quantizer& quantizer, const std::vector<int>& widths) {
  const auto* elementwise = dynamic_cast<const ElementwiseQuantizer*>(&quantizer);
  if (!elementwise) return std::nullopt;
  std::vector<std::optional<ElementwiseQuantizer::Form>> forms;
  for (const int bits : widths) {
    forms.push_back(bits == kFloatBits ? std::nullopt : elementwise->form(bits));
    if (bits != kFloatBits && !forms.back()) return std::nullopt;
  }
  return forms;
}

/// Widths of any quantizer: codes of all of them are kept, a byte an element each.
class CodesMixture {
 public:
  CodesMixture(const Tensor<float>& x, Quantizer& quantizer, const std::vector<int>& widths, const Tensor<float>& shares,
               bool training)
      : quantizer_(quantizer), shares_(shares) {
    std::vector<int> below;
    for (const int bits : widths)
      if (bits != kFloatBits) below.push_back(bits);
    std::vector<Quantized> lowered = quantizer.lower_all(x, below, training);
    check<ValueError>(lowered.size() == below.size(), "quantize_mixture: ", quantizer.name(), " gave ", lowered.size(),
                      " tensors of codes for ", below.size(), " widths");
    auto next = lowered.begin();
    for (const int bits : widths) {
      QuantizerCall& call = calls_.emplace_back(QuantizerCall{x, {}, bits, training});
      if (bits == kFloatBits) continue;
      call.lowered = std::move(*next++);
      check<ShapeError>(call.lowered.codes.shape() == x.shape(), "quantize_mixture: ", quantizer.name(), " gave codes ",
                        call.lowered.codes.shape(), " for ", x.shape());
      ops::check_quantized(call.lowered, "quantize_mixture");
    }
  }

  Tensor<float> values() const {
    Tensor<float> y = Tensor<float>::zeros(calls_.front().x.shape());
    for (std::size_t i = 0; i < calls_.size(); ++i)
      if (share(i) != 0) ops::add_(y, ops::affine(value(i), share(i)));
    return y;
  }
  const Quantized& codes(std::size_t i) const { return calls_[i].lowered; }
  /// Σ gradient·value of each width.
  std::vector<double> share_gradients(const Tensor<float>& gradient) const {
    std::vector<double> out;
    for (std::size_t i = 0; i < calls_.size(); ++i)
      out.push_back(static_cast<double>(ops::sum(ops::mul(gradient, value(i))).item()));
    return out;
  }
  /// The surrogates' gradients by the shares; widths whose surrogates are the same are asked once. `into` as
  /// quantize_mixture's, whose input 0 is `x`.
  void backward(const Tensor<float>& gradient, const NodeRef<float>& x, InputGradients<float>& into) const {
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      const auto same = [&](std::size_t k) {
        return calls_[k].bits != kFloatBits && calls_[i].bits != kFloatBits &&
               quantizer_.same_backward(calls_[k].bits, calls_[i].bits);
      };
      bool asked = false;
      for (std::size_t k = 0; k < i; ++k) asked = asked || same(k);
      if (asked) continue;
      float sum = share(i);
      for (std::size_t k = i + 1; k < calls_.size(); ++k)
        if (same(k)) sum += share(k);
      Tensor<float> part = ops::affine(gradient, sum);
      if (calls_[i].bits == kFloatBits) {
        into.add(0, std::move(part));
        continue;
      }
      Node<float> local;
      local.inputs.push_back(x);
      for (const Variable<float>& p : quantizer_.parameters_at(calls_[i].bits)) local.inputs.push_back(p.node());
      InputGradients<float> of_call(local);
      quantizer_.backward(part, calls_[i], of_call);
    }
  }

 private:
  float share(std::size_t i) const { return shares_.data()[i]; }
  Tensor<float> value(std::size_t i) const {
    return calls_[i].bits == kFloatBits ? calls_[i].x : ops::decode(calls_[i].lowered);
  }

  Quantizer& quantizer_;
  Tensor<float> shares_;
  std::vector<QuantizerCall> calls_;
};

// The width whose share is 1, where all others have none.
inline std::optional<std::size_t> only_share(std::span<const float> shares) {
  const auto one = std::find(shares.begin(), shares.end(), 1.0f);
  const bool alone = one != shares.end() && std::count(shares.begin(), shares.end(), 0.0f) + 1 == std::ssize(shares);
  return alone ? std::optional(static_cast<std::size_t>(one - shares.begin())) : std::nullopt;
}

inline void add_share_gradients(const std::vector<double>& sums, InputGradients<float>& into) {
  if (!into.needs(1)) return;
  Tensor<float> gradient({static_cast<std::int64_t>(sums.size())});
  std::transform(sums.begin(), sums.end(), gradient.data(), [](double s) { return static_cast<float>(s); });
  into.add(1, std::move(gradient));
}

}  // namespace detail

/// Σ shares[i]·quantize(x, quantizer, widths[i]) → the shape of x; shares [K] for K widths (1..8, or 32: x itself). The
/// gradient of x and of the quantizer's parameters is the sum of its surrogates by the shares, that of a share Σ
/// g·value. An elementwise quantizer goes through all widths piece by piece and keeps no codes; others keep one byte an
/// element for each width. Where one width has all, the result is its codes, as quantize's. `quantizer` must outlive
/// the graph. Throws ValueError on another width, ShapeError on other shares, NumericError where x is not finite and
/// becomes codes.
inline Variable<float> quantize_mixture(const Variable<float>& x, Quantizer& quantizer, const std::vector<int>& widths,
                                        const Variable<float>& shares, bool training) {
  check<ShapeError>(!widths.empty() && shares.shape() == Shape{static_cast<std::int64_t>(widths.size())},
                    "quantize_mixture: ", widths.size(), " widths and shares ", shares.shape(), " given, expected [K]");
  for (const int bits : widths)
    check<ValueError>(is_bit_width(bits), "quantize_mixture: ", bits, " bits given, expected 1..8 or 32");
  const Tensor<float> dense = x.value().contiguous(), parts = shares.value().contiguous().clone();
  std::vector<Variable<float>> inputs{x, shares};  // and the parameters of each width
  for (const int bits : widths) {
    if (bits == kFloatBits) continue;
    for (const Variable<float>& p : quantizer.parameters_at(bits)) inputs.push_back(p);
  }

  const std::optional<std::size_t> alone = detail::only_share(parts.span());
  // The only width that has a share stays codes, for integer kernels.
  const auto result = [&](const auto& mixture, auto backward) {
    const std::span<const Variable<float>> all(inputs);
    if (!alone || widths[*alone] == kFloatBits) return make_result<float>(mixture.values(), all, std::move(backward));
    std::shared_ptr<const Deferred<float>> codes = make_deferred<DeferredCodes>(mixture.codes(*alone));
    return make_result<float>(std::move(codes), all, std::move(backward));
  };
  if (auto forms = detail::elementwise_forms(quantizer, widths)) {
    const detail::ElementwiseMixture mixture(quantizer.name(), dense, std::move(*forms), parts.span());
    return result(mixture, [mixture, widths, &quantizer](const Tensor<float>& g, InputGradients<float>& into) {
      auto gradients = mixture.gradients(g.contiguous());
      into.add(0, std::move(gradients.x));
      detail::add_share_gradients(gradients.shares, into);
      std::size_t at = 2;
      for (std::size_t i = 0; i < widths.size(); ++i) {
        if (widths[i] == kFloatBits) continue;
        const std::size_t parameters = quantizer.parameters_at(widths[i]).size();
        if (mixture.learns_scale(i))
          into.add(at, static_cast<const ElementwiseQuantizer&>(quantizer).scale_gradient(gradients.scales[i], g.size(),
                                                                                          widths[i]));
        at += parameters;
      }
    });
  }
  const detail::CodesMixture mixture(dense, quantizer, widths, parts, training);
  return result(mixture, [mixture, source = x.node()](const Tensor<float>& g, InputGradients<float>& into) {
    if (into.needs(1)) detail::add_share_gradients(mixture.share_gradients(g), into);
    mixture.backward(g, source, into);
  });
}

}  // namespace v0
}  // namespace spnet
