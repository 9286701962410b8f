// From a graph, a precision for each of its layers and a number of images to steps and a block of memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "spnet/runtime/memory_plan.hpp"
#include "spnet/runtime/model.hpp"
#include "spnet/runtime/steps.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

/// What is to be done, in order, and where the values lie.
struct Plan {
  std::vector<std::unique_ptr<const Step>> steps;
  std::vector<ProductKey> products;
  MemoryPlan memory;
  BufferId input = kNoBuffer, output = kNoBuffer;
};

namespace detail {

inline bool same_map(const CodeMap& a, const CodeMap& b) {
  const auto same = [](const Tensor<float>& x, const Tensor<float>& y) {
    return std::ranges::equal(x.span(), y.span());
  };
  if (a.index() != b.index()) return false;
  if (const auto* lut = std::get_if<LutCodes>(&a)) return same(lut->table, std::get<LutCodes>(b).table);
  const auto &x = std::get<AffineCodes>(a), &y = std::get<AffineCodes>(b);
  return same(x.scale, y.scale) && x.step == y.step && x.zero_point == y.zero_point && x.qmin == y.qmin &&
         x.qmax == y.qmax;
}
/// True where both make the same codes, and these stand for the same.
inline bool same_rule(const CodeRule& a, const CodeRule& b) {
  if (&a == &b) return true;
  if (a.codes.index() != b.codes.index() || !same_map(a.map, b.map)) return false;
  if (const auto* x = std::get_if<ops::UniformForm>(&a.codes)) {
    const auto& y = std::get<ops::UniformForm>(b.codes);
    return x->sign == y.sign && x->factor == y.factor && x->low == y.low && x->high == y.high;
  }
  const auto &x = std::get<CodeSteps>(a.codes), &y = std::get<CodeSteps>(b.codes);
  return x.codes == y.codes && std::ranges::equal(x.bounds.span(), y.bounds.span());
}

class PlanBuilder {
 public:
  PlanBuilder(const Model& model, std::span<const std::uint8_t> configuration, std::int64_t images,
              ops::Float32Precision precision)
      : model_(model),
        graph_(model.graph()),
        configuration_(configuration),
        images_(images),
        precision_(precision),
        values_(graph_.nodes.size()) {}

  Plan build() {
    find_live();
    find_needs();
    for (std::uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      if (!live_[i] && i > 0) continue;
      node_ = i;
      std::visit([&](const auto& op) { add(op, graph_.nodes[i]); }, graph_.nodes[i].op);
    }
    plan_.output = values_.back().floats;
    use(plan_.output);
    plan_.memory = plan_memory(lifetimes_);
    return std::move(plan_);
  }

 private:
  // The forms in which a node's result is wanted, and where they are.
  struct Value {
    bool needs_floats = false;
    BufferId floats = kNoBuffer;
    std::vector<CodesOutput> codes;
  };

  Precision widths_of(const Node& node) const { return widths_at(graph_, node, configuration_); }
  const CodeRule* rule_of(const Node& node) const { return rule_at(node.op, widths_of(node).activation_bits); }
  Shape shape_of(std::size_t i) const { return with_batch(model_.shapes()[i], images_); }
  std::int64_t count_of(std::size_t i) const { return element_count(shape_of(i)); }
  static bool is_product(const Operator& op) {
    return std::holds_alternative<Conv2d>(op) || std::holds_alternative<Linear>(op);
  }
  // True for a product whose results nothing but a normalisation reads.
  bool is_joined(std::size_t i) const {
    const auto& readers = model_.consumers(i);
    if (!is_product(graph_.nodes[i].op) || readers.size() != 1) return false;
    const Node& reader = graph_.nodes[readers[0]];
    return std::holds_alternative<Normalize>(reader.op) && reader.inputs[0] == i;
  }

  // The nodes that the output depends on.
  void find_live() {
    live_.assign(graph_.nodes.size(), false);
    live_.back() = true;
    for (std::size_t i = graph_.nodes.size(); i-- > 0;)
      if (live_[i])
        for (const std::uint32_t input : graph_.nodes[i].inputs) live_[input] = true;
  }
  void find_needs() {
    values_.back().needs_floats = true;
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      if (!live_[i]) continue;
      for (std::size_t k = 0; k < node.inputs.size(); ++k) {
        const CodeRule* rule = k == 0 ? rule_of(node) : nullptr;
        Value& value = values_[node.inputs[k]];
        if (rule) {
          need_codes(value, *rule, decoding_of(node));
        } else {
          value.needs_floats = true;
        }
      }
    }
    for (std::size_t i = graph_.nodes.size(); i-- > 0;)
      if (std::holds_alternative<Reshape>(graph_.nodes[i].op)) values_[graph_.nodes[i].inputs[0]].needs_floats = true;
  }
  // What a node that has a rule for its input reads of the codes.
  Decoding decoding_of(const Node& node) const {
    if (gives_sums(graph_, node, widths_of(node))) return Decoding::kNone;
    const bool scales_weights = is_product(node.op) && std::holds_alternative<AffineCodes>(rule_of(node)->map);
    if (!scales_weights) return Decoding::kValues;
    return reads_codes_as_floats(precision_) ? Decoding::kIntegers : Decoding::kNone;
  }
  static void need_codes(Value& value, const CodeRule& rule, Decoding decoding) {
    for (CodesOutput& known : value.codes) {
      if (!same_rule(*known.rule, rule)) continue;
      known.needs_codes |= known.decoding != decoding;
      if (known.decoding == Decoding::kNone) known.decoding = decoding;
      return;
    }
    const bool needs_codes = decoding == Decoding::kNone || !std::holds_alternative<AffineCodes>(rule.map);
    value.codes.push_back({.rule = &rule, .decoding = decoding, .needs_codes = needs_codes});
    // Others than forms are found from floats.
    if (!std::holds_alternative<ops::UniformForm>(rule.codes)) value.needs_floats = true;
  }

  BufferId new_buffer(std::int64_t bytes) {
    const auto now = static_cast<std::int64_t>(plan_.steps.size());
    lifetimes_.push_back({bytes, now, now});
    return static_cast<BufferId>(lifetimes_.size() - 1);
  }
  BufferId new_floats(std::size_t node) {
    return new_buffer(count_of(node) * static_cast<std::int64_t>(sizeof(float)));
  }
  // The buffer is read, or written, by the next step.
  BufferId use(BufferId buffer) {
    if (buffer != kNoBuffer)
      lifetimes_[static_cast<std::size_t>(buffer)].last = static_cast<std::int64_t>(plan_.steps.size());
    return buffer;
  }
  BufferId floats_of(std::uint32_t node) { return use(values_[node].floats); }
  const CodesOutput& output_of(std::uint32_t node, const CodeRule& rule) const {
    return *std::find_if(values_[node].codes.begin(), values_[node].codes.end(),
                         [&](const CodesOutput& output) { return same_rule(*output.rule, rule); });
  }
  BufferId codes_of(std::uint32_t node, const CodeRule& rule) { return use(output_of(node, rule).codes); }
  // They were made with the codes, unless these are wanted in more than one way.
  BufferId decoded_of(std::uint32_t node, const CodeRule& rule, Decoding decoding) {
    const CodesOutput& output = output_of(node, rule);
    if (output.decoding == decoding) return use(output.decoded);
    const BufferId codes = use(output.codes), decoded = new_floats(node);
    emit<DecodeStep>(rule, decoding, codes, count_of(node), decoded);
    return use(decoded);
  }
  template <class S, class... Args>
  void emit_product(std::int32_t product, Args&&... args) {
    auto step = std::make_unique<S>(std::forward<Args>(args)...);
    step->node = node_;
    step->product = product;
    plan_.steps.push_back(std::move(step));
  }
  template <class S, class... Args>
  void emit(Args&&... args) {
    emit_product<S>(-1, std::forward<Args>(args)...);
  }

  // The codes of this node's result that are still missing, from its floats.
  void encode() {
    Value& value = values_[node_];
    for (CodesOutput& output : value.codes) {
      if (output.codes != kNoBuffer || output.decoded != kNoBuffer) continue;
      const BufferId x = use(value.floats);
      output.codes = new_buffer(count_of(node_));
      if (output.decoding != Decoding::kNone) output.decoded = new_floats(node_);
      emit<EncodeStep>(x, count_of(node_), output);
    }
  }
  BufferId make_floats() { return values_[node_].floats = new_floats(node_); }

  // A normalisation stage with the forms that this node's result is wanted in. `x` may become its result.
  NormalizeStage stage(const ops::ChannelAffine<float>& affine, const Tensor<float>& unit, bool relu, BufferId residual,
                       BufferId x = kNoBuffer) {
    Value& value = values_[node_];
    std::vector<CodesOutput*> coded;
    for (CodesOutput& output : value.codes)
      if (std::holds_alternative<ops::UniformForm>(output.rule->codes)) coded.push_back(&output);
    // Codes of a second kind need x once more.
    if (coded.size() > 1) x = kNoBuffer;
    const auto floats = [&] { return x == kNoBuffer ? new_floats(node_) : std::exchange(x, kNoBuffer); };
    if (value.needs_floats) value.floats = floats();
    std::vector<CodesOutput> outputs;
    for (CodesOutput* output : coded) {
      if (output->needs_codes) output->codes = new_buffer(count_of(node_));
      if (output->decoding != Decoding::kNone) output->decoded = floats();
      outputs.push_back(*output);
    }
    return NormalizeStage(affine, unit, relu, count_of(node_) / images_ / affine.scale.size(), use(residual),
                          value.floats, std::move(outputs));
  }

  // The number of a product among the plan's.
  std::int32_t product(std::uint32_t node, Precision widths) {
    plan_.products.push_back({node, widths, images_, ops::CodesProduct::kFastest, &kernels::active(), precision_});
    return static_cast<std::int32_t>(plan_.products.size() - 1);
  }

  // Sums or floats of product `node`, then normalised by `affine`; null: as they are.
  void add_product(std::uint32_t index, const ops::ChannelAffine<float>* affine, bool relu, BufferId residual) {
    const Node& node = graph_.nodes[index];
    const Precision widths = widths_of(node);
    const CodeRule* rule = rule_of(node);
    const std::uint32_t source = node.inputs[0];
    const std::int32_t number = product(index, widths);
    const std::int64_t outputs = model_.shapes()[index].back();
    ops::ChannelAffine<float> same;
    if (gives_sums(graph_, node, widths)) {
      const auto& x = std::get<AffineCodes>(rule->map);
      const auto& w = std::get<AffineCodes>(weight_of(graph_, node.op)->codes.at(widths.weight_bits).map);
      if (!affine) {
        same = {Tensor<float>::ones({outputs}), Tensor<float>::zeros({outputs})};
        affine = &same;
      }
      const BufferId codes = codes_of(source, *rule);
      emit_product<SumsStep>(number, codes, stage(*affine, ops::sums_scale(x, w, outputs), relu, residual));
      return encode();
    }
    BufferId x = kNoBuffer;
    const AffineCodes* codes = nullptr;
    if (!rule) {
      x = floats_of(source);
    } else if (const Decoding decoding = decoding_of(node); decoding != Decoding::kNone) {
      x = decoded_of(source, *rule, decoding);
    } else {
      x = codes_of(source, *rule);
      codes = &std::get<AffineCodes>(rule->map);
    }
    const BufferId y = new_floats(index);
    std::optional<NormalizeStage> normalize;
    if (affine) {
      normalize.emplace(stage(*affine, {}, relu, residual, y));
    } else {
      values_[node_].floats = y;
    }
    emit_product<FloatProductStep>(number, x, codes, y, std::move(normalize));
    encode();
  }

  void add(const Input&, const Node&) {
    plan_.input = make_floats();
    encode();
  }
  void add(const Conv2d&, const Node&) {
    if (!is_joined(node_)) add_product(node_, nullptr, false, kNoBuffer);
  }
  void add(const Linear&, const Node&) {
    if (!is_joined(node_)) add_product(node_, nullptr, false, kNoBuffer);
  }
  void add(const Normalize& op, const Node& node) {
    std::size_t form = 0;
    for (const std::uint32_t layer : op.layers) form = form * graph_.precisions.size() + configuration_[layer];
    const auto& affine = op.affines[form];
    check<ValueError>(affine.scale.defined(), "engine: node ", node_, " has no normalisation for ",
                      join(
                          op.layers,
                          [&](std::uint32_t layer) {
                            return message(graph_.layers[layer], " at ", graph_.precisions[configuration_[layer]]);
                          },
                          " and "));
    const BufferId residual = node.inputs.size() > 1 ? floats_of(node.inputs[1]) : kNoBuffer;
    if (is_joined(node.inputs[0])) return add_product(node.inputs[0], &affine, op.relu, residual);
    const BufferId x = floats_of(node.inputs[0]);
    emit<NormalizeStep>(x, images_, stage(affine, {}, op.relu, residual));
    encode();
  }
  void add(const Quantize&, const Node& node) {
    if (const CodeRule* rule = rule_of(node)) {
      values_[node_].floats = decoded_of(node.inputs[0], *rule, Decoding::kValues);
    } else {
      values_[node_].floats = values_[node.inputs[0]].floats;
    }
    encode();
  }
  void add(const Constant&, const Node&) {}
  void add(const Pool2d& op, const Node& node) {
    const BufferId x = floats_of(node.inputs[0]);
    emit<PoolStep>(x, shape_of(node.inputs[0]), op, make_floats());
    encode();
  }
  void add(const GlobalAvgPool2d&, const Node& node) {
    const BufferId x = floats_of(node.inputs[0]);
    emit<GlobalAvgPoolStep>(x, shape_of(node.inputs[0]), make_floats());
    encode();
  }
  void add(const Reshape&, const Node& node) {
    values_[node_].floats = values_[node.inputs[0]].floats;
    encode();
  }

  void add_tensor_step(const Node& node, TensorStep::Run run) {
    std::vector<Operand> operands;
    for (const std::uint32_t input : node.inputs) {
      if (const auto* constant = std::get_if<Constant>(&graph_.nodes[input].op)) {
        operands.push_back({kNoBuffer, {}, constant->value});
      } else {
        operands.push_back({floats_of(input), shape_of(input)});
      }
    }
    emit<TensorStep>(std::move(operands), make_floats(), shape_of(node_), std::move(run));
    encode();
  }
  using Tensors = std::span<const Tensor<float>>;
  void add(const Unary& op, const Node& node) {
    const float a = op.a, b = op.b;
    switch (op.kind) {
      case UnaryKind::kRelu:
        return add_tensor_step(node, [](Tensors x, Tensor<float>& y) { y.copy_from(ops::relu(x[0])); });
      case UnaryKind::kTanh:
        return add_tensor_step(node, [](Tensors x, Tensor<float>& y) { y.copy_from(ops::tanh(x[0])); });
      case UnaryKind::kSigmoid:
        return add_tensor_step(node, [](Tensors x, Tensor<float>& y) { y.copy_from(ops::sigmoid(x[0])); });
      case UnaryKind::kSoftmax:
        return add_tensor_step(node, [](Tensors x, Tensor<float>& y) { y.copy_from(ops::softmax(x[0])); });
      case UnaryKind::kClamp:
        return add_tensor_step(node, [a, b](Tensors x, Tensor<float>& y) { y.copy_from(ops::clamp(x[0], a, b)); });
      case UnaryKind::kAffine:
        return add_tensor_step(node, [a, b](Tensors x, Tensor<float>& y) { y.copy_from(ops::affine(x[0], a, b)); });
    }
  }
  void add(const Binary& op, const Node& node) {
    switch (op.kind) {
      case BinaryKind::kAdd:
        return add_tensor_step(node, [](Tensors x, Tensor<float>& y) { y.copy_from(ops::add(x[0], x[1])); });
      case BinaryKind::kSub:
        return add_tensor_step(node, [](Tensors x, Tensor<float>& y) { y.copy_from(ops::sub(x[0], x[1])); });
      case BinaryKind::kMul:
        return add_tensor_step(node, [](Tensors x, Tensor<float>& y) { y.copy_from(ops::mul(x[0], x[1])); });
      case BinaryKind::kDiv:
        return add_tensor_step(node, [](Tensors x, Tensor<float>& y) { y.copy_from(ops::div(x[0], x[1])); });
      case BinaryKind::kPrelu:
        return add_tensor_step(node, [](Tensors x, Tensor<float>& y) { y.copy_from(ops::prelu(x[0], x[1])); });
    }
  }
  void add(const Concat& op, const Node& node) {
    add_tensor_step(node, [axis = op.axis + 1](Tensors x, Tensor<float>& y) {
      std::int64_t at = 0;
      for (const Tensor<float>& part : x) {
        y.narrow(axis, at, part.dim(axis)).copy_from(part);
        at += part.dim(axis);
      }
    });
  }
  void add(const Narrow& op, const Node& node) {
    add_tensor_step(node,
                    [op](Tensors x, Tensor<float>& y) { y.copy_from(x[0].narrow(op.axis + 1, op.begin, op.length)); });
  }

  const Model& model_;
  const Graph& graph_;
  std::span<const std::uint8_t> configuration_;
  std::int64_t images_;
  ops::Float32Precision precision_;
  std::uint32_t node_ = 0;
  std::vector<bool> live_;  // of each node
  std::vector<Value> values_;
  std::vector<Lifetime> lifetimes_;
  Plan plan_;
};

}  // namespace detail

/// The plan for `images` images, with layer l at precision configuration[l] and float products at `precision`. Throws
/// ValueError where a pair of layers has no normalisation for its precisions.
inline Plan make_plan(const Model& model, std::span<const std::uint8_t> configuration, std::int64_t images,
                      ops::Float32Precision precision) {
  return detail::PlanBuilder(model, configuration, images, precision).build();
}

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
