// A forward pass at one precision as a list of operators that a packed network knows.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "spnet/autograd/activation.hpp"
#include "spnet/autograd/arithmetic.hpp"
#include "spnet/autograd/conv.hpp"
#include "spnet/autograd/norm.hpp"
#include "spnet/autograd/pool.hpp"
#include "spnet/autograd/softmax.hpp"
#include "spnet/nn/module.hpp"
#include "spnet/pack/trace.hpp"
#include "spnet/quant/quantizer.hpp"
#include "spnet/runtime/graph.hpp"

namespace spnet {
inline namespace v0 {
namespace pack {

/// Images of the traced batch: a size that tells itself from that of an image.
inline constexpr std::int64_t kTracedImages = 2;

/// A weight as one forward pass used it.
struct TracedWeight {
  std::string name;                ///< of its parameter; empty where it is none
  std::optional<Quantized> codes;  ///< else floats
  int bits = kFloatBits;
  Tensor<float> floats;
};

/// A node of the graph at one precision; what depends on the precision stands beside the operator.
struct TracedNode {
  runtime::Operator op;
  std::vector<std::uint32_t> inputs = {};
  std::optional<TracedWeight> weight = {};  ///< of Conv2d and Linear
  Quantizer* quantizer = nullptr;           ///< of the operator's input; null: it stays float
  int input_bits = kFloatBits;
  ops::ChannelAffine<float> affine = {};  ///< of Normalize
};

namespace detail {

class GraphTracer {
 public:
  GraphTracer(nn::Module& module, const Variable<float>& x) : trace_(Trace::of(module, x)) {
    for (const auto& p : module.parameters()) names_[p.variable.id()] = p.name;
  }

  std::vector<TracedNode> nodes() {
    nodes_.push_back({.op = runtime::Input{}});
    values_[trace_.input().id()] = {0, nullptr};
    for (const TracedCall& call : trace_.calls())
      if (trace_.depends(call.output)) add(call);
    check<ValueError>(trace_.depends(trace_.output()), "pack: the network's output does not depend on its input");
    const std::uint32_t output = node_of(trace_.output());
    check<ValueError>(output + 1 == nodes_.size(), "pack: the network computes more than its output needs");
    return std::move(nodes_);
  }

 private:
  // A value is a node's result, perhaps through a quantizer that has not been given a node.
  struct Value {
    std::uint32_t node = 0;
    const TracedCall* quantized = nullptr;
  };

  void push(const TracedCall& call, TracedNode node) {
    nodes_.push_back(std::move(node));
    values_[call.output.id()] = {static_cast<std::uint32_t>(nodes_.size() - 1), nullptr};
  }
  // The node of a value, a quantizer included.
  std::uint32_t node_of(const Variable<float>& v) {
    const Value value = values_.at(v.id());
    if (!value.quantized) return value.node;
    const auto& what = *value.quantized->as<traced::Quantize>();
    push(*value.quantized,
         {.op = runtime::Quantize{}, .inputs = {value.node}, .quantizer = what.quantizer, .input_bits = what.bits});
    return values_.at(v.id()).node;
  }
  Shape image_shape(const Variable<float>& v) const {
    Shape shape = v.shape();
    check<ValueError>(shape.rank() >= 2 && shape[0] == kTracedImages, "pack: a value ", shape,
                      " of the network does not keep the batch as its first axis");
    shape.erase(0);
    return shape;
  }
  int image_axis(const Variable<float>& v, int axis) const {
    const int at = v.shape().index(axis);
    check<ValueError>(at > 0, "pack: the network joins or cuts batches");
    return at - 1;
  }

  void add(const TracedCall& call) {
    if (call.as<traced::Identity>()) {
      values_[call.output.id()] = values_.at(call.inputs[0].id());
    } else if (const auto* quantize = call.as<traced::Quantize>()) {
      check<ValueError>(!quantize->training && trace_.depends(call.inputs[0]), "pack: a quantizer is in training mode");
      const std::uint32_t node = node_of(call.inputs[0]);
      values_[call.output.id()] = {node, &call};
    } else if (const auto* conv = call.as<traced::Conv2d>()) {
      add_product(call, runtime::Conv2d{.options = conv->options, .weight = 0, .rules = {}});
    } else if (call.as<traced::Linear>()) {
      add_product(call, runtime::Linear{});
    } else if (const auto* norm = call.as<traced::Normalize>()) {
      check<ValueError>(!norm->training, "pack: a batch norm is in training mode");
      TracedNode node{.op = runtime::Normalize{.relu = norm->relu, .layers = {}, .affines = {}},
                      .affine = norm->affine};
      for (const auto& input : call.inputs) node.inputs.push_back(dependent(input));
      push(call, std::move(node));
    } else if (call.as<traced::Add>()) {
      add_binary(call, runtime::BinaryKind::kAdd);
    } else if (call.as<traced::Sub>()) {
      add_binary(call, runtime::BinaryKind::kSub);
    } else if (call.as<traced::Mul>()) {
      add_binary(call, runtime::BinaryKind::kMul);
    } else if (call.as<traced::Div>()) {
      add_binary(call, runtime::BinaryKind::kDiv);
    } else if (call.as<traced::Prelu>()) {
      add_binary(call, runtime::BinaryKind::kPrelu);
    } else if (call.as<traced::Relu>()) {
      add_unary(call, {.kind = runtime::UnaryKind::kRelu});
    } else if (call.as<traced::Tanh>()) {
      add_unary(call, {.kind = runtime::UnaryKind::kTanh});
    } else if (call.as<traced::Sigmoid>()) {
      add_unary(call, {.kind = runtime::UnaryKind::kSigmoid});
    } else if (call.as<traced::Softmax>()) {
      add_unary(call, {.kind = runtime::UnaryKind::kSoftmax});
    } else if (const auto* clamp = call.as<traced::Clamp>()) {
      add_unary(call, {runtime::UnaryKind::kClamp, clamp->low, clamp->high});
    } else if (const auto* affine = call.as<traced::Affine>()) {
      add_unary(call, {runtime::UnaryKind::kAffine, affine->factor, affine->offset});
    } else if (const auto* max = call.as<traced::MaxPool2d>()) {
      push(call, {.op = runtime::Pool2d{runtime::PoolKind::kMax, max->options}, .inputs = {node_of(call.inputs[0])}});
    } else if (const auto* average = call.as<traced::AvgPool2d>()) {
      push(call,
           {.op = runtime::Pool2d{runtime::PoolKind::kAverage, average->options}, .inputs = {node_of(call.inputs[0])}});
    } else if (call.as<traced::GlobalAvgPool2d>()) {
      push(call, {.op = runtime::GlobalAvgPool2d{}, .inputs = {node_of(call.inputs[0])}});
    } else if (call.as<traced::Reshape>()) {
      push(call, {.op = runtime::Reshape{image_shape(call.output)}, .inputs = {node_of(call.inputs[0])}});
    } else if (const auto* narrow = call.as<traced::Narrow>()) {
      push(call, {.op = runtime::Narrow{image_axis(call.output, narrow->axis), narrow->begin, narrow->length},
                  .inputs = {node_of(call.inputs[0])}});
    } else if (const auto* concat = call.as<traced::Concat>()) {
      TracedNode node{.op = runtime::Concat{image_axis(call.output, concat->axis)}};
      for (const auto& input : call.inputs) node.inputs.push_back(dependent(input));
      push(call, std::move(node));
    } else {
      throw ValueError(message("pack: the network calls an operator that has no packed form, after node ",
                               nodes_.size() - 1, "; its result is ", call.output.shape()));
    }
  }

  std::uint32_t dependent(const Variable<float>& v) {
    check<ValueError>(trace_.depends(v),
                      "pack: the network joins or adds, in a normalisation, what does not depend on its input");
    return node_of(v);
  }

  TracedWeight weight_of(const Variable<float>& w) const {
    check<ValueError>(!trace_.depends(w), "pack: a weight depends on the network's input");
    TracedWeight out;
    const TracedCall* made = trace_.call_of(w);
    const bool is_quantized = made && made->as<traced::Quantize>();
    const auto name = names_.find(is_quantized ? made->inputs[0].id() : w.id());
    if (name != names_.end()) out.name = name->second;
    if (is_quantized) {
      const auto* codes = w.deferred_as<DeferredCodes>();
      check<ValueError>(codes, "pack: a weight's quantizer gave no codes");
      out.codes = codes->quantized;
      out.bits = made->as<traced::Quantize>()->bits;
    } else {
      out.floats = w.value().contiguous();
    }
    return out;
  }
  void add_product(const TracedCall& call, runtime::Operator op) {
    check<ValueError>(trace_.depends(call.inputs[0]), "pack: a weight depends on the network's input");
    const Value x = values_.at(call.inputs[0].id());
    TracedNode node{.op = std::move(op), .inputs = {x.node}, .weight = weight_of(call.inputs[1])};
    if (x.quantized) {
      const auto& what = *x.quantized->as<traced::Quantize>();
      node.quantizer = what.quantizer;
      node.input_bits = what.bits;
    }
    push(call, std::move(node));
  }
  void add_unary(const TracedCall& call, runtime::Unary op) {
    push(call, {.op = op, .inputs = {node_of(call.inputs[0])}});
  }

  void add_binary(const TracedCall& call, runtime::BinaryKind kind) {
    // Adding a value for each channel is what a normalisation does.
    if (kind == runtime::BinaryKind::kAdd) {
      for (std::size_t i = 0; i < 2; ++i) {
        const Variable<float>&x = call.inputs[i], &b = call.inputs[1 - i];
        if (!trace_.depends(x) || trace_.depends(b) || b.shape() != Shape{x.shape().back()}) continue;
        return push(call, {.op = runtime::Normalize{},
                           .inputs = {node_of(x)},
                           .affine = {Tensor<float>::ones(b.shape()), b.value().clone()}});
      }
    }
    std::vector<std::uint32_t> inputs;
    for (const auto& input : call.inputs) {
      if (trace_.depends(input)) {
        inputs.push_back(node_of(input));
        continue;
      }
      const Tensor<float>& value = input.value();
      check<ValueError>(value.rank() < call.output.shape().rank() || value.dim(0) == 1,
                        "pack: the network works on batches with a constant ", value.shape());
      nodes_.push_back({.op = runtime::Constant{value.rank() == call.output.shape().rank() ? value.select(0, 0).clone()
                                                                                           : value.clone()}});
      inputs.push_back(static_cast<std::uint32_t>(nodes_.size() - 1));
    }
    push(call, {.op = runtime::Binary{kind}, .inputs = std::move(inputs)});
  }

  Trace trace_;
  std::map<const void*, std::string> names_;
  std::map<const void*, Value> values_;
  std::vector<TracedNode> nodes_;
};

}  // namespace detail

/// The nodes of module(x) at the module's present precision, in evaluation mode; x has kTracedImages images. Throws
/// ValueError where an operator has no packed form.
inline std::vector<TracedNode> trace_nodes(nn::Module& module, const Variable<float>& x) {
  return detail::GraphTracer(module, x).nodes();
}

}  // namespace pack
}  // namespace v0
}  // namespace spnet
