// Quantizers by name: the built-in ones and those that programs add.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "spnet/quant/dorefa.hpp"
#include "spnet/quant/log.hpp"
#include "spnet/quant/lsq.hpp"
#include "spnet/quant/nested.hpp"
#include "spnet/quant/quantizer.hpp"
#include "spnet/quant/tanh.hpp"
#include "spnet/quant/xnor.hpp"

namespace spnet {
inline namespace v0 {

using QuantizerFactory = std::function<std::unique_ptr<Quantizer>(const QuantizerOptions&)>;

/// A scheme: how weights and how activations are quantized. One of the two may be empty.
struct QuantizerScheme {
  QuantizerFactory weights;
  QuantizerFactory activations;
};

namespace detail {

template <class Q>
QuantizerFactory quantizer_factory() {
  return [](const QuantizerOptions& options) -> std::unique_ptr<Quantizer> {
    if constexpr (std::is_constructible_v<Q, const QuantizerOptions&>) {
      return std::make_unique<Q>(options);
    } else {
      check<ValueError>(!options.per_channel, "quantizer ", Q().name(),
                        ": there is no form with a learned scale for each channel");
      return std::make_unique<Q>();
    }
  };
}

class QuantizerRegistry {
 public:
  static QuantizerRegistry& global() {
    static QuantizerRegistry registry;
    return registry;
  }
  void add(const std::string& name, QuantizerScheme scheme) {
    check<ValueError>(!name.empty() && (scheme.weights || scheme.activations), "register_quantizer: '", name,
                      "' given, expected a name and at least one factory");
    const std::lock_guard lock(mutex_);
    check<ValueError>(schemes_.emplace(name, std::move(scheme)).second, "register_quantizer: '", name,
                      "' is registered already");
  }
  QuantizerFactory find(const std::string& name, QuantizerFactory QuantizerScheme::*which, const char* what) const {
    const std::lock_guard lock(mutex_);
    const auto at = schemes_.find(name);
    if (at != schemes_.end() && at->second.*which) return at->second.*which;
    throw ValueError(message("quantizer: '", name, "' is not known for ", what, ", expected one of ", names(which)));
  }
  std::vector<std::string> names() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (const auto& [name, scheme] : schemes_) out.push_back(name);
    return out;
  }

 private:
  QuantizerRegistry() {
    const auto dorefa_activations = quantizer_factory<DorefaActivations>();
    schemes_["dorefa"] = {quantizer_factory<DorefaWeights>(), dorefa_activations};
    // Sign at 1 bit, which is DoReFa's form too; above, networks that mix widths fall back to DoReFa (SP-Nets).
    schemes_["binary"] = {quantizer_factory<DorefaWeights>(), dorefa_activations};
    schemes_["xnor"] = {quantizer_factory<XnorWeights>(), dorefa_activations};
    schemes_["tanh"] = {quantizer_factory<DorefaWeights>(), quantizer_factory<TanhActivations>()};
    schemes_["log"] = {quantizer_factory<LogWeights>(), quantizer_factory<LogActivations>()};
    schemes_["lsq"] = {quantizer_factory<LsqWeights>(), quantizer_factory<LsqActivations>()};
    schemes_["double_rounding"] = {quantizer_factory<DoubleRoundingWeights>(), quantizer_factory<LsqActivations>()};
    schemes_["midrise_nested"] = {quantizer_factory<MidriseNestedWeights>(), quantizer_factory<LsqActivations>()};
    schemes_["floor_nested"] = {quantizer_factory<FloorNestedWeights>(), quantizer_factory<LsqActivations>()};
  }
  std::string names(QuantizerFactory QuantizerScheme::*which) const {
    std::vector<std::string> known;
    for (const auto& [name, scheme] : schemes_)
      if (scheme.*which) known.push_back(name);
    return join(known);
  }

  mutable std::mutex mutex_;
  std::map<std::string, QuantizerScheme> schemes_;
};

inline std::unique_ptr<Quantizer> make_quantizer(const std::string& name, const QuantizerOptions& options,
                                                 QuantizerFactory QuantizerScheme::*which, const char* what) {
  for (const int bits : options.widths)
    check<ValueError>(bits >= 1 && bits <= 8, "quantizer: '", name, "' asked for ", bits, " bits, expected 1..8");
  check<ValueError>(options.channels > 0, "quantizer: '", name, "' asked for ", options.channels, " channels");
  return QuantizerRegistry::global().find(name, which, what)(options);
}

}  // namespace detail

/// Adds a scheme under a name of its own. Throws ValueError where the name is taken or both factories are empty.
inline void register_quantizer(const std::string& name, QuantizerScheme scheme) {
  detail::QuantizerRegistry::global().add(name, std::move(scheme));
}

/// The weight quantizer of the scheme `name`. Throws ValueError, listing the known names, on another one, and on
/// options the quantizer cannot serve.
inline std::unique_ptr<Quantizer> make_weight_quantizer(const std::string& name, const QuantizerOptions& options = {}) {
  return detail::make_quantizer(name, options, &QuantizerScheme::weights, "weights");
}
/// The activation quantizer of the scheme `name`; throws as `make_weight_quantizer`.
inline std::unique_ptr<Quantizer> make_activation_quantizer(const std::string& name,
                                                            const QuantizerOptions& options = {}) {
  return detail::make_quantizer(name, options, &QuantizerScheme::activations, "activations");
}
/// The names of all schemes, sorted.
inline std::vector<std::string> quantizer_names() { return detail::QuantizerRegistry::global().names(); }

}  // namespace v0
}  // namespace spnet
