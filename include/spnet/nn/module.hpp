// The module tree: parameters, buffers, names, training mode and precision.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "spnet/autograd/variable.hpp"
#include "spnet/core/precision.hpp"

namespace spnet {
inline namespace v0 {
namespace nn {

/// What a parameter or a buffer is for: optimizers treat the kinds apart (no decay on norms, own rate for scales), and what
/// belongs to quantizers (kScale) may be missing in the file that a network starts from.
enum class ParameterKind { kWeight, kBias, kNorm, kScale };

/// A trained variable with its dotted name, as "stages.0.conv1.weight".
struct NamedParameter {
  std::string name;
  Variable<float> variable;
  ParameterKind kind;
  int bits = 0;  ///< of a scale: the only width that reads it; 0: several
};

/// State that is saved but not trained, as running statistics.
struct NamedBuffer {
  std::string name;
  Tensor<float> tensor;  ///< shares the module's memory
  ParameterKind kind;
};

/// Base of everything that has parameters or children. A module registers its members in its constructor; they are
/// kept by address, so modules are neither copied nor moved.
class Module {
 public:
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  /// What the module computes; each says its shapes, and throws ShapeError on others.
  virtual Variable<float> forward(const Variable<float>& x) = 0;
  Variable<float> operator()(const Variable<float>& x) { return forward(x); }

  /// Parameters of this module and all below it, in the order of registration.
  std::vector<NamedParameter> parameters() const {
    std::vector<NamedParameter> out;
    visit("", [&](const std::string& prefix, const Module& module) {
      for (const auto& p : module.parameters_) out.push_back({prefix + p.name, p.variable, p.kind, p.bits});
    });
    return out;
  }
  /// Parameters of this module itself, without those below.
  const std::vector<NamedParameter>& own_parameters() const { return parameters_; }
  /// Buffers of this module and all below it, in the order of registration.
  std::vector<NamedBuffer> buffers() const {
    std::vector<NamedBuffer> out;
    visit("", [&](const std::string& prefix, const Module& module) {
      for (const auto& b : module.buffers_) out.push_back({prefix + b.name, *b.tensor, b.kind});
    });
    return out;
  }
  /// A buffer where the module keeps it: who assigns to it may change its shape.
  struct OwnBuffer {
    std::string name;
    Tensor<float>* tensor;
    ParameterKind kind;
  };
  /// Buffers of this module itself, without those below.
  const std::vector<OwnBuffer>& own_buffers() { return buffers_; }
  /// Calls `f(prefix, module)` for this module and all below it, parents first; prefixes end in a dot.
  template <class F>
  void visit(const std::string& prefix, const F& f) const {
    f(prefix, *this);
    for (const auto& [name, child] : children_) std::as_const(*child).visit(path(prefix, name), f);
  }
  template <class F>
  void visit(const std::string& prefix, const F& f) {
    f(prefix, *this);
    for (const auto& [name, child] : children_) child->visit(path(prefix, name), f);
  }
  /// Calls `f(module)` for this module and all below it, parents first.
  template <class F>
  void for_each(const F& f) const {
    f(*this);
    for (const auto& [name, child] : children_) std::as_const(*child).for_each(f);
  }
  template <class F>
  void for_each(const F& f) {
    f(*this);
    for (const auto& [name, child] : children_) child->for_each(f);
  }
  const std::vector<std::pair<std::string, Module*>>& children() const { return children_; }

  /// Switches batch statistics, dropout and the like to training (or, with false, to evaluation).
  void train(bool training = true) {
    training_ = training;
    for (const auto& [name, child] : children_) child->train(training);
  }
  void eval() { train(false); }
  bool training() const { return training_; }

  /// Sets the bit-widths of this module and all below it. Cheap and reversible: no weight is touched.
  /// Throws ValueError, before anything has changed, where a module below was not made for `precision`.
  void set_precision(Precision precision) {
    check_precision(precision, "set_precision");
    bool refused = false;
    std::as_const(*this).for_each(
        [&](const Module& module) { refused = refused || !module.refusal(precision).empty(); });
    if (refused)
      std::as_const(*this).visit("", [&](const std::string& prefix, const Module& module) {
        const std::string reason = module.refusal(precision);
        check<ValueError>(reason.empty(), "set_precision: ", precision, " given, but ",
                          prefix.empty() ? "this layer" : prefix.substr(0, prefix.size() - 1), ' ', reason);
      });
    apply_precision(precision);
  }

  /// Forgets the gradients of all parameters.
  void zero_grad() {
    for_each([](const Module& module) {
      for (const auto& p : module.parameters_) Variable<float>(p.variable).zero_grad();
    });
  }

 protected:
  void register_parameter(std::string name, const Variable<float>& variable, ParameterKind kind, int bits = 0) {
    parameters_.push_back({std::move(name), variable, kind, bits});
  }
  /// `tensor` is kept by address: a member.
  void register_buffer(std::string name, Tensor<float>& tensor, ParameterKind kind) {
    buffers_.push_back({std::move(name), &tensor, kind});
  }
  /// `module` must live as long as this one: a member, or held by a member. An empty name adds none to the path.
  template <class M>
  M& register_module(std::string name, M& module) {
    children_.emplace_back(std::move(name), &module);
    return module;
  }

  /// Why this module (not those below) cannot work at `precision`; empty where it can.
  virtual std::string refusal(Precision) const { return {}; }
  /// Takes on `precision`; called after every module has agreed to it.
  virtual void on_precision(Precision) {}

 private:
  static std::string path(const std::string& prefix, const std::string& name) {
    return name.empty() ? prefix : prefix + name + ".";
  }
  void apply_precision(Precision precision) {
    on_precision(precision);
    for (const auto& [name, child] : children_) child->apply_precision(precision);
  }

  std::vector<NamedParameter> parameters_;
  std::vector<OwnBuffer> buffers_;
  std::vector<std::pair<std::string, Module*>> children_;
  bool training_ = true;
};

/// A network with a feature vector before its classifier, which feature distillation compares.
class Classifier : public Module {
 public:
  /// x [N,H,W,C] → [N,F], the input of the classifier.
  virtual Variable<float> features(const Variable<float>& x) = 0;
  /// [N,F] → logits [N,classes].
  virtual Variable<float> classify(const Variable<float>& features) = 0;
  Variable<float> forward(const Variable<float>& x) override { return classify(features(x)); }
};

}  // namespace nn
}  // namespace v0
}  // namespace spnet
