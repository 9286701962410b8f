// Adam and AdamW.
#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include "spnet/optim/optimizer.hpp"

namespace spnet {
inline namespace v0 {
namespace optim {

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999;  ///< [0, 1)
  double epsilon = 1e-8;              ///< > 0
  bool decoupled_decay = false;       ///< AdamW: decay shrinks the weights, not the gradient
};

/// Adam (Kingma and Ba, ICLR 2015); with `decoupled_decay` AdamW (Loshchilov and Hutter, ICLR 2019). As PyTorch's.
class Adam : public Optimizer {
 public:
  /// Throws ValueError on a beta outside [0, 1) or an epsilon that is not positive.
  explicit Adam(std::vector<ParameterGroup> groups, AdamOptions options = {})
      : Optimizer(std::move(groups)), options_(options) {
    check<ValueError>(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1,
                      "Adam: betas ", options.beta1, " and ", options.beta2, " given, expected 0 ≤ beta < 1");
    check<ValueError>(options.epsilon > 0, "Adam: epsilon ", options.epsilon, " given, expected > 0");
    first_ = zeros_like_parameters();
    second_ = zeros_like_parameters();
    for (std::size_t i = 0; i < first_.size(); ++i) steps_.push_back(Tensor<float>::zeros({1}));
  }

  /// "<parameter>.exp_avg", ".exp_avg_sq" and ".step".
  std::vector<NamedState> state() const override {
    std::vector<NamedState> out;
    append_state(out, first_, "exp_avg");
    append_state(out, second_, "exp_avg_sq");
    append_state(out, steps_, "step");
    return out;
  }

 protected:
  void update(std::size_t slot, const ParameterGroup& group, Tensor<float>& value, const Tensor<float>& grad,
              double lr) override {
    const double step = static_cast<double>(steps_[slot](0) += 1);  // exact up to 2^24 updates
    const auto beta1 = static_cast<float>(options_.beta1), beta2 = static_cast<float>(options_.beta2);
    const auto rate = static_cast<float>(lr / (1 - std::pow(options_.beta1, step)));
    const auto root = static_cast<float>(1 / std::sqrt(1 - std::pow(options_.beta2, step)));
    const auto epsilon = static_cast<float>(options_.epsilon);
    const auto coupled = static_cast<float>(options_.decoupled_decay ? 0 : group.weight_decay);
    const auto keep = static_cast<float>(options_.decoupled_decay ? 1 - lr * group.weight_decay : 1);
    float* w = value.data();
    float* m = first_[slot].data();
    float* v = second_[slot].data();
    const float* g = grad.data();
    parallel_ranges(value.size(), kChunk, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const float slope = g[i] + coupled * w[i];
        m[i] = beta1 * m[i] + (1 - beta1) * slope;
        v[i] = beta2 * v[i] + (1 - beta2) * slope * slope;
        w[i] = keep * w[i] - rate * m[i] / (std::sqrt(v[i]) * root + epsilon);
      }
    });
  }

 private:
  AdamOptions options_;
  std::vector<Tensor<float>> first_, second_, steps_;
};

}  // namespace optim
}  // namespace v0
}  // namespace spnet
