// Normalisations of a network whose layers have precisions of their own: which layers choose among their forms, found
// by following the network at as many configurations as it takes.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "spnet/nn/quantized_layer.hpp"
#include "spnet/pack/traced_graph.hpp"
#include "spnet/runtime/graph.hpp"

namespace spnet {
inline namespace v0 {
namespace pack {
/// The layers of a packed graph in the module that it came from, each of which can be set by itself.
class LayerSetter {
 public:
  /// Throws ValueError where a layer of the graph is no nn::QuantizedLayer of the module.
  LayerSetter(nn::Module& module, const runtime::Graph& graph) : module_(module), precisions_(graph.precisions) {
    std::map<std::string, nn::QuantizedLayer*> known;
    for (const nn::NamedLayer& l : nn::quantized_layers(module)) known[l.name] = l.layer;
    for (const std::string& name : graph.layers) {
      const auto at = known.find(name);
      check<ValueError>(at != known.end(), "pack: ", name,
                        " is no quantized layer that could have a precision of its own");
      layers_.push_back(at->second);
    }
  }
  void operator()(const runtime::Configuration& configuration) {
    module_.set_precision(precisions_.front());
    for (std::size_t i = 0; i < layers_.size(); ++i) layers_[i]->set_precision(precisions_[configuration[i]]);
  }

 private:
  nn::Module& module_;
  const std::vector<Precision>& precisions_;
  std::vector<nn::QuantizedLayer*> layers_;
};

namespace detail {

inline bool same_affine(const ops::ChannelAffine<float>& a, const ops::ChannelAffine<float>& b) {
  const auto same = [](const Tensor<float>& x, const Tensor<float>& y) {
    return std::ranges::equal(x.span(), y.span(), [](float u, float v) {
      return std::bit_cast<std::uint32_t>(u) == std::bit_cast<std::uint32_t>(v);
    });
  };
  return same(a.scale, b.scale) && same(a.shift, b.shift);
}

/// The forms of the normalisations of a graph, each by the precisions of up to two layers: the one whose results it
/// reads and the first that reads its own.
class MixedNorms {
 public:
  using Configuration = runtime::Configuration;

  explicit MixedNorms(runtime::Graph& graph) : graph_(graph) {
    for (std::uint32_t i = 0; i < graph.nodes.size(); ++i)
      if (std::holds_alternative<runtime::Normalize>(graph.nodes[i].op)) norms_.push_back({i, neighbours(i), {}});
  }

  /// A configuration that shows forms which were not seen yet; none where all were.
  std::optional<Configuration> next() const {
    constexpr std::uint8_t kFree = 255;
    Configuration out(graph_.layers.size(), kFree);
    bool any = false;
    const auto count = static_cast<std::uint8_t>(graph_.precisions.size());
    for (const Norm& norm : norms_) {
      const auto [before, after] = norm.layers;
      const auto fits = [&](std::int32_t layer, std::uint8_t p) {
        return layer < 0 || out[static_cast<std::size_t>(layer)] == kFree || out[static_cast<std::size_t>(layer)] == p;
      };
      bool found = false;
      for (std::uint8_t b = 0; !found && b < (before < 0 ? 1 : count); ++b) {
        for (std::uint8_t a = 0; !found && a < (after < 0 ? 1 : count); ++a) {
          if (norm.forms.contains({b, a}) || !fits(before, b) || !fits(after, a) || (before == after && a != b))
            continue;
          if (before >= 0) out[static_cast<std::size_t>(before)] = b;
          if (after >= 0) out[static_cast<std::size_t>(after)] = a;
          found = any = true;
        }
      }
    }
    if (!any) return std::nullopt;
    std::replace(out.begin(), out.end(), kFree, std::uint8_t{0});
    return out;
  }

  /// Takes in what was traced at a configuration. Throws ValueError where a form depends on more than the two layers.
  void add(const Configuration& configuration, const std::vector<TracedNode>& trace) {
    for (Norm& norm : norms_) {
      const auto digit = [&](std::int32_t layer) {
        return layer < 0 ? std::uint8_t{0} : configuration[static_cast<std::size_t>(layer)];
      };
      const auto& affine = trace[norm.node].affine;
      const auto [at, is_new] = norm.forms.try_emplace({digit(norm.layers[0]), digit(norm.layers[1])}, affine);
      check<ValueError>(is_new || same_affine(at->second, affine), "pack: the normalisation at node ", norm.node,
                        " depends on more than the precisions of the layers beside it (", name(norm.layers[0]), " and ",
                        name(norm.layers[1]), "), so that no layer could have a precision of its own");
    }
  }

  /// Writes the forms into the graph, by as few layers as tell them apart.
  void finish() {
    for (const Norm& norm : norms_) {
      auto& op = std::get<runtime::Normalize>(graph_.nodes[norm.node].op);
      std::vector<std::size_t> chosen;  // of the two
      if (!is_constant(norm, {})) {
        if (is_constant(norm, {0}))
          chosen = {0};
        else if (is_constant(norm, {1}))
          chosen = {1};
        else
          chosen = {0, 1};
      }
      op.layers.clear();
      std::size_t forms = 1;
      for (const std::size_t k : chosen) {
        op.layers.push_back(static_cast<std::uint32_t>(norm.layers[k]));
        forms *= graph_.precisions.size();
      }
      op.affines.assign(forms, {});
      for (const auto& [digits, affine] : norm.forms) {
        std::size_t form = 0;
        for (const std::size_t k : chosen) form = form * graph_.precisions.size() + digits[k];
        op.affines[form] = affine;
      }
    }
  }

 private:
  using Digits = std::array<std::uint8_t, 2>;
  struct Norm {
    std::uint32_t node;
    std::array<std::int32_t, 2> layers;  // before and after; −1: none
    std::map<Digits, ops::ChannelAffine<float>> forms;
  };

  bool is_product(std::uint32_t node) const {
    const auto& op = graph_.nodes[node].op;
    return std::holds_alternative<runtime::Conv2d>(op) || std::holds_alternative<runtime::Linear>(op);
  }
  std::array<std::int32_t, 2> neighbours(std::uint32_t node) const {
    std::uint32_t up = node;
    do {
      up = graph_.nodes[up].inputs.empty() ? 0 : graph_.nodes[up].inputs[0];
    } while (up > 0 && !is_product(up));
    std::array<std::int32_t, 2> out{up > 0 ? graph_.nodes[up].layer : -1, -1};
    std::vector<bool> reached(graph_.nodes.size(), false);
    reached[node] = true;
    for (std::uint32_t i = node + 1; i < graph_.nodes.size(); ++i) {
      const runtime::Node& n = graph_.nodes[i];
      if (std::none_of(n.inputs.begin(), n.inputs.end(), [&](std::uint32_t k) { return reached[k]; })) continue;
      if (is_product(i) && n.layer >= 0) {
        out[1] = n.layer;
        break;
      }
      reached[i] = !is_product(i);
    }
    return out;
  }
  std::string name(std::int32_t layer) const {
    return layer < 0 ? "none" : graph_.layers[static_cast<std::size_t>(layer)];
  }
  // True where the form is the same whenever the precisions of `which` are.
  static bool is_constant(const Norm& norm, const std::vector<std::size_t>& which) {
    std::map<int, const ops::ChannelAffine<float>*> seen;
    for (const auto& [digits, affine] : norm.forms) {
      int key = 0;
      for (const std::size_t k : which) key = 256 * key + digits[k];
      const auto [at, is_new] = seen.try_emplace(key, &affine);
      if (!is_new && !same_affine(*at->second, affine)) return false;
    }
    return true;
  }

  runtime::Graph& graph_;
  std::vector<Norm> norms_;
};

}  // namespace detail
}  // namespace pack
}  // namespace v0
}  // namespace spnet
