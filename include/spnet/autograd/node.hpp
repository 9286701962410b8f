// The tape: nodes that remember how a value was made, linked towards the inputs. Both walking them backwards and
// tearing them down are loops, so that a chain of a million nodes does not overflow the stack.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "spnet/core/memory.hpp"
#include "spnet/ops/elementwise.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {

template <class T>
class Node;

/// Shared ownership of a node.
template <class T>
class NodeRef {
 public:
  NodeRef() = default;
  explicit NodeRef(Node<T>* node) noexcept : node_(node) { retain(); }
  NodeRef(const NodeRef& other) noexcept : node_(other.node_) { retain(); }
  NodeRef(NodeRef&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  NodeRef& operator=(NodeRef other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~NodeRef() {
    if (node_) Node<T>::release(node_);
  }

  explicit operator bool() const { return node_ != nullptr; }
  Node<T>* get() const { return node_; }
  Node<T>* operator->() const { return node_; }

 private:
  void retain() noexcept;
  Node<T>* node_ = nullptr;
};

/// Where a backward function puts the gradients of its inputs.
template <class T>
class InputGradients {
 public:
  explicit InputGradients(Node<T>& node) : node_(node) {}
  /// False where input `i` asks for no gradient: the work for it may be skipped.
  bool needs(std::size_t i) const { return static_cast<bool>(node_.inputs[i]); }
  /// Adds `gradient` to that of input `i`; ignored where none is needed.
  void add(std::size_t i, Tensor<T> gradient) {
    if (needs(i)) node_.inputs[i]->accumulate(std::move(gradient));
  }
  /// Whether the gradient of input `i` may be added as bf16, since it is the first; if the only one, it loses nothing.
  bool takes_bf16(std::size_t i) const {
    return needs(i) && !node_.inputs[i]->has_gradient() && node_.inputs[i]->takes_bf16();
  }
  void add(std::size_t i, Tensor<bf16> gradient) {
    if (needs(i)) node_.inputs[i]->accumulate_bf16(std::move(gradient));
  }
  /// The gradient that has reached input `i` so far, where another, of its shape, may be added in place; else null.
  Tensor<T>* sum_to_add_to(std::size_t i) {
    return needs(i) && node_.inputs[i]->owns_gradient() ? &node_.inputs[i]->grad : nullptr;
  }

 private:
  Node<T>& node_;
};

/// One step of the tape. Holds the gradient that has reached its output so far and the inputs it passes gradients to
/// (null where none is needed). A leaf (a parameter) has no inputs and keeps its gradient.
template <class T>
class Node {
 public:
  Node() : sequence(next_sequence()) {}
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  virtual ~Node() = default;

  static void* operator new(std::size_t bytes) { return MemoryPool::global().allocate(bytes); }
  static void operator delete(void* block, std::size_t bytes) { MemoryPool::global().release(block, bytes); }

  virtual bool is_leaf() const { return true; }
  /// Passes `gradient`, that of the output, on to the inputs.
  virtual void backward(const Tensor<T>&) {}
  /// Whether it rounds the gradient to bf16 anyway, so that it may come as such.
  virtual bool takes_bf16() const { return false; }
  virtual void backward_bf16(const Tensor<bf16>&) {}
  /// Drops what was saved for backward, and the links to the inputs.
  virtual void clear() {}

  /// Adds to the gradient of this node's output, in place where nobody else holds the memory.
  void accumulate(Tensor<T> gradient) {
    if (grad_bf16.defined()) grad = std::exchange(grad_bf16, {}).template to<T>();
    if (!grad.defined()) {
      // A leaf's gradient is for others to keep and to change: it shares memory with nothing.
      const bool own = gradient.unique() && gradient.is_contiguous();
      grad = is_leaf() && !own ? gradient.clone() : std::move(gradient);
      return;
    }
    check<ShapeError>(grad.shape() == gradient.shape(), "backward: gradients of shapes ", grad.shape(), " and ",
                      gradient.shape(), " meet at one variable");
    if (!owns_gradient()) grad = grad.clone();
    ops::add_(grad, gradient);
  }
  /// The same of one that comes as bf16, and stays so where it is the only one and the node takes it.
  void accumulate_bf16(Tensor<bf16> gradient) {
    if (has_gradient() || !takes_bf16()) return accumulate(gradient.template to<T>());
    grad_bf16 = std::move(gradient);
  }
  bool has_gradient() const { return grad.defined() || grad_bf16.defined(); }
  /// Whether `grad` is there, row-major, and nobody else's, so that more may be added in place.
  bool owns_gradient() const { return grad.defined() && grad.unique() && grad.is_contiguous(); }

  /// Drops what has reached the output so far.
  void forget_gradient() {
    grad = {};
    grad_bf16 = {};
  }

  std::vector<NodeRef<T>, PoolAllocator<NodeRef<T>>> inputs;
  Tensor<T> grad;
  Tensor<bf16> grad_bf16;        ///< in place of `grad`
  const std::uint64_t sequence;  ///< later nodes have higher numbers, so that falling order is topological
  bool queued = false;

 private:
  friend class NodeRef<T>;

  static std::uint64_t next_sequence() {
    static std::atomic<std::uint64_t> counter{0};
    return counter.fetch_add(1, std::memory_order_relaxed);
  }

  // Destroying a node may drop the last reference to its inputs; those wait in a list instead of recursing.
  static void release(Node* node) noexcept {
    if (node->references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    thread_local Node* doomed = nullptr;
    thread_local bool draining = false;
    node->next_doomed_ = doomed;
    doomed = node;
    if (draining) return;
    draining = true;
    while (Node* victim = doomed) {
      doomed = victim->next_doomed_;
      delete victim;
    }
    draining = false;
  }

  std::atomic<std::int64_t> references_{0};
  Node* next_doomed_ = nullptr;
};

template <class T>
void NodeRef<T>::retain() noexcept {
  if (node_) node_->references_.fetch_add(1, std::memory_order_relaxed);
}

/// A node whose backward pass is `function(gradient, InputGradients&)`. One that has `takes_bf16()`, asked before the
/// pass, is called with Tensor<bf16>, too.
template <class T, class Function>
class FunctionNode final : public Node<T> {
 public:
  explicit FunctionNode(Function function) : function_(std::move(function)) {}
  bool is_leaf() const override { return false; }
  void backward(const Tensor<T>& gradient) override { call(gradient); }
  bool takes_bf16() const override {
    if constexpr (kMayTakeBf16) return function_.has_value() && function_->takes_bf16();
    return false;
  }
  void backward_bf16(const Tensor<bf16>& gradient) override {
    if constexpr (kMayTakeBf16) call(gradient);
  }
  void clear() override {
    function_.reset();
    this->inputs.clear();
  }

 private:
  static constexpr bool kMayTakeBf16 = requires(const Function& f) { f.takes_bf16(); };

  void call(const auto& gradient) {
    check(function_.has_value(), "backward: this graph was already used; pass retain_graph to use it again");
    InputGradients<T> into(*this);
    (*function_)(gradient, into);
  }

  std::optional<Function> function_;
};

/// Runs the tape backwards from `root`, whose output has the gradient `seed`. Nodes are visited in falling order of
/// creation, so gradients always meet in the same order; what a node saved is dropped as soon as it was used.
template <class T>
void run_backward(const NodeRef<T>& root, Tensor<T> seed, bool retain_graph) {
  std::vector<NodeRef<T>, PoolAllocator<NodeRef<T>>> heap;
  const auto earlier = [](const NodeRef<T>& a, const NodeRef<T>& b) { return a->sequence < b->sequence; };
  const auto push = [&](const NodeRef<T>& node) {
    if (!node || node->is_leaf() || node->queued) return;
    node->queued = true;
    heap.push_back(node);
    std::push_heap(heap.begin(), heap.end(), earlier);
  };
  root->accumulate(std::move(seed));
  push(root);
  NodeRef<T> node;
  try {
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), earlier);
      node = std::move(heap.back());
      heap.pop_back();
      node->queued = false;
      const Tensor<T> gradient = std::exchange(node->grad, {});
      const Tensor<bf16> gradient_bf16 = std::exchange(node->grad_bf16, {});
      if (gradient_bf16.defined())
        node->backward_bf16(gradient_bf16);
      else if (gradient.defined())
        node->backward(gradient);
      else
        continue;
      for (const auto& input : node->inputs) push(input);
      if (!retain_graph) node->clear();
    }
  } catch (...) {
    // Half-way gradients would be added to those of the next pass. Leaves keep what has reached them.
    for (const auto& waiting : heap) {
      waiting->queued = false;
      waiting->forget_gradient();
    }
    for (const auto& input : node->inputs)
      if (input && !input->is_leaf()) input->forget_gradient();
    throw;
  }
}

}  // namespace v0
}  // namespace spnet
