// The graph of a packed network: what it computes at each of its precisions, without a word of how it was trained.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "spnet/core/precision.hpp"
#include "spnet/ops/batch_norm.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/pool.hpp"
#include "spnet/ops/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

/// A function that is constant between ascending bounds: codes[how many of `bounds` [n] are ≤ x], n + 1 codes.
struct CodeSteps {
  Tensor<float> bounds;
  std::vector<std::uint8_t> codes;

  std::uint8_t operator()(float x) const {
    const std::span<const float> b = bounds.span();
    return codes[static_cast<std::size_t>(std::upper_bound(b.begin(), b.end(), x) - b.begin())];
  }
};

/// How floats become codes.
struct CodeRule {
  std::variant<ops::UniformForm, CodeSteps> codes;
  CodeMap map;  ///< with one scale
};

/// How an operator's input becomes codes, by activation bits. Where a width is not there, the input stays float.
using CodeRules = std::map<int, CodeRule>;

/// Bytes that lie in a file, or elsewhere, and what keeps them there.
struct Bytes {
  std::shared_ptr<const void> owner;
  std::span<const std::byte> span;
};

/// Codes of one or several widths as bit planes, the highest bit first. A plane has a bit for each element of the
/// weight, eight to a byte, the first lowest, and no padding but in its last byte.
struct Planes {
  int count = 0;
  Bytes bytes;
};

/// How the codes of a width b follow from the H planes of u: with t, the highest bits of u,
enum class Derivation : std::uint8_t {
  kStored,   ///< u itself
  kRounded,  ///< min(⌊(t + 1)/2⌋, 2^b − 1) of b + 1 planes: half up, as Double Rounding
  kFloor,    ///< max(t − 1, 0) of b planes: floor-nested, symmetrical
  kPrefix,   ///< t of b planes, for fewer than are stored
};

/// A weight's codes at one width.
struct WeightCodes {
  std::uint32_t planes = 0;  ///< which of the weight's
  Derivation derivation = Derivation::kStored;
  CodeMap map;
};

/// A weight at all of the network's widths.
struct Weight {
  Shape shape;   ///< [O,kH,kW,C/groups] or [out,in]
  Bytes floats;  ///< row-major, where a precision needs them; else empty
  std::vector<Planes> planes;
  std::map<int, WeightCodes> codes;  ///< by weight bits
};

// The operators. Shapes are those of one image: what runs has the batch before them.

struct Input {};
/// Inputs: x. Convolution at the precision of the node's layer.
struct Conv2d {
  ops::Conv2dOptions options;
  std::uint32_t weight = 0;
  CodeRules rules;
};
/// Inputs: x. x·wᵀ at the precision of the node's layer.
struct Linear {
  std::uint32_t weight = 0;
  CodeRules rules;
};
/// Inputs: x and perhaps a residual. x·scale[c] + shift[c], plus the residual, then relu where asked. The precisions of
/// `layers` (none, one or two), as digits, the first highest, choose among `affines`.
struct Normalize {
  bool relu = false;
  std::vector<std::uint32_t> layers;
  std::vector<ops::ChannelAffine<float>> affines;  ///< undefined where there is none for these precisions
};
/// Inputs: x. To codes and back, at the precision of the node's layer.
struct Quantize {
  CodeRules rules;
};
/// No inputs; the same for every image.
struct Constant {
  Tensor<float> value;
};
enum class UnaryKind : std::uint8_t { kRelu, kTanh, kSigmoid, kSoftmax, kClamp, kAffine };
/// Inputs: x. kClamp to a..b, kAffine a·x + b, kSoftmax along the last axis.
struct Unary {
  UnaryKind kind = UnaryKind::kRelu;
  float a = 0, b = 0;
};
enum class BinaryKind : std::uint8_t { kAdd, kSub, kMul, kDiv, kPrelu };
/// Inputs: two, whose shapes broadcast. kPrelu: x and slope.
struct Binary {
  BinaryKind kind = BinaryKind::kAdd;
};
enum class PoolKind : std::uint8_t { kMax, kAverage };
/// Inputs: x.
struct Pool2d {
  PoolKind kind = PoolKind::kMax;
  ops::Pool2dOptions options;
};
/// Inputs: x [H,W,C] → [C].
struct GlobalAvgPool2d {};
/// Inputs: x. The same elements as `shape`.
struct Reshape {
  Shape shape;
};
/// Inputs: one or more, joined along `axis`.
struct Concat {
  int axis = 0;
};
/// Inputs: x. `length` entries from `begin` along `axis`.
struct Narrow {
  int axis = 0;
  std::int64_t begin = 0, length = 0;
};

using Operator = std::variant<Input, Conv2d, Linear, Normalize, Quantize, Constant, Unary, Binary, Pool2d,
                              GlobalAvgPool2d, Reshape, Concat, Narrow>;

/// An operator and the nodes that it reads, all of which come before it.
struct Node {
  Operator op;
  std::vector<std::uint32_t> inputs;
  std::int32_t layer = -1;  ///< whose precision it has; −1: none
};

/// How the images that a network was trained on became its input: the shorter side resized to the input's over
/// `centre_share`, the centre cropped, (value/255 − mean)/deviation for each channel.
struct Preparation {
  float centre_share = 1;
  std::vector<float> mean, deviation;
};

/// What was measured when the network was packed.
struct Accuracy {
  std::int64_t images = 0;
  double top1_percent = 0;
};

/// A precision for each layer, by its place in the graph's list.
using Configuration = std::vector<std::uint8_t>;

/// One that is worth having, under a name.
struct NamedConfiguration {
  std::string name;
  Configuration layers;
  std::optional<Accuracy> accuracy;
};

/// A network. Node 0 is its Input, the last node its output.
struct Graph {
  std::string name;
  Shape input;  ///< [H,W,C]
  Preparation preparation;
  std::vector<std::string> classes;
  std::vector<Precision> precisions;                ///< those that a layer may have
  std::vector<std::optional<Accuracy>> accuracies;  ///< with all layers at each of them
  std::vector<std::string> layers;                  ///< the names of what may have a precision of its own
  /// Layers have what the configurations ask for, of which there is at least one, and nothing else; else each layer may
  /// have each precision.
  bool is_fixed = false;
  std::vector<NamedConfiguration> configurations = {};  ///< beside all layers at one precision
  std::vector<Weight> weights;
  std::vector<Node> nodes;
  std::uint64_t checksum = 0;  ///< of the file that it was read from; not part of it
};

/// The name of an operator, for messages.
inline const char* operator_name(const Operator& op) {
  static constexpr const char* kNames[] = {"input",    "conv2d", "linear", "normalize", "quantize",
                                           "constant", "unary",  "binary", "pool2d",    "global_avg_pool2d",
                                           "reshape",  "concat", "narrow"};
  static_assert(std::size(kNames) == std::variant_size_v<Operator>);
  return kNames[op.index()];
}

/// The weight of an operator; null where it has none.
inline const Weight* weight_of(const Graph& graph, const Operator& op) {
  if (const auto* conv = std::get_if<Conv2d>(&op)) return &graph.weights[conv->weight];
  if (const auto* linear = std::get_if<Linear>(&op)) return &graph.weights[linear->weight];
  return nullptr;
}

/// The rules by which node i's own input becomes codes; null where it has none.
inline const CodeRules* rules_of(const Operator& op) {
  if (const auto* conv = std::get_if<Conv2d>(&op)) return &conv->rules;
  if (const auto* linear = std::get_if<Linear>(&op)) return &linear->rules;
  if (const auto* quantize = std::get_if<Quantize>(&op)) return &quantize->rules;
  return nullptr;
}

/// Whether a node's input becomes codes of so many bits, or stays float, as is asked.
inline bool has_codes(const Node& node, int activation_bits) {
  const CodeRules* rules = rules_of(node.op);
  return !rules || rules->empty() || activation_bits == kFloatBits || rules->contains(activation_bits);
}
/// Whether a node's weight, if it depends on the precision, is there at so many bits.
inline bool has_weight(const Graph& graph, const Node& node, int weight_bits) {
  const Weight* weight = weight_of(graph, node.op);
  if (!weight || weight->codes.empty()) return true;
  return weight_bits == kFloatBits ? !weight->floats.span.empty() : weight->codes.contains(weight_bits);
}
/// The precisions that layers may have, as bits: bit p of word l, for precision p and layer l.
inline std::vector<std::uint64_t> layer_precisions(const Graph& graph) {
  const std::size_t count = graph.precisions.size();
  const std::uint64_t all = count < 64 ? (std::uint64_t{1} << count) - 1 : ~std::uint64_t{0};
  std::vector<std::uint64_t> out(graph.layers.size(), graph.is_fixed ? 0 : all);
  for (const NamedConfiguration& c : graph.configurations)
    for (std::size_t l = 0; l < out.size(); ++l) out[l] |= std::uint64_t{1} << c.layers[l];
  return out;
}

/// Those of the graph's precisions that all layers may have at once.
inline std::vector<Precision> uniform_precisions(const Graph& graph) {
  std::uint64_t all = ~std::uint64_t{0};
  for (const std::uint64_t layer : layer_precisions(graph)) all &= layer;
  std::vector<Precision> out;
  for (std::size_t p = 0; p < graph.precisions.size(); ++p)
    if (all >> p & 1) out.push_back(graph.precisions[p]);
  return out;
}

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
