// A forward pass, operator by operator.
#pragma once

#include <any>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "spnet/autograd/variable.hpp"
#include "spnet/nn/module.hpp"

namespace spnet {
inline namespace v0 {
namespace pack {

/// One call of an operator: see OperatorListener.
struct TracedCall {
  std::any what;
  std::vector<Variable<float>> inputs;
  Variable<float> output;

  /// Its description, where it is a `What`; null otherwise.
  template <class What>
  const What* as() const {
    return std::any_cast<What>(&what);
  }
};

/// The calls of one forward pass, in their order, and what they depend on.
class Trace final : public OperatorListener {
 public:
  /// Follows module(x), in evaluation mode and without a tape. The module stays in that mode.
  static Trace of(nn::Module& module, const Variable<float>& x) {
    Trace trace(x);
    module.eval();
    const NoGradGuard no_grad;
    const Listening listening(trace);
    trace.output_ = module(x);
    return trace;
  }

  const std::vector<TracedCall>& calls() const { return calls_; }
  const Variable<float>& input() const { return input_; }
  const Variable<float>& output() const { return output_; }
  /// True where `v` depends on the input.
  bool depends(const Variable<float>& v) const { return v.id() == input_.id() || (call_of(v) && depends_.at(v.id())); }
  /// The call that made `v`; null where it was made before, or by none.
  const TracedCall* call_of(const Variable<float>& v) const {
    const auto at = made_by_.find(v.id());
    return at == made_by_.end() ? nullptr : &calls_[at->second];
  }

 private:
  explicit Trace(const Variable<float>& x) : input_(x) {}
  void on_operator(std::any what, std::span<const Variable<float>> inputs, const Variable<float>& output) override {
    bool any = false;
    for (const auto& input : inputs) any = any || depends(input);
    // Kept, so that no later variable is taken for one of these.
    calls_.push_back({std::move(what), {inputs.begin(), inputs.end()}, output});
    made_by_[output.id()] = calls_.size() - 1;
    depends_[output.id()] = any;
  }

  class Listening {
   public:
    explicit Listening(OperatorListener& listener)
        : before_(std::exchange(spnet::detail::operator_listener, &listener)) {}
    Listening(const Listening&) = delete;
    Listening& operator=(const Listening&) = delete;
    ~Listening() { spnet::detail::operator_listener = before_; }

   private:
    OperatorListener* before_;
  };

  Variable<float> input_, output_;
  std::vector<TracedCall> calls_;
  std::map<const void*, std::size_t> made_by_;
  std::map<const void*, bool> depends_;
};

}  // namespace pack
}  // namespace v0
}  // namespace spnet
