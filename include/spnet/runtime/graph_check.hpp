// Whether a graph can run at each of its precisions, and the shapes of its values. Nothing in it is trusted: it may
// come from a stranger's file.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/pool.hpp"
#include "spnet/runtime/graph.hpp"
#include "spnet/runtime/weight_check.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

/// Elements of all values of a graph, for one image.
inline constexpr std::int64_t kMaxGraphElements = std::int64_t{1} << 31;
inline constexpr std::int64_t kMaxKernel = 256;
inline constexpr std::size_t kMaxNodes = 1 << 16, kMaxLayers = 1 << 14, kMaxPrecisions = 64;

namespace detail {

// A batch of one before a shape, and without it.
inline Shape with_batch(Shape shape, std::int64_t images = 1) {
  shape.insert(0, images);
  return shape;
}
inline Shape without_batch(Shape shape) {
  shape.erase(0);
  return shape;
}

class GraphCheck {
 public:
  explicit GraphCheck(const Graph& graph) : g_(graph) {}

  std::vector<Shape> shapes() {
    check<ValueError>(!g_.nodes.empty() && g_.nodes.size() <= kMaxNodes, g_.nodes.size(), " nodes, expected 1 to ",
                      kMaxNodes);
    check<ValueError>(g_.layers.size() <= kMaxLayers, g_.layers.size(), " layers, expected up to ", kMaxLayers);
    check<ValueError>(!g_.precisions.empty() && g_.precisions.size() <= kMaxPrecisions, g_.precisions.size(),
                      " precisions, expected 1 to ", kMaxPrecisions);
    for (const Precision p : g_.precisions) check_precision(p, "a precision");
    check<ValueError>(g_.accuracies.size() == g_.precisions.size(), g_.accuracies.size(), " accuracies of ",
                      g_.precisions.size(), " precisions");
    for (const auto& accuracy : g_.accuracies) check_accuracy(accuracy);
    for (std::size_t i = 0; i < g_.configurations.size(); ++i)
      at("configuration", i, g_.configurations[i].name.c_str(), [&] {
        check_configuration(g_.configurations[i].layers);
        check_accuracy(g_.configurations[i].accuracy);
      });
    check<ValueError>(!g_.is_fixed || !g_.configurations.empty(),
                      "layers are fixed, but there is no configuration to say how");
    precisions_ = layer_precisions(g_);
    const Preparation& prepared = g_.preparation;
    check<ValueError>(prepared.centre_share > 0 && prepared.centre_share <= 1, "centre share ", prepared.centre_share);
    check<ValueError>(prepared.mean.size() == prepared.deviation.size() &&
                          (prepared.mean.empty() || static_cast<std::int64_t>(prepared.mean.size()) == g_.input.back()),
                      prepared.mean.size(), " means and ", prepared.deviation.size(), " deviations for ", g_.input);
    check_finite(prepared.mean, "mean");
    for (const float d : prepared.deviation) check<ValueError>(std::isfinite(d) && d > 0, "deviation ", d);
    for (std::size_t i = 0; i < g_.weights.size(); ++i) at("weight", i, "", [&] { check_weight(g_.weights[i]); });
    for (std::size_t i = 0; i < g_.nodes.size(); ++i)
      at("node", i, operator_name(g_.nodes[i].op), [&] { add(i, g_.nodes[i]); });
    check<ValueError>(!std::holds_alternative<Constant>(g_.nodes.back().op), "the last node is a constant");
    return std::move(shapes_);
  }

 private:
  template <class Body>
  static void at(const char* what, std::size_t i, const char* name, const Body& body) {
    try {
      body();
    } catch (const Error& error) {
      throw ValueError(message(what, ' ', i, *name ? " (" : "", name, *name ? "): " : ": ", error.what()));
    }
  }

  static void check_accuracy(const std::optional<Accuracy>& accuracy) {
    check<ValueError>(!accuracy || (accuracy->top1_percent >= 0 && accuracy->top1_percent <= 100), "an accuracy of ",
                      accuracy ? accuracy->top1_percent : 0, " %, expected 0 to 100");
  }
  void check_configuration(const Configuration& layers) const {
    check<ValueError>(layers.size() == g_.layers.size(), layers.size(), " precisions for ", g_.layers.size(),
                      " layers");
    for (const std::uint8_t p : layers)
      check<ValueError>(p < g_.precisions.size(), "precision number ", int{p}, " of ", g_.precisions.size());
  }

  void add(std::size_t i, const Node& node) {
    for (const std::uint32_t input : node.inputs)
      check<ValueError>(input < i, "reads node ", input, ", which does not come before it");
    check<ValueError>(node.layer >= -1 && node.layer < std::ssize(g_.layers), "layer ", node.layer, " of ",
                      g_.layers.size());
    check<ValueError>((i == 0) == std::holds_alternative<Input>(node.op), "the first node, and no other, is the input");
    if (!std::holds_alternative<Binary>(node.op))
      for (std::size_t k = 0; k < node.inputs.size(); ++k)
        check<ValueError>(!is_constant(node, k), "reads node ", node.inputs[k], ", a constant");
    const Shape shape = std::visit([&](const auto& op) { return shape_of(op, node); }, node.op);
    check_widths(node);
    const std::int64_t count = element_count(shape);
    check<ShapeError>(count >= 1 && count <= kMaxElements && shape.rank() < kMaxRank, "a result of shape ", shape);
    elements_ += count;
    check<ShapeError>(elements_ <= kMaxGraphElements, "all results up to here have ", elements_, " elements");
    shapes_.push_back(shape);
  }

  // What a node must have at the precisions that its layer may have.
  void check_widths(const Node& node) const {
    if (node.layer < 0) return;
    const std::uint64_t precisions = precisions_[static_cast<std::size_t>(node.layer)];
    for (std::size_t i = 0; i < g_.precisions.size(); ++i) {
      if (!(precisions >> i & 1)) continue;
      const Precision p = g_.precisions[i];
      check<ValueError>(has_codes(node, p.activation_bits), "no codes of its input at ", p);
      check<ValueError>(has_weight(g_, node, p.weight_bits), "no weight at ", p);
    }
  }
  bool is_constant(const Node& node, std::size_t i) const {
    return std::holds_alternative<Constant>(g_.nodes[node.inputs[i]].op);
  }
  const Shape& input(const Node& node, std::size_t i = 0) const { return shapes_[node.inputs[i]]; }
  static void expect_inputs(const Node& node, std::size_t least, std::size_t most) {
    check<ValueError>(node.inputs.size() >= least && node.inputs.size() <= most, node.inputs.size(),
                      " inputs, expected ", least, least == most ? "" : message(" to ", most));
  }
  static void expect_axis(int axis, const Shape& shape) {
    check<ValueError>(axis >= 0 && axis < shape.rank(), "axis ", axis, " of ", shape);
  }

  void check_rules(const CodeRules& rules, const Node& node) const {
    for (const auto& [bits, rule] : rules) check_rule(rule, bits);
    if (rules.empty()) return;
    check<ValueError>(node.layer >= 0, "its input's codes depend on the precision, but it is no layer");
  }
  const Weight& checked_weight(std::uint32_t index, int rank, const Node& node) const {
    check<ValueError>(index < g_.weights.size(), "weight ", index, " of ", g_.weights.size());
    const Weight& w = g_.weights[index];
    check<ShapeError>(w.shape.rank() == rank, "weight ", w.shape, " has another rank than ", rank);
    if (w.codes.empty()) return w;
    check<ValueError>(node.layer >= 0, "its weight depends on the precision, but it is no layer");
    return w;
  }

  Shape shape_of(const Input&, const Node& node) const {
    expect_inputs(node, 0, 0);
    check<ShapeError>(g_.input.rank() >= 1, "shape ", g_.input);
    return g_.input;
  }
  Shape shape_of(const Conv2d& op, const Node& node) const {
    expect_inputs(node, 1, 1);
    check_rules(op.rules, node);
    const Weight& w = checked_weight(op.weight, 4, node);
    const Shape y = without_batch(
        ops::detail::output_shape(ops::detail::conv_sizes("conv2d", with_batch(input(node)), w.shape, op.options)));
    // Every tap of a kernel is noted down.
    check<ValueError>(w.shape[1] <= kMaxKernel && w.shape[2] <= kMaxKernel, "a kernel of ", w.shape[1], 'x', w.shape[2],
                      ", expected up to ", kMaxKernel, 'x', kMaxKernel);
    // What convolutions copy of an image has a part of its padding.
    const Shape& x = input(node);
    const std::int64_t rows = x[0] + 2 * op.options.padding.h, cols = x[1] + 2 * op.options.padding.w;
    check<ValueError>(rows <= kMaxElements / std::max<std::int64_t>(cols * x[2], 1), "an image of ", rows, 'x', cols,
                      'x', x[2], " with its padding");
    return y;
  }
  Shape shape_of(const Linear& op, const Node& node) const {
    expect_inputs(node, 1, 1);
    check_rules(op.rules, node);
    const Weight& w = checked_weight(op.weight, 2, node);
    check<ShapeError>(input(node) == Shape{w.shape[1]}, "input ", input(node), " for weight ", w.shape);
    return {w.shape[0]};
  }
  Shape shape_of(const Normalize& op, const Node& node) const {
    expect_inputs(node, 1, 2);
    const Shape& x = input(node);
    check<ShapeError>(node.inputs.size() == 1 || input(node, 1) == x, "input ", x, ", residual ",
                      input(node, node.inputs.size() - 1));
    std::size_t expected = 1;
    check<ValueError>(op.layers.size() <= 2, op.layers.size(), " layers, expected up to 2");
    for (const std::uint32_t layer : op.layers) {
      check<ValueError>(layer < g_.layers.size(), "layer ", layer, " of ", g_.layers.size());
      expected *= g_.precisions.size();
    }
    check<ValueError>(op.affines.size() == expected, op.affines.size(), " forms, expected ", expected);
    bool any = false;
    for (const auto& affine : op.affines) {
      if (op.layers.size() == 2 && !affine.scale.defined()) continue;
      any = true;
      const Shape channels{x.back()};
      check<ShapeError>(affine.scale.defined() && affine.shift.defined() && affine.scale.shape() == channels &&
                            affine.shift.shape() == channels,
                        "scale and shift, expected ", channels);
      check_finite(affine.scale.span(), "scale");
      check_finite(affine.shift.span(), "shift");
    }
    check<ValueError>(any, "no scale and shift at all");
    return x;
  }
  Shape shape_of(const Quantize& op, const Node& node) const {
    expect_inputs(node, 1, 1);
    check_rules(op.rules, node);
    return input(node);
  }
  Shape shape_of(const Constant& op, const Node& node) const {
    expect_inputs(node, 0, 0);
    check<ValueError>(op.value.defined(), "no value");
    check_finite(op.value.span(), "value");
    return op.value.shape();
  }
  Shape shape_of(const Unary& op, const Node& node) const {
    expect_inputs(node, 1, 1);
    check<ValueError>(op.kind <= UnaryKind::kAffine, "kind ", static_cast<int>(op.kind));
    const std::array<float, 2> numbers{op.a, op.b};
    check_finite(numbers, "parameter");
    check<ValueError>(op.kind != UnaryKind::kClamp || op.a <= op.b, "clamp to ", op.a, "..", op.b);
    check<ShapeError>(input(node).rank() >= 1, "input ", input(node));
    return input(node);
  }
  Shape shape_of(const Binary& op, const Node& node) const {
    expect_inputs(node, 2, 2);
    check<ValueError>(op.kind <= BinaryKind::kPrelu, "kind ", static_cast<int>(op.kind));
    check<ValueError>(!is_constant(node, 0) || !is_constant(node, 1), "reads two constants");
    const Shape &a = input(node, 0), &b = input(node, 1);
    // All but constants have the batch before their shape, and it must meet the other's.
    check<ShapeError>(a.rank() == b.rank() || is_constant(node, a.rank() < b.rank() ? 0 : 1), a, " and ", b,
                      " differ in rank");
    return broadcast_shapes(a, b, "binary");
  }
  Shape shape_of(const Pool2d& op, const Node& node) const {
    expect_inputs(node, 1, 1);
    check<ValueError>(op.kind <= PoolKind::kAverage, "kind ", static_cast<int>(op.kind));
    const auto s = ops::detail::pool_geometry("pool2d", with_batch(input(node)), op.options);
    return {s.out_h, s.out_w, s.c};
  }
  Shape shape_of(const GlobalAvgPool2d&, const Node& node) const {
    expect_inputs(node, 1, 1);
    check<ShapeError>(input(node).rank() == 3, "input ", input(node), ", expected [H,W,C]");
    return {input(node)[2]};
  }
  Shape shape_of(const Reshape& op, const Node& node) const {
    expect_inputs(node, 1, 1);
    check<ShapeError>(element_count(op.shape) == element_count(input(node)), input(node), " as ", op.shape);
    return op.shape;
  }
  Shape shape_of(const Concat& op, const Node& node) const {
    expect_inputs(node, 1, 1024);
    Shape all = input(node);
    expect_axis(op.axis, all);
    for (std::size_t i = 1; i < node.inputs.size(); ++i) {
      Shape part = input(node, i);
      check<ShapeError>(part.rank() == all.rank(), all, " and ", part);
      all[op.axis] += std::exchange(part[op.axis], 0);
      Shape rest = all;
      rest[op.axis] = 0;
      check<ShapeError>(part == rest, input(node), " and ", input(node, i), " differ on another axis than ", op.axis);
      check<ShapeError>(all[op.axis] <= kMaxElements, "too large");
    }
    return all;
  }
  Shape shape_of(const Narrow& op, const Node& node) const {
    expect_inputs(node, 1, 1);
    Shape shape = input(node);
    expect_axis(op.axis, shape);
    check<ValueError>(
        op.begin >= 0 && op.length >= 1 && op.begin <= shape[op.axis] && op.length <= shape[op.axis] - op.begin,
        op.length, " entries from ", op.begin, " of ", shape, " along axis ", op.axis);
    shape[op.axis] = op.length;
    return shape;
  }

  const Graph& g_;
  std::int64_t elements_ = 0;
  std::vector<std::uint64_t> precisions_;  // of each layer: see layer_precisions
  std::vector<Shape> shapes_;
};

}  // namespace detail

/// The shapes of the nodes' results, for one image. Throws ValueError, naming the node or the weight, where the graph
/// cannot run at all the precisions that its layers may have, or asks for too much.
inline std::vector<Shape> check_graph(const Graph& graph) { return detail::GraphCheck(graph).shapes(); }

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
