// Networks by name; users add their own from outside.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "spnet/nn/module.hpp"
#include "spnet/nn/quantization.hpp"

namespace spnet {
inline namespace v0 {
namespace models {

/// What every network by name is made from.
struct ModelOptions {
  std::int64_t classes = 10;
  double width = 1.0;         ///< multiplies every channel count; > 0
  std::string stem = "cifar"; ///< "cifar", "tiny-imagenet" or "imagenet": how far the first layers shrink the image
  nn::Quantization quantization = {};
  std::uint64_t seed = 0;     ///< of the initial weights
};

using ModelFactory = std::function<std::unique_ptr<nn::Classifier>(const ModelOptions&)>;

inline std::map<std::string, ModelFactory>& model_registry() {
  static std::map<std::string, ModelFactory> registry;
  return registry;
}

/// Makes `factory` known under `name`; a later registration of the same name replaces the earlier.
/// Returns true, so that a namespace-scope constant can register.
inline bool register_model(const std::string& name, ModelFactory factory) {
  model_registry()[name] = std::move(factory);
  return true;
}

/// The factory called `name`; throws ValueError, listing the known ones, on another.
inline const ModelFactory& find_model(const std::string& name) {
  const auto found = model_registry().find(name);
  if (found != model_registry().end()) return found->second;
  throw ValueError(message("model: '", name, "' is not known; there are ",
                           join(model_registry(), [](const auto& entry) { return entry.first; })));
}

/// The network `name`, freshly initialised; throws ValueError on an unknown name or bad options.
inline std::unique_ptr<nn::Classifier> make_model(const std::string& name, const ModelOptions& options) {
  const ModelFactory& factory = find_model(name);
  check<ValueError>(options.classes > 0, "model ", name, ": ", options.classes, " classes given, expected > 0");
  check<ValueError>(options.width > 0 && options.width <= 64, "model ", name, ": width ", options.width,
                    " given, expected more than 0 and at most 64");
  return factory(options);
}

}  // namespace models
}  // namespace v0
}  // namespace spnet
