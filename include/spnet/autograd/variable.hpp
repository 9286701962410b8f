// Variable<T>: a tensor that remembers how it was made.
#pragma once

#include <algorithm>
#include <any>
#include <initializer_list>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "spnet/autograd/deferred.hpp"
#include "spnet/autograd/node.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {

namespace detail {
inline thread_local bool grad_enabled = true;
}

/// While one lives, operators called from this thread record nothing. Guards nest.
class NoGradGuard {
 public:
  NoGradGuard() : before_(std::exchange(detail::grad_enabled, false)) {}
  NoGradGuard(const NoGradGuard&) = delete;
  NoGradGuard& operator=(const NoGradGuard&) = delete;
  ~NoGradGuard() { detail::grad_enabled = before_; }

 private:
  bool before_;
};

/// True where operators called from this thread record their backward pass.
inline bool grad_enabled() { return detail::grad_enabled; }

template <class T>
class Variable;

/// What an operator was, for who follows a forward pass (see Trace); each operator has its own, in this namespace.
namespace traced {
/// Of operators that do not say what they are.
struct Unknown {};
/// y = x.
struct Identity {};
}  // namespace traced

/// Follows the float operators of a forward pass, in the order in which they were called.
class OperatorListener {
 public:
  virtual ~OperatorListener() = default;
  /// `what` holds an operator's description, as traced::Unknown.
  virtual void on_operator(std::any what, std::span<const Variable<float>> inputs, const Variable<float>& output) = 0;
};

namespace detail {
inline thread_local OperatorListener* operator_listener = nullptr;

template <class T, class What>
void tell_listener(const What& what, std::span<const Variable<T>> inputs, const Variable<T>& output) {
  if constexpr (std::is_same_v<T, float>)
    if (operator_listener) [[unlikely]]
      operator_listener->on_operator(what, inputs, output);
}
template <class T, class What>
void tell_listener(const What& what, std::initializer_list<Variable<T>> inputs, const Variable<T>& output) {
  tell_listener(what, std::span<const Variable<T>>(inputs.begin(), inputs.size()), output);
}
}  // namespace detail

/// A tensor on the tape. Copies share value and gradient, as in PyTorch.
/// Leaves made with `requires_grad` collect gradients over any number of backward passes until `zero_grad()`.
template <class T>
class Variable {
 public:
  using value_type = T;

  Variable() = default;
  /// A leaf. Implicit, so that constants mix with variables.
  Variable(Tensor<T> value, bool requires_grad = false)
      : state_(std::allocate_shared<State>(PoolAllocator<State>(), std::move(value))) {
    if (requires_grad) state_->node = NodeRef<T>(new Node<T>);
  }
  /// The output of an operator, made by `node` (null: a constant); use `make_result`.
  Variable(Tensor<T> value, NodeRef<T> node)
      : state_(std::allocate_shared<State>(PoolAllocator<State>(), std::move(value))) {
    state_->node = std::move(node);
  }
  /// The same where the value is yet to be computed.
  Variable(std::shared_ptr<const Deferred<T>> deferred, NodeRef<T> node)
      : state_(std::allocate_shared<State>(PoolAllocator<State>(), Tensor<T>())) {
    state_->deferred = std::move(deferred);
    state_->node = std::move(node);
  }

  bool defined() const { return state_ != nullptr; }
  bool requires_grad() const { return static_cast<bool>(state_->node); }
  bool is_leaf() const { return !state_->node || state_->node->is_leaf(); }

  Tensor<T>& value() { return state_->deferred ? state_->deferred->value() : state_->value; }
  const Tensor<T>& value() const { return state_->deferred ? state_->deferred->value() : state_->value; }
  const Shape& shape() const { return state_->deferred ? state_->deferred->shape() : state_->value.shape(); }
  std::int64_t dim(int axis) const { return shape()[axis]; }
  std::int64_t size() const { return element_count(shape()); }
  T item() const { return value().item(); }
  /// The value's other form, where it is a D; null otherwise.
  template <class D>
  const D* deferred_as() const {
    return dynamic_cast<const D*>(state_->deferred.get());
  }
  const std::shared_ptr<const Deferred<T>>& deferred() const { return state_->deferred; }

  /// The collected gradient; undefined before the first backward pass, and always for what is no leaf.
  const Tensor<T>& grad() const {
    static const Tensor<T> none;
    return state_->node ? state_->node->grad : none;
  }
  /// The gradient, to be written; throws Error where this variable collects none.
  Tensor<T>& mutable_grad() {
    check(requires_grad(), "Variable::mutable_grad: this variable requires no gradient");
    return state_->node->grad;
  }
  /// Forgets the collected gradient.
  void zero_grad() {
    if (state_->node) state_->node->grad = {};
  }

  /// Same value, cut off from the tape; shares the memory.
  Variable detach() const {
    Variable out = state_->deferred ? Variable(state_->deferred, NodeRef<T>()) : Variable(state_->value);
    detail::tell_listener(traced::Identity{}, {*this}, out);
    return out;
  }
  /// The same for copies of one variable, and for no other.
  const void* id() const { return state_.get(); }

  /// Adds d(this)/d(leaf) to the gradient of every leaf. Throws ShapeError unless this is a scalar (one element), Error where
  /// no input requires a gradient.
  /// The graph is dropped on the way unless `retain_graph`.
  void backward(bool retain_graph = false) const {
    check<ShapeError>(size() == 1, "backward: shape ", shape(), " given, expected one element; pass a gradient instead");
    backward(Tensor<T>::full(shape(), T{1}), retain_graph);
  }
  /// The same for any shape, from the gradient `seed` of this variable; throws ShapeError where it has another shape.
  void backward(Tensor<T> seed, bool retain_graph = false) const {
    check(requires_grad(), "backward: no input of this variable requires a gradient");
    check<ShapeError>(seed.shape() == shape(), "backward: gradient ", seed.shape(), " given, variable is ", shape());
    run_backward(state_->node, std::move(seed), retain_graph);
  }

  const NodeRef<T>& node() const { return state_->node; }

 private:
  struct State {
    explicit State(Tensor<T> v) : value(std::move(v)) {}
    Tensor<T> value;
    std::shared_ptr<const Deferred<T>> deferred;
    NodeRef<T> node;
  };
  std::shared_ptr<State> state_;
};

namespace detail {

// The result of an operator whose inputs have these nodes; null where an input requires no gradient.
template <class T, class Value, class Backward>
Variable<T> make_result_of_nodes(Value value, std::vector<NodeRef<T>, PoolAllocator<NodeRef<T>>> inputs, Backward backward) {
  const bool needed = grad_enabled && std::any_of(inputs.begin(), inputs.end(), [](const auto& n) { return bool(n); });
  if (!needed) return Variable<T>(std::move(value), NodeRef<T>());
  NodeRef<T> node(new FunctionNode<T, Backward>(std::move(backward)));
  node->inputs = std::move(inputs);
  return Variable<T>(std::move(value), std::move(node));
}

}  // namespace detail

/// The result of an operator on `inputs`. `backward(gradient, InputGradients&)` gets the gradient of `value` and adds
/// those of the inputs, by position; it should capture tensors, never the result itself. Recorded only where gradients
/// are enabled and an input requires one. This is the way to write an operator of one's own.
/// The value may be a tensor or a shared Deferred. `what` describes the operator to an OperatorListener.
template <class T, class Value, class Backward, class What = traced::Unknown>
Variable<T> make_result(Value value, std::span<const Variable<T>> inputs, Backward backward, const What& what = {}) {
  std::vector<NodeRef<T>, PoolAllocator<NodeRef<T>>> nodes;
  if (grad_enabled()) {
    nodes.reserve(inputs.size());
    for (const auto& input : inputs) nodes.push_back(input.node());
  }
  Variable<T> output = detail::make_result_of_nodes<T>(std::move(value), std::move(nodes), std::move(backward));
  detail::tell_listener(what, inputs, output);
  return output;
}
template <class T, class Value, class Backward, class What = traced::Unknown>
Variable<T> make_result(Value value, std::initializer_list<Variable<T>> inputs, Backward backward,
                        const What& what = {}) {
  return make_result<T>(std::move(value), std::span<const Variable<T>>(inputs.begin(), inputs.size()),
                        std::move(backward), what);
}

/// A deferred value of type D, from pooled memory.
template <class D, class... Args>
std::shared_ptr<const D> make_deferred(Args&&... args) {
  return std::allocate_shared<D>(PoolAllocator<D>(), std::forward<Args>(args)...);
}

}  // namespace v0
}  // namespace spnet
