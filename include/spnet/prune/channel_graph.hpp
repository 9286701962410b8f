// Which channels of a network belong together, worked out from its forward passes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
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
#include "spnet/runtime/graph_check.hpp"

namespace spnet {
inline namespace v0 {
namespace prune {

/// Channels that stay or go together: those of one convolution's output and of whatever is added to it, multiplied by
/// it channel by channel, or normalises it.
struct ChannelGroup {
  std::string name;  ///< of the layers that make them: "layer1.0.conv1", "conv1+layer1.0.conv2+…"
  std::int64_t channels;
  std::string obstacle;  ///< why they cannot be removed; empty where they can
};

/// What an axis of a tensor does with channels: makes them (a filter each), reads them (a slice of every filter each),
/// or goes along (norms, biases, depthwise filters).
enum class ChannelRole { kMakes, kReads, kFollows };

/// An axis of a parameter or buffer that lies along channels: those of `groups[0]`, then of `groups[1]`, …; more than
/// one behind a concatenation, and one several times behind a flattened image.
struct ChannelAxis {
  int axis;
  ChannelRole role;
  std::vector<std::size_t> groups;
};

/// A parameter or buffer with at least one such axis.
struct ChannelTensor {
  std::string name;           ///< dotted
  nn::Module* module;         ///< that it belongs to
  Variable<float> parameter;  ///< undefined where it is a buffer
  Tensor<float>* buffer;      ///< null where it is a parameter
  std::vector<ChannelAxis> axes;

  Tensor<float>& value() const { return buffer ? *buffer : Variable<float>(parameter).value(); }
};

/// All channels of a network, and where they lie.
struct ChannelGraph {
  std::vector<ChannelGroup> groups;  ///< in the order in which forward passes reach them
  std::vector<ChannelTensor> tensors;
};

namespace detail {

class ChannelTracer {
 public:
  explicit ChannelTracer(nn::Module& model) {
    model.visit("", [&](const std::string& prefix, nn::Module& module) {
      for (const auto& p : module.own_parameters()) owners_[p.variable.id()] = {prefix, &module, &p};
    });
  }

  /// Adds what one forward pass shows.
  void follow(nn::Module& model, const Variable<float>& x) {
    const pack::Trace trace = pack::Trace::of(model, x);
    trace_ = &trace;
    layouts_.clear();
    layouts_[trace.input().id()] = {fixed(new_block(x.dim(-1)), "the network's input")};
    for (const pack::TracedCall& call : trace.calls())
      if (trace.depends(call.output)) layouts_[call.output.id()] = layout_behind(call);
    check<ValueError>(trace.depends(trace.output()), "prune: the network's output does not depend on its input");
    for (const std::size_t b : layouts_.at(trace.output().id())) fixed(b, "the network's output");
  }

  ChannelGraph graph() {
    ChannelGraph out;
    std::map<std::size_t, std::size_t> places;  // of roots among the groups
    for (std::size_t b = 0; b < parents_.size(); ++b) {
      const std::size_t root = root_of(b);
      if (places.emplace(root, out.groups.size()).second) out.groups.push_back({"", sizes_[root], obstacles_[root]});
    }
    std::vector<bool> is_made(out.groups.size(), false);
    for (const Axis& a : axes_) {
      ChannelAxis axis{a.axis, a.role, {}};
      for (const std::size_t b : a.layout) axis.groups.push_back(places.at(root_of(b)));
      auto at = std::find_if(out.tensors.begin(), out.tensors.end(),
                             [&](const ChannelTensor& t) { return t.name == a.name; });
      if (at == out.tensors.end()) at = out.tensors.insert(at, {a.name, a.module, a.parameter, a.buffer, {}});
      if (a.role == ChannelRole::kMakes)
        for (const std::size_t g : axis.groups) {
          is_made[g] = true;
          std::string& name = out.groups[g].name;
          const std::string layer = a.name.substr(0, a.name.rfind('.'));
          name += (name.empty() ? "" : "+") + layer;
        }
      at->axes.push_back(std::move(axis));
    }
    for (std::size_t g = 0; g < out.groups.size(); ++g) {
      ChannelGroup& group = out.groups[g];
      if (group.obstacle.empty() && !is_made[g]) group.obstacle = "no layer makes them";
      if (group.obstacle.empty() && group.channels == 1) group.obstacle = "there is one alone";
    }
    return out;
  }

 private:
  // The channels of a value: blocks of neighbours, which are united where they turn out to belong together.
  using Layout = std::vector<std::size_t>;
  struct Owner {
    std::string prefix;
    nn::Module* module;
    const nn::NamedParameter* parameter;
  };
  struct Axis {
    std::string name;
    nn::Module* module;
    Variable<float> parameter;
    Tensor<float>* buffer;
    int axis;
    ChannelRole role;
    Layout layout;
  };

  std::size_t new_block(std::int64_t size) {
    parents_.push_back(parents_.size());
    sizes_.push_back(size);
    obstacles_.emplace_back();
    return parents_.size() - 1;
  }
  std::size_t root_of(std::size_t block) const {
    while (parents_[block] != block) block = parents_[block];
    return block;
  }
  std::size_t fixed(std::size_t block, const std::string& obstacle) {
    std::string& known = obstacles_[root_of(block)];
    if (known.empty()) known = obstacle;
    return block;
  }
  void fix(const Layout& layout, const std::string& obstacle) {
    for (const std::size_t b : layout) fixed(b, obstacle);
  }
  Layout fixed_layout(std::int64_t size, const std::string& obstacle) { return {fixed(new_block(size), obstacle)}; }

  std::int64_t size_of(const Layout& layout) const {
    std::int64_t sum = 0;
    for (const std::size_t b : layout) sum += sizes_[root_of(b)];
    return sum;
  }
  void unite(const Layout& a, const Layout& b) {
    const auto same_size = [&](std::size_t x, std::size_t y) { return sizes_[root_of(x)] == sizes_[root_of(y)]; };
    if (!std::equal(a.begin(), a.end(), b.begin(), b.end(), same_size)) {
      fix(a, "they meet channels that are parted elsewhere");
      fix(b, "they meet channels that are parted elsewhere");
      return;
    }
    for (std::size_t i = 0; i < a.size(); ++i) {
      // The older one stays, for the order of groups.
      const auto [root, child] = std::minmax({root_of(a[i]), root_of(b[i])});
      if (root == child) continue;
      parents_[child] = root;
      if (obstacles_[root].empty()) obstacles_[root] = obstacles_[child];
    }
  }

  // The channels along an axis of a tensor: those that it is known by, or `layout`, with which they are united.
  const Layout& add_axis(Axis axis) {
    for (Axis& known : axes_)
      if (known.name == axis.name && known.axis == axis.axis) {
        unite(known.layout, axis.layout);
        return known.layout;
      }
    return axes_.emplace_back(std::move(axis)).layout;
  }
  const Layout& add_axis(const Owner& owner, int axis, ChannelRole role, const Layout& layout) {
    return add_axis(
        {owner.prefix + owner.parameter->name, owner.module, owner.parameter->variable, nullptr, axis, role, layout});
  }

  // The parameter that a value is, or was quantized from; null where there is none.
  const Owner* parameter_of(const Variable<float>& v) const {
    if (const auto at = owners_.find(v.id()); at != owners_.end()) return &at->second;
    const pack::TracedCall* made = trace_->call_of(v);
    if (!made || !(made->as<traced::Quantize>() || made->as<traced::Identity>())) return nullptr;
    return parameter_of(made->inputs[0]);
  }
  const Layout& layout_of(const Variable<float>& v) const { return layouts_.at(v.id()); }

  // Scales of a weight's quantizer, one for each filter, follow the filters, and with them those for other widths.
  void follow_filters(const Variable<float>& weight, const Layout& filters) {
    const pack::TracedCall* made = trace_->call_of(weight);
    if (!made || !made->as<traced::Quantize>()) return;
    const auto* codes = weight.deferred_as<DeferredCodes>();
    const auto* affine = codes ? std::get_if<AffineCodes>(&codes->quantized.map) : nullptr;
    const bool by_filter = affine && affine->channel_axis == 0;
    for (std::size_t i = 1; i < made->inputs.size(); ++i) {
      const Variable<float>& scale = made->inputs[i];
      if (scale.size() == 1 || scale.size() != size_of(filters)) continue;
      const Owner* owner = parameter_of(scale);
      if (!owner || !by_filter) {
        fix(filters, "their quantizer's parameters may belong to filters");
        continue;
      }
      for (const auto& p : owner->module->own_parameters())
        if (p.kind == nn::ParameterKind::kScale && p.variable.shape() == scale.shape())
          add_axis({owner->prefix, owner->module, &p}, 0, ChannelRole::kFollows, filters);
    }
  }
  Layout behind_quantizer(const pack::TracedCall& call) {
    const Layout layout = layout_of(call.inputs[0]);
    for (std::size_t i = 1; i < call.inputs.size(); ++i)
      if (call.inputs[i].size() > 1 && call.inputs[i].size() == size_of(layout))
        fix(layout, "a quantizer's parameters may belong to them");
    return layout;
  }

  Layout behind_product(const pack::TracedCall& call, std::int64_t groups) {
    const Variable<float>&x = call.inputs[0], &w = call.inputs[1];
    const Owner* owner = trace_->depends(w) ? nullptr : parameter_of(w);
    if (!trace_->depends(x) || !owner) {
      if (trace_->depends(x)) fix(layout_of(x), "a product reads them by a weight that is no parameter");
      return fixed_layout(call.output.dim(-1), "a product makes them by a weight that is no parameter");
    }
    Layout made;
    if (groups == 1) {
      add_axis(*owner, w.shape().rank() - 1, ChannelRole::kReads, layout_of(x));
      made = {new_block(w.dim(0))};
      made = add_axis(*owner, 0, ChannelRole::kMakes, made);
    } else if (groups == x.dim(-1) && groups == w.dim(0)) {
      made = add_axis(*owner, 0, ChannelRole::kFollows, layout_of(x));
    } else {
      fix(layout_of(x), "a convolution reads them in groups");
      return fixed_layout(w.dim(0), "a convolution makes them in groups");
    }
    follow_filters(w, made);
    return made;
  }

  Layout behind_norm(const pack::TracedCall& call, const traced::Normalize& norm) {
    const Layout layout = layout_of(call.inputs[0]);
    for (std::size_t i = 1; i < call.inputs.size(); ++i) {
      if (trace_->depends(call.inputs[i]))
        unite(layout, layout_of(call.inputs[i]));
      else
        fix(layout, "a constant is added to them");
    }
    const auto at = owners_.find(norm.gamma.id());
    if (at == owners_.end()) {
      fix(layout, "a norm whose parameters are not known works on them");
      return layout;
    }
    // All that the norm's module keeps, for other precisions as well.
    const Owner& owner = at->second;
    const Shape shape{size_of(layout)};
    for (const auto& p : owner.module->own_parameters())
      if (p.kind == nn::ParameterKind::kNorm && p.variable.shape() == shape)
        add_axis({owner.prefix, owner.module, &p}, 0, ChannelRole::kFollows, layout);
    for (const auto& b : owner.module->own_buffers())
      if (b.kind == nn::ParameterKind::kNorm && b.tensor->shape() == shape)
        add_axis({owner.prefix + b.name, owner.module, {}, b.tensor, 0, ChannelRole::kFollows, layout});
    return layout;
  }

  // Element by element, shapes broadcast.
  Layout behind_binary(const pack::TracedCall& call) {
    const std::int64_t channels = call.output.dim(-1);
    const Layout* out = nullptr;
    for (const auto& input : call.inputs) {
      if (!trace_->depends(input) || input.shape().rank() == 0 || input.dim(-1) != channels) continue;
      if (out)
        unite(*out, layout_of(input));
      else
        out = &layout_of(input);
    }
    if (!out) return fixed_layout(channels, "they are spread from one");
    for (const auto& input : call.inputs) {
      if (trace_->depends(input) || input.shape().rank() == 0 || input.dim(-1) != channels || channels == 1) continue;
      const Owner* owner = parameter_of(input);
      if (owner)
        add_axis(*owner, input.shape().rank() - 1, ChannelRole::kFollows, *out);
      else
        fix(*out, "a constant meets them");
    }
    return *out;
  }

  Layout behind_reshape(const pack::TracedCall& call) {
    if (call.inputs[0].shape().rank() == 0) return behind_unknown(call);
    const Layout& layout = layout_of(call.inputs[0]);
    const Shape &from = call.inputs[0].shape(), &to = call.output.shape();
    if (from.back() == to.back()) return layout;
    // Images to vectors: the channels of each pixel, one after the other.
    std::int64_t joined = from.back();
    for (int axis = from.rank() - 2; axis > 0 && joined < to.back(); --axis) joined *= from[axis];
    if (joined == to.back()) {
      Layout out;
      for (std::int64_t i = 0; i < to.back() / from.back(); ++i) out.insert(out.end(), layout.begin(), layout.end());
      return out;
    }
    fix(layout, "a reshape parts them");
    return fixed_layout(to.back(), "a reshape makes them");
  }

  Layout behind_narrow(const pack::TracedCall& call, const traced::Narrow& narrow) {
    const Layout& layout = layout_of(call.inputs[0]);
    if (call.inputs[0].shape().index(narrow.axis) + 1 != call.output.shape().rank()) return layout;
    // The module's code has the numbers of its channels.
    fix(layout, "they are cut by their numbers");
    return fixed_layout(narrow.length, "a cut makes them");
  }

  Layout behind_concat(const pack::TracedCall& call, const traced::Concat& concat) {
    const bool joins = call.output.shape().index(concat.axis) + 1 == call.output.shape().rank();
    Layout out;
    for (const auto& input : call.inputs) {
      const Layout layout =
          trace_->depends(input) ? layout_of(input) : fixed_layout(input.dim(-1), "they are constant");
      if (joins)
        out.insert(out.end(), layout.begin(), layout.end());
      else if (out.empty())
        out = layout;
      else
        unite(out, layout);
    }
    return out;
  }

  // An operator that may mix channels, or that is not known.
  Layout behind_unknown(const pack::TracedCall& call) {
    for (const auto& input : call.inputs)
      if (trace_->depends(input)) fix(layout_of(input), "an operator reads them that may mix them");
    if (call.output.shape().rank() == 0) return {};
    return fixed_layout(call.output.dim(-1), "an operator makes them that may mix them");
  }

  Layout layout_behind(const pack::TracedCall& call) {
    if (call.output.shape().rank() == 0) return behind_unknown(call);
    if (const auto* conv = call.as<traced::Conv2d>()) return behind_product(call, conv->options.groups);
    if (call.as<traced::Linear>()) return behind_product(call, 1);
    if (const auto* norm = call.as<traced::Normalize>()) return behind_norm(call, *norm);
    if (call.as<traced::Add>() || call.as<traced::Sub>() || call.as<traced::Mul>() || call.as<traced::Div>() ||
        call.as<traced::Prelu>())
      return behind_binary(call);
    if (call.as<traced::Reshape>()) return behind_reshape(call);
    if (const auto* narrow = call.as<traced::Narrow>()) return behind_narrow(call, *narrow);
    if (const auto* concat = call.as<traced::Concat>()) return behind_concat(call, *concat);
    if (call.as<traced::Quantize>()) return behind_quantizer(call);
    if (call.as<traced::Identity>() || call.as<traced::Relu>() || call.as<traced::Tanh>() ||
        call.as<traced::Sigmoid>() || call.as<traced::Clamp>() || call.as<traced::Affine>() ||
        call.as<traced::MaxPool2d>() || call.as<traced::AvgPool2d>() || call.as<traced::GlobalAvgPool2d>())
      return layout_of(call.inputs[0]);
    return behind_unknown(call);
  }

  const pack::Trace* trace_ = nullptr;
  std::map<const void*, Owner> owners_;
  std::map<const void*, Layout> layouts_;  // of the values of the pass that is followed
  std::vector<Axis> axes_;
  std::vector<std::size_t> parents_;  // of blocks; roots are their own
  std::vector<std::int64_t> sizes_;
  std::vector<std::string> obstacles_;
};

}  // namespace detail

/// The channels of `model`, from a forward pass at each of `switches` (one at the present precision where there are
/// none) of an image [H,W,C]. Layers whose channels are added or multiplied share them; so do a depthwise convolution
/// and the layer before it. What cannot be removed has an obstacle: the network's input and output, convolutions in
/// groups, cuts by number, operators that may mix channels, constants. (Reshapes of a module of one's own should say −1
/// where channels are.) The model stays in evaluation mode, at the last switch.
inline ChannelGraph channel_graph(nn::Module& model, const Shape& image, const std::vector<Precision>& switches) {
  detail::ChannelTracer tracer(model);
  const Variable<float> x(Tensor<float>::zeros(runtime::detail::with_batch(image)));
  if (switches.empty()) tracer.follow(model, x);
  for (const Precision p : switches) {
    model.set_precision(p);
    tracer.follow(model, x);
  }
  return tracer.graph();
}

}  // namespace prune
}  // namespace v0
}  // namespace spnet
