// A convolution or a linear layer at one precision, its weights expanded for the kernels.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>

#include "spnet/ops/conv2d.hpp"
#include "spnet/ops/conv2d_codes.hpp"
#include "spnet/ops/linear.hpp"
#include "spnet/runtime/bit_planes.hpp"
#include "spnet/runtime/graph.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

/// Bits of a node's weight and of its input with layer l at precision configuration[l]: 32 where the weight, or the
/// input, is float at every precision.
inline Precision widths_at(const Graph& graph, const Node& node, std::span<const std::uint8_t> configuration) {
  const Precision p =
      node.layer < 0 ? Precision{} : graph.precisions[configuration[static_cast<std::size_t>(node.layer)]];
  const CodeRules* rules = rules_of(node.op);
  const Weight* weight = weight_of(graph, node.op);
  return {!weight || weight->codes.empty() ? kFloatBits : p.weight_bits,
          !rules || rules->empty() ? kFloatBits : p.activation_bits};
}

/// The rule for the input's codes at `bits`; null at 32.
inline const CodeRule* rule_at(const Operator& op, int bits) {
  const CodeRules* rules = rules_of(op);
  if (!rules || bits == kFloatBits) return nullptr;
  const auto at = rules->find(bits);
  return at == rules->end() ? nullptr : &at->second;
}

/// One way of multiplying, as the differentiable operators choose it for the same operands: results have the same bits.
struct Product {
  /// Codes by codes gives sums; codes or floats by floats give floats.
  std::variant<ops::PackedCodesConv2d, ops::PackedConv2d> kernel;
  bool reads_codes = false;  ///< else floats
  std::int64_t bytes = 0;

  std::string name() const {
    const std::string of_kernel = std::visit([](const auto& k) { return k.kernel_name(); }, kernel);
    return of_kernel + (reads_codes && std::holds_alternative<ops::PackedConv2d>(kernel) ? " of codes" : "");
  }
};

namespace detail {

// Reads the codes of `weight` at `bits`, one of its widths, for as long as the weight is there.
inline ops::CodesReader codes_reader(const Weight& weight, int bits) {
  return [&weight, bits](std::int64_t begin, std::int64_t count, std::uint8_t* scratch) {
    const WeightCodes& codes = weight.codes.at(bits);
    const std::int64_t before = begin % 8;
    unpack_range(weight.planes[codes.planes], element_count(weight.shape), codes.derivation, bits,
                 largest_code(codes.map), begin - before, count + before, scratch);
    return scratch + before;
  };
}

// Reads the values of `weight` at `bits` the same way, times `factor` where there is one.
inline ops::WeightReader weight_reader(const Weight& weight, int bits, std::optional<float> factor) {
  if (bits == kFloatBits) return ops::WeightReader(reinterpret_cast<const float*>(weight.floats.span.data()), factor);
  return ops::WeightReader(codes_reader(weight, bits), weight.codes.at(bits).map, weight.shape, factor);
}

}  // namespace detail

/// True where the product of these operands is one of codes by codes.
inline bool gives_sums(const Graph& graph, const Node& node, Precision widths) {
  const Weight* weight = weight_of(graph, node.op);
  const CodeRule* rule = rule_at(node.op, widths.activation_bits);
  const AffineCodes* codes = rule ? std::get_if<AffineCodes>(&rule->map) : nullptr;
  if (!weight || !codes || widths.weight_bits == kFloatBits) return false;
  return !ops::integer_form_obstacle(*codes, weight->codes.at(widths.weight_bits).map, ops::as_images(weight->shape));
}

/// True where there is a choice among products of codes; of few channels, most of each unit of bits would be empty.
inline bool has_choice(const Graph& graph, const Node& node, Precision widths) {
  if (!gives_sums(graph, node, widths)) return false;
  const Weight& weight = *weight_of(graph, node.op);
  const auto& x = std::get<AffineCodes>(rule_at(node.op, widths.activation_bits)->map);
  const auto& w = std::get<AffineCodes>(weight.codes.at(widths.weight_bits).map);
  return weight.shape.back() >= 8 && ops::detail::WeightForm::has_planes(x, w);
}

/// True where codes by floats are multiplied as floats, which are the codes' integers: as the differentiable operators
/// do, but for where these leave out products of bf16.
inline bool reads_codes_as_floats(ops::Float32Precision precision) {
  return precision == ops::Float32Precision::kHighest;
}

/// The product of node `node`, which is a Conv2d or a Linear, for inputs of `x` [N,...] at `widths`; `precision` is
/// float32_matmul_precision().
inline Product make_product(const Graph& graph, const Node& node, const Shape& x, Precision widths,
                            ops::CodesProduct choice, ops::Float32Precision precision) {
  const auto finished = [](Product product) {
    product.bytes = std::visit([](const auto& kernel) { return kernel.bytes(); }, product.kernel);
    return product;
  };
  const Weight& weight = *weight_of(graph, node.op);
  const Shape images = ops::as_images(x), kernels = ops::as_images(weight.shape);
  const auto* conv = std::get_if<Conv2d>(&node.op);
  const ops::Conv2dOptions options = conv ? conv->options : ops::Conv2dOptions{};
  const CodeRule* rule = rule_at(node.op, widths.activation_bits);
  const AffineCodes* codes = rule ? std::get_if<AffineCodes>(&rule->map) : nullptr;
  if (gives_sums(graph, node, widths))
    return finished({ops::PackedCodesConv2d(images, *codes, kernels, weight.codes.at(widths.weight_bits).map,
                                            detail::codes_reader(weight, widths.weight_bits), options, choice),
                     true});
  std::optional<float> factor;  // a code of the input stands for its integer
  if (codes) factor = ops::detail::scale_of(*codes);
  const bool reads_codes = codes && !reads_codes_as_floats(precision);
  std::optional<std::int64_t> largest;
  // Floats of codes have the engine of codes where another would round sums at other places.
  if (reads_codes || (codes && ops::detail::cuts_sums(kernels))) largest = ops::detail::IntegerRange(*codes).largest();
  const ops::WeightReader values = detail::weight_reader(weight, widths.weight_bits, factor);
  return finished({ops::PackedConv2d(images, kernels, values, options, largest), reads_codes});
}

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
