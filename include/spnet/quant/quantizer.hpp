// The concept of a quantizer: a pair of a lowering to codes, which kernels run on, and a surrogate gradient, which
// training uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "spnet/autograd/norm.hpp"
#include "spnet/autograd/variable.hpp"
#include "spnet/core/precision.hpp"
#include "spnet/ops/quantize.hpp"

namespace spnet {
inline namespace v0 {

/// What a quantizer is made for.
struct QuantizerOptions {
  std::vector<int> widths = {};  ///< bit-widths below 32 that it will be asked for; empty: 1..8
  std::int64_t channels = 1;     ///< number of filters: size of the weight's first axis
  bool per_channel = false;      ///< one learned scale for each filter, where the quantizer knows that form
  /// Of activations: both signs come, as behind a block without ReLU. Quantizers without such a form do as always.
  bool is_signed = false;
  /// Factors on the learning rate of a scale that several widths share, by the width that pulls; 1 where not named.
  /// A scale that one width has for itself gets its rate from the optimizer.
  std::map<int, double> scale_rates = {};
};

/// One use of a quantizer in a forward pass: what its surrogate gradient may need.
struct QuantizerCall {
  Tensor<float> x;  ///< row-major
  Quantized lowered;
  int bits = 0;
  bool training = false;
};

/// Turns tensors into codes at 1 to 8 bits. Derive from it to add one of your own: it trains as the built-in ones
/// do, and its evenly spaced codes run on the integer kernels. At 32 bits `quantize` is the identity and a quantizer is
/// not asked.
class Quantizer {
 public:
  struct NamedParameter {
    std::string name;
    Variable<float> variable;
    int bits = 0;  ///< the only width that reads it; 0: several
  };
  struct NamedBuffer {
    std::string name;
    Tensor<float> tensor;  ///< shares the quantizer's memory
  };

  Quantizer() = default;
  Quantizer(const Quantizer&) = delete;
  Quantizer& operator=(const Quantizer&) = delete;
  virtual ~Quantizer() = default;

  /// As it is registered and as errors call it.
  virtual std::string name() const = 0;

  /// The codes of `x` (row-major, any shape) at `bits` in 1..8. In training, quantizers with ranges that depend on the
  /// batch update their running statistics, and those with learned scales start them from the first x they see.
  /// Throws NumericError where x is not finite, ValueError on a width it was not made for.
  virtual Quantized lower(const Tensor<float>& x, int bits, bool training) = 0;
  /// As `lower` at each of `widths`, in their order. Override it where widths have work in common.
  virtual std::vector<Quantized> lower_all(const Tensor<float>& x, std::span<const int> widths, bool training) {
    std::vector<Quantized> out;
    for (const int bits : widths) out.push_back(lower(x, bits, training));
    return out;
  }

  /// The surrogate gradient: from the gradient of the decoded values, adds that of x as input 0 and those of
  /// `parameters_at(bits)` as inputs 1, 2, …
  virtual void backward(const Tensor<float>& gradient, const QuantizerCall& call,
                        InputGradients<float>& into) const = 0;
  /// True where `backward` does the same at both widths, whatever the codes: then it may be asked once for a sum.
  virtual bool same_backward(int a, int b) const { return a == b; }

  /// The trained parameters that `lower` reads at `bits`.
  virtual std::span<const Variable<float>> parameters_at(int /*bits*/) const { return {}; }

  /// All trained parameters and all saved state, by names that are unique here ("scale.2"). Their memory stays the same
  /// for the life of the quantizer, so that files can be read into it.
  virtual std::vector<NamedParameter> parameters() const { return {}; }
  virtual std::vector<NamedBuffer> buffers() const { return {}; }
};

/// A quantizer whose codes depend on their own element alone, by a rule that is known beforehand. What comes before it
/// (a normalisation) can be computed in the same pass.
class ElementwiseQuantizer : public Quantizer {
 public:
  struct Form {
    ops::UniformForm codes;
    AffineCodes map;
    float pass_low, pass_high;  ///< the surrogate gradient is 1 where x lies between, ends included, 0 outside
    /// Whether 1/codes.factor is trained: `scale_gradient` turns its gradient into that of parameters_at(bits)[0].
    bool learns_scale = false;
  };
  /// The rule at `bits`; nothing where `lower` must see data first, which a quantizer of that kind overrides.
  virtual std::optional<Form> form(int bits) const = 0;

  /// The gradient of parameters_at(bits)[0], from `sum` = Σ gradient·(level − x·factor) over elements within the clip
  /// and Σ gradient·level over the others, of `count` elements.
  virtual Tensor<float> scale_gradient(double /*sum*/, std::int64_t /*count*/, int /*bits*/) const {
    throw Error("quantizer " + name() + ": one that learns its scale must override scale_gradient");
  }

  Quantized lower(const Tensor<float>& x, int bits, bool) override {
    const Form f = known_form(bits);
    return {f.codes.codes(name().c_str(), x), f.map};
  }
  void backward(const Tensor<float>& gradient, const QuantizerCall& call, InputGradients<float>& into) const override {
    const Form f = known_form(call.bits);
    if (!into.needs(0)) return;
    if (auto* sum = into.sum_to_add_to(0))
      return ops::add_clamped_gradient_(*sum, gradient, call.x, f.pass_low, f.pass_high);
    into.add(0, ops::clamp_gradient(gradient, call.x, f.pass_low, f.pass_high, ops::reuse(gradient)));
  }

 private:
  Form known_form(int bits) const {
    const std::optional<Form> f = form(bits);
    check(f && !f->learns_scale, "quantizer ", name(), ": one without a fixed form must override lower and backward");
    return *f;
  }
};

namespace traced {
/// Inputs x and the quantizer's parameters.
struct Quantize {
  spnet::Quantizer* quantizer;  ///< lives as long as the graph
  int bits;
  bool training;
};
}  // namespace traced

namespace detail {

// x and the parameters of a quantizer.
inline std::vector<Variable<float>, PoolAllocator<Variable<float>>> quantizer_inputs(const Variable<float>& x,
                                                                                     const Quantizer& quantizer,
                                                                                     int bits) {
  const std::span<const Variable<float>> parameters = quantizer.parameters_at(bits);
  std::vector<Variable<float>, PoolAllocator<Variable<float>>> inputs;
  inputs.reserve(1 + parameters.size());
  inputs.push_back(x);
  inputs.insert(inputs.end(), parameters.begin(), parameters.end());
  return inputs;
}

// Of a normalisation that has not been applied yet: both in one pass, and x itself is not kept.
inline Variable<float> quantize_normalized(const Variable<float>& x, ElementwiseQuantizer& quantizer,
                                           const ElementwiseQuantizer::Form& form, int bits, bool training,
                                           Quantized* lowered) {
  const auto* normalized = x.deferred_as<DeferredNormalized>();
  Quantized codes{normalized->codes(quantizer.name().c_str(), form.codes), form.map};
  if (lowered) *lowered = codes;
  const traced::Quantize what{&quantizer, bits, training};
  const auto inputs = quantizer_inputs(x, quantizer, bits);
  const auto kept = x.deferred();
  // Past the normalisation's own node, straight to its inputs. Nothing passes its relu at 0 or below.
  if (normalized->clips() && form.pass_low <= std::numeric_limits<float>::denorm_min()) {
    DeferredNormalized::Nodes nodes = normalized->inputs();
    const std::size_t parameter = nodes.size();
    for (std::size_t i = 1; i < inputs.size(); ++i) nodes.push_back(inputs[i].node());
    ops::OutputClip<float> clip{.most = form.pass_high};
    if (form.learns_scale) clip = {form.pass_high, form.codes.factor, static_cast<float>(form.codes.high)};
    std::shared_ptr<const Deferred<float>> value = make_deferred<DeferredCodes>(std::move(codes));
    const Variable<float> output =
        make_result_of_nodes<float>(std::move(value), std::move(nodes),
                                    [kept, normalized, clip, learns_scale = form.learns_scale, parameter, &quantizer,
                                     bits](const Tensor<float>& g, InputGradients<float>& into) {
                                      const std::int64_t count = g.size();
                                      const double sum = normalized->backward(g, into, clip);
                                      if (learns_scale) into.add(parameter, quantizer.scale_gradient(sum, count, bits));
                                    });
    tell_listener(what, std::span<const Variable<float>>(inputs), output);
    return output;
  }
  std::shared_ptr<const Deferred<float>> value = make_deferred<DeferredCodes>(codes);
  return make_result<float>(
      std::move(value), std::span<const Variable<float>>(inputs),
      [kept, codes, &quantizer, bits, training](const Tensor<float>& g, InputGradients<float>& into) {
        quantizer.backward(g, {kept->value(), codes, bits, training}, into);
      },
      what);
}

}  // namespace detail

/// x through `quantizer` at `bits` (1..8, or 32: identity): exactly the decoded codes, with its surrogate gradient.
/// `quantizer` must outlive the graph. The codes themselves go to `lowered` where that is given.
/// Throws ValueError on another width, NumericError where x is not finite.
inline Variable<float> quantize(const Variable<float>& x, Quantizer& quantizer, int bits, bool training,
                                Quantized* lowered = nullptr) {
  check<ValueError>(is_bit_width(bits), "quantize: ", quantizer.name(), " got ", bits, " bits, expected 1..8 or 32");
  if (bits == kFloatBits) return x;
  if (auto* elementwise = dynamic_cast<ElementwiseQuantizer*>(&quantizer);
      elementwise && x.deferred_as<DeferredNormalized>()) {
    if (const auto form = elementwise->form(bits))
      return detail::quantize_normalized(x, *elementwise, *form, bits, training, lowered);
  }
  QuantizerCall call{x.value().contiguous(), {}, bits, training};
  call.lowered = quantizer.lower(call.x, bits, training);
  check<ShapeError>(call.lowered.codes.shape() == x.shape(), "quantize: ", quantizer.name(), " gave codes ",
                    call.lowered.codes.shape(), " for ", x.shape());
  ops::check_quantized(call.lowered, "quantize");
  std::shared_ptr<const Deferred<float>> values = make_deferred<DeferredCodes>(call.lowered);
  if (lowered) *lowered = call.lowered;
  const auto inputs = detail::quantizer_inputs(x, quantizer, bits);
  return make_result<float>(
      std::move(values), std::span<const Variable<float>>(inputs),
      [call = std::move(call), &quantizer](const Tensor<float>& g, InputGradients<float>& into) {
        quantizer.backward(g, call, into);
      },
      traced::Quantize{&quantizer, bits, training});
}

}  // namespace v0
}  // namespace spnet
