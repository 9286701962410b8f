// What all optimizers share: parameter groups, gradient clipping, state by name.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spnet/autograd/variable.hpp"
#include "spnet/core/parallel.hpp"

namespace spnet {
inline namespace v0 {
namespace optim {

/// A variable to train, with the name that its state is saved under.
struct Parameter {
  std::string name;
  Variable<float> variable;
};

/// Parameters that share weight decay and a factor on the learning rate: norms and biases usually go without decay,
/// quantizers' scales with a rate of their own.
struct ParameterGroup {
  std::vector<Parameter> parameters;
  double weight_decay = 0;  ///< ≥ 0
  double lr_scale = 1;      ///< ≥ 0; multiplies the rate given to `step`
};

/// A tensor that the next step depends on; shares the optimizer's memory.
struct NamedState {
  std::string name;
  Tensor<float> tensor;
};

/// Euclidean norm of all gradients together. Parameters without a gradient count as 0.
inline double grad_norm(const std::vector<ParameterGroup>& groups) {
  double sum = 0;
  for (const auto& group : groups)
    for (const auto& p : group.parameters) {
      if (!p.variable.grad().defined()) continue;
      double square = 0;
      p.variable.grad().for_each_offset([&, data = p.variable.grad().data()](std::int64_t i) {
        square += static_cast<double>(data[i]) * static_cast<double>(data[i]);
      });
      sum += square;
    }
  return std::sqrt(sum);
}

/// Base of the optimizers. A parameter that got no gradient since the last `zero_grad` is passed over, as in PyTorch.
/// Each parameter is updated in one pass; nothing is allocated after construction; no result depends on the number of
/// threads.
class Optimizer {
 public:
  /// Throws ValueError on a negative decay or rate, a parameter that requires no gradient, or a name that occurs twice.
  explicit Optimizer(std::vector<ParameterGroup> groups) : groups_(std::move(groups)) {
    std::set<std::string_view> names;
    for (const auto& group : groups_) {
      check<ValueError>(group.weight_decay >= 0 && group.lr_scale >= 0, "optimizer: weight decay ", group.weight_decay,
                        " and rate factor ", group.lr_scale, " given, expected ≥ 0");
      for (const auto& p : group.parameters) {
        check<ValueError>(p.variable.defined() && p.variable.requires_grad(), "optimizer: parameter '", p.name,
                          "' requires no gradient");
        check<ValueError>(names.insert(p.name).second, "optimizer: parameter '", p.name, "' is there twice");
      }
    }
  }
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  virtual ~Optimizer() = default;

  /// One update with learning rate `lr`. Throws ValueError unless that is finite and ≥ 0, ShapeError on a parameter that is not
  /// row-major.
  void step(double lr) {
    check<ValueError>(std::isfinite(lr) && lr >= 0, "optimizer: learning rate ", lr, " given, expected ≥ 0");
    clip();
    std::size_t index = 0;
    for (auto& group : groups_)
      for (auto& p : group.parameters) {
        const std::size_t slot = index++;
        if (!p.variable.grad().defined()) continue;
        check<ShapeError>(p.variable.value().is_contiguous(), "optimizer: parameter '", p.name, "' is not contiguous");
        const Tensor<float> grad = p.variable.grad().contiguous();
        update(slot, group, p.variable.value(), grad, lr * group.lr_scale);
      }
  }
  /// False where a gradient is infinite or NaN.
  bool has_finite_gradients() const {
    constexpr std::uint32_t kExponent = 0x7f800000;
    std::uint32_t flaws = 0;
    for (const auto& group : groups_)
      for (const auto& p : group.parameters) {
        if (!p.variable.grad().defined()) continue;
        p.variable.grad().for_each_offset([&, data = p.variable.grad().data()](std::int64_t i) {
          flaws |= (std::bit_cast<std::uint32_t>(data[i]) & kExponent) == kExponent;
        });
      }
    return flaws == 0;
  }
  /// Forgets the gradients of all parameters.
  void zero_grad() {
    for (auto& group : groups_)
      for (auto& p : group.parameters) p.variable.zero_grad();
  }

  /// Scales all gradients down before each step so that their common norm is at most `norm`; 0: never. Throws ValueError on
  /// a negative one.
  void set_clip_norm(double norm) {
    check<ValueError>(norm >= 0, "optimizer: clip norm ", norm, " given, expected ≥ 0");
    clip_norm_ = norm;
  }

  const std::vector<ParameterGroup>& groups() const { return groups_; }
  /// Everything that must be saved to go on as if never stopped; write into the tensors to restore it.
  virtual std::vector<NamedState> state() const = 0;

 protected:
  /// Updates `value` in place; `slot` numbers the parameters over all groups.
  virtual void update(std::size_t slot, const ParameterGroup& group, Tensor<float>& value, const Tensor<float>& grad,
                      double lr) = 0;

  /// Zeros of the parameters' shapes, one for each slot.
  std::vector<Tensor<float>> zeros_like_parameters() const {
    std::vector<Tensor<float>> out;
    for (const auto& group : groups_)
      for (const auto& p : group.parameters) out.push_back(Tensor<float>::zeros(p.variable.shape()));
    return out;
  }
  /// Names `tensors`, one for each slot, as "<parameter>.<what>".
  void append_state(std::vector<NamedState>& out, const std::vector<Tensor<float>>& tensors, const char* what) const {
    std::size_t slot = 0;
    for (const auto& group : groups_)
      for (const auto& p : group.parameters) out.push_back({p.name + "." + what, tensors[slot++]});
  }

  /// Chunk of elements that one thread updates at a time.
  static constexpr std::int64_t kChunk = 1 << 15;

 private:
  void clip() {
    if (clip_norm_ == 0) return;
    const double norm = grad_norm(groups_);
    if (!(norm > clip_norm_)) return;
    const float factor = static_cast<float>(clip_norm_ / norm);
    for (auto& group : groups_)
      for (auto& p : group.parameters) {
        if (!p.variable.grad().defined()) continue;
        Tensor<float>& grad = p.variable.mutable_grad();
        if (!grad.unique()) grad = grad.clone();
        grad.for_each_offset([data = grad.data(), factor](std::int64_t i) { data[i] *= factor; });
      }
  }

  std::vector<ParameterGroup> groups_;
  double clip_norm_ = 0;
};

}  // namespace optim
}  // namespace v0
}  // namespace spnet
