// From a trained module to the graph of a packed network, by following its forward pass at every precision.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/core/random_fill.hpp"
#include "spnet/pack/code_rule.hpp"
#include "spnet/pack/mixed_norms.hpp"
#include "spnet/pack/packed_weight.hpp"
#include "spnet/pack/traced_graph.hpp"
#include "spnet/runtime/engine.hpp"

namespace spnet {
inline namespace v0 {
namespace pack {

/// What a packed network says of itself, beside what it computes.
struct PackOptions {
  std::string name = {};
  std::vector<std::string> classes = {};
  runtime::Preparation preparation = {};
  /// Every layer may be at a precision of its own, which is checked as well. The layers have to be nn::QuantizedLayer,
  /// and each normalisation depend on none but the layer whose results it reads and the first that reads its own, as
  /// nn::ConvNorm's do. Else only all layers at one precision are sure to give the module's logits.
  bool mixed = false;
};

namespace detail {

// What a node's weight and input had in a trace.
inline Precision traced_widths(const TracedNode& node) {
  return {node.weight ? node.weight->bits : kFloatBits, node.quantizer ? node.input_bits : kFloatBits};
}

// The traces of one module at several precisions as one graph.
class Merger {
 public:
  // Without precisions the layers of the one trace may have any. With `mixed`, the forms of normalisations are left to
  // MixedNorms.
  Merger(const std::vector<Precision>& precisions, std::span<const std::vector<TracedNode>> traces, bool mixed)
      : precisions_(precisions), traces_(traces), mixed_(mixed) {}

  void merge_into(runtime::Graph& graph) {
    const std::size_t count = traces_.front().size();
    for (const auto& trace : traces_) require(trace.size() == count, 0, "the number of operators");
    for (std::size_t i = 0; i < count; ++i) {
      runtime::Node node{traces_[0][i].op, traces_[0][i].inputs, -1};
      for (const auto& trace : traces_)
        require(trace[i].op.index() == node.op.index() && trace[i].inputs == node.inputs, i, "an operator");
      std::visit([&](auto& op) { merge(op, i, node, graph); }, node.op);
      graph.nodes.push_back(std::move(node));
    }
  }

 private:
  void require(bool same, std::size_t i, const char* what) const {
    check<ValueError>(same, "pack: ", what, " depends on the precision, at node ", i, " (",
                      runtime::operator_name(traces_[0][i].op), ")");
  }
  // The merged node's own values, where they have to be the same at each precision.
  template <class Op, class Same>
  void require_same(const Op& op, std::size_t i, const Same& same) const {
    for (const auto& trace : traces_) require(same(op, std::get<Op>(trace[i].op)), i, "a parameter of an operator");
  }

  static std::string layer_name(const std::string& parameter, std::size_t node) {
    constexpr std::string_view kSuffix = ".weight";
    if (parameter.ends_with(kSuffix)) return parameter.substr(0, parameter.size() - kSuffix.size());
    return parameter.empty() ? message("node ", node) : parameter;
  }
  // The layer of node i, made where there is none yet.
  std::int32_t layer_of(std::size_t i, runtime::Node& node, runtime::Graph& graph) const {
    if (node.layer < 0) {
      const auto& weight = traces_[0][i].weight;
      graph.layers.push_back(layer_name(weight ? weight->name : "", i));
      node.layer = static_cast<std::int32_t>(graph.layers.size() - 1);
    }
    return node.layer;
  }

  // The rules by which the input of node i becomes codes.
  runtime::CodeRules rules_of(std::size_t i) const {
    runtime::CodeRules rules;
    const Quantizer* quantizer = nullptr;
    for (const auto& trace : traces_) {
      const TracedNode& node = trace[i];
      if (!node.quantizer) continue;
      require(!quantizer || quantizer == node.quantizer, i, "the quantizer of the input");
      quantizer = node.quantizer;
      if (!rules.contains(node.input_bits)) rules.emplace(node.input_bits, code_rule(*node.quantizer, node.input_bits));
    }
    for (std::size_t p = 0; p < precisions_.size(); ++p)
      require(rules.empty() || traced_widths(traces_[p][i]).activation_bits == precisions_[p].activation_bits, i,
              "whether the input is quantized");
    return rules;
  }
  std::uint32_t weight_of(std::size_t i, runtime::Graph& graph) const {
    std::map<int, Quantized> codes;
    Tensor<float> floats;
    bool any_codes = false;
    for (const auto& trace : traces_) any_codes = any_codes || trace[i].weight->codes;
    for (std::size_t p = 0; p < traces_.size(); ++p) {
      const TracedWeight& weight = *traces_[p][i].weight;
      if (p < precisions_.size())
        require(weight.bits == (any_codes ? precisions_[p].weight_bits : kFloatBits), i,
                "whether the weight is quantized");
      if (weight.codes) {
        const auto [at, is_new] = codes.emplace(weight.bits, *weight.codes);
        require(is_new || (std::ranges::equal(at->second.codes.span(), weight.codes->codes.span()) &&
                           runtime::detail::same_map(at->second.map, weight.codes->map)),
                i, "what one weight width means");
      } else {
        require(!floats.defined() || std::ranges::equal(std::as_const(floats).span(), weight.floats.span()), i,
                "the float weight");
        floats = weight.floats;
      }
    }
    const Shape shape = floats.defined() ? floats.shape() : codes.begin()->second.codes.shape();
    graph.weights.push_back(pack_weight(shape, codes, floats));
    return static_cast<std::uint32_t>(graph.weights.size() - 1);
  }
  template <class Op>
  void merge_product(Op& op, std::size_t i, runtime::Node& node, runtime::Graph& graph) const {
    op.rules = rules_of(i);
    op.weight = weight_of(i, graph);
    if (!op.rules.empty() || !graph.weights.back().codes.empty()) layer_of(i, node, graph);
  }

  void merge(runtime::Input&, std::size_t, runtime::Node&, runtime::Graph&) const {}
  void merge(runtime::Conv2d& op, std::size_t i, runtime::Node& node, runtime::Graph& graph) const {
    require_same(op, i, [](const auto& a, const auto& b) {
      return a.options.stride == b.options.stride && a.options.padding == b.options.padding &&
             a.options.dilation == b.options.dilation && a.options.groups == b.options.groups;
    });
    merge_product(op, i, node, graph);
  }
  void merge(runtime::Linear& op, std::size_t i, runtime::Node& node, runtime::Graph& graph) const {
    merge_product(op, i, node, graph);
  }
  void merge(runtime::Quantize& op, std::size_t i, runtime::Node& node, runtime::Graph& graph) const {
    op.rules = rules_of(i);
    layer_of(i, node, graph);
  }
  // A normalisation that depends on the precision has that of the layer whose results it reads.
  void merge(runtime::Normalize& op, std::size_t i, runtime::Node& node, runtime::Graph& graph) const {
    require_same(op, i, [](const auto& a, const auto& b) { return a.relu == b.relu; });
    if (mixed_) return;
    bool any = false;
    for (const auto& trace : traces_) {
      op.affines.push_back(trace[i].affine);
      any = any || !same_affine(trace[i].affine, op.affines[0]);
    }
    if (!any) {
      op.affines.resize(1);
      return;
    }
    std::uint32_t at = node.inputs[0];
    while (at > 0 && !traces_[0][at].weight) at = traces_[0][at].inputs.empty() ? 0 : traces_[0][at].inputs[0];
    op.layers = {static_cast<std::uint32_t>(at > 0 ? layer_of(at, graph.nodes[at], graph) : layer_of(i, node, graph))};
  }
  void merge(runtime::Constant& op, std::size_t i, runtime::Node&, runtime::Graph&) const {
    require_same(op, i, [](const auto& a, const auto& b) {
      return a.value.shape() == b.value.shape() && std::ranges::equal(a.value.span(), b.value.span());
    });
  }
  void merge(runtime::Unary& op, std::size_t i, runtime::Node&, runtime::Graph&) const {
    require_same(op, i, [](const auto& a, const auto& b) { return a.kind == b.kind && a.a == b.a && a.b == b.b; });
  }
  void merge(runtime::Binary& op, std::size_t i, runtime::Node&, runtime::Graph&) const {
    require_same(op, i, [](const auto& a, const auto& b) { return a.kind == b.kind; });
  }
  void merge(runtime::Pool2d& op, std::size_t i, runtime::Node&, runtime::Graph&) const {
    require_same(op, i, [](const auto& a, const auto& b) {
      return a.kind == b.kind && a.options.kernel == b.options.kernel && a.options.stride == b.options.stride &&
             a.options.padding == b.options.padding && a.options.count_include_pad == b.options.count_include_pad;
    });
  }
  void merge(runtime::GlobalAvgPool2d&, std::size_t, runtime::Node&, runtime::Graph&) const {}
  void merge(runtime::Reshape& op, std::size_t i, runtime::Node&, runtime::Graph&) const {
    require_same(op, i, [](const auto& a, const auto& b) { return a.shape == b.shape; });
  }
  void merge(runtime::Concat& op, std::size_t i, runtime::Node&, runtime::Graph&) const {
    require_same(op, i, [](const auto& a, const auto& b) { return a.axis == b.axis; });
  }
  void merge(runtime::Narrow& op, std::size_t i, runtime::Node&, runtime::Graph&) const {
    require_same(op, i, [](const auto& a, const auto& b) {
      return a.axis == b.axis && a.begin == b.begin && a.length == b.length;
    });
  }

  const std::vector<Precision>& precisions_;
  std::span<const std::vector<TracedNode>> traces_;
  bool mixed_;
};

// Gives the normalisations of `graph` their forms for every configuration; `traces` are those at each precision.
inline void add_mixed_norms(nn::Module& module, const Variable<float>& x,
                            std::span<const std::vector<TracedNode>> traces, runtime::Graph& graph) {
  LayerSetter set(module, graph);
  MixedNorms norms(graph);
  for (std::size_t p = 0; p < traces.size(); ++p)
    norms.add(runtime::Configuration(graph.layers.size(), static_cast<std::uint8_t>(p)), traces[p]);
  while (const auto configuration = norms.next()) {
    set(*configuration);
    const auto trace = trace_nodes(module, x);
    check<ValueError>(trace.size() == graph.nodes.size(), "pack: the number of operators depends on the precision");
    norms.add(*configuration, trace);
  }
  norms.finish();
}

inline Tensor<float> random_images(const Shape& image, std::uint64_t seed) {
  Random random(seed);
  Tensor<float> out(runtime::detail::with_batch(image, kTracedImages));
  fill_normal(out.span(), random);
  return out;
}

inline runtime::Graph empty_graph(const Shape& image, const PackOptions& options) {
  return {.name = options.name,
          .input = image,
          .preparation = options.preparation,
          .classes = options.classes,
          .precisions = {},
          .accuracies = {},
          .layers = {},
          .configurations = {},
          .weights = {},
          .nodes = {}};
}

// Whether an engine computes what the module does, on other images than those that were followed.
class Comparison {
 public:
  Comparison(nn::Module& module, const Shape& image) : module_(module), images_(random_images(image, 2)) {}
  void operator()(runtime::Engine& engine, const std::string& at) const {
    const NoGradGuard no_grad;
    const Tensor<float> expected = module_(Variable<float>(images_)).value().contiguous(), logits = engine.run(images_);
    check<ValueError>(expected.shape() == logits.shape() && std::ranges::equal(expected.span(), logits.span()),
                      "pack: at ", at, " the packed network computes other logits than the module");
  }

 private:
  nn::Module& module_;
  Tensor<float> images_;
};

}  // namespace detail

/// The graph of `module` for images of shape `image` [H,W,C], at each of `precisions`. The module is followed, not
/// known: any network of differentiable operators and quantizers of one's own packs, as long as it computes the same
/// operators at every precision, keeps the batch as the first axis, and its activation quantizers look at one element
/// at a time in evaluation. The graph's logits are then compared with the module's. The module is left in evaluation
/// mode, at the last precision. Throws ValueError, saying what, where something has no packed form.
inline runtime::Graph pack(nn::Module& module, const Shape& image, const std::vector<Precision>& precisions,
                           const PackOptions& options = {}) {
  check<ValueError>(!precisions.empty(), "pack: no precision given");
  const Variable<float> x(detail::random_images(image, 1));
  std::vector<std::vector<TracedNode>> traces;
  for (const Precision p : precisions) {
    module.set_precision(p);
    traces.push_back(trace_nodes(module, x));
  }
  runtime::Graph graph = detail::empty_graph(image, options);
  graph.precisions = precisions;
  graph.accuracies.resize(precisions.size());
  detail::Merger(precisions, traces, options.mixed).merge_into(graph);
  if (options.mixed) detail::add_mixed_norms(module, x, traces, graph);

  runtime::Engine engine(std::make_shared<const runtime::Model>(graph), {.threads = num_threads(), .tune = false});
  const detail::Comparison compare(module, image);
  if (options.mixed) {
    LayerSetter set(module, graph);
    Random random(3);
    constexpr int kConfigurations = 4;
    for (int i = 0; i < kConfigurations; ++i) {
      runtime::Configuration configuration(graph.layers.size());
      for (auto& p : configuration)
        p = static_cast<std::uint8_t>(random.below(static_cast<std::uint32_t>(precisions.size())));
      set(configuration);
      engine.set_configuration(configuration);
      compare(engine, "layers of different precisions");
    }
  }
  for (const Precision p : precisions) {
    module.set_precision(p);
    engine.set_precision(p);
    compare(engine, to_string(p));
  }
  return graph;
}

/// The same with each layer at the precision that it has now, and at no other: the file holds one width of each weight.
/// The graph has one configuration, called `configuration`. Throws as `pack`.
inline runtime::Graph pack_fixed(nn::Module& module, const Shape& image, const std::string& configuration,
                                 const PackOptions& options = {}) {
  std::vector<std::vector<TracedNode>> traces{trace_nodes(module, Variable<float>(detail::random_images(image, 1)))};
  runtime::Graph graph = detail::empty_graph(image, options);
  detail::Merger({}, traces, /*mixed=*/false).merge_into(graph);
  runtime::Configuration layers(graph.layers.size(), 0);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (graph.nodes[i].layer < 0) continue;
    const Precision p = detail::traced_widths(traces.front()[i]);
    auto at = std::find(graph.precisions.begin(), graph.precisions.end(), p);
    if (at == graph.precisions.end()) at = graph.precisions.insert(at, p);
    layers[static_cast<std::size_t>(graph.nodes[i].layer)] = static_cast<std::uint8_t>(at - graph.precisions.begin());
  }
  if (graph.precisions.empty()) graph.precisions.push_back({});
  graph.accuracies.resize(graph.precisions.size());
  graph.is_fixed = true;
  graph.configurations.push_back({configuration, std::move(layers), {}});
  runtime::Engine engine(std::make_shared<const runtime::Model>(graph), {.threads = num_threads(), .tune = false});
  detail::Comparison(module, image)(engine, configuration);
  return graph;
}

}  // namespace pack
}  // namespace v0
}  // namespace spnet
