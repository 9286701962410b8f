// Stochastic gradient descent with momentum.
#pragma once

#include <utility>
#include <vector>

#include "spnet/optim/optimizer.hpp"

namespace spnet {
inline namespace v0 {
namespace optim {

struct SGDOptions {
  double momentum = 0.9;  ///< [0, 1)
  bool nesterov = false;
};

/// g ← g + decay·w; b ← momentum·b + g; w ← w − lr·b, or w − lr·(g + momentum·b) with Nesterov's momentum. As PyTorch's
/// SGD without dampening.
class SGD : public Optimizer {
 public:
  /// Throws ValueError on a momentum outside [0, 1) or Nesterov without momentum.
  explicit SGD(std::vector<ParameterGroup> groups, SGDOptions options = {})
      : Optimizer(std::move(groups)), options_(options) {
    check<ValueError>(options.momentum >= 0 && options.momentum < 1, "SGD: momentum ", options.momentum,
                      " given, expected 0 ≤ momentum < 1");
    check<ValueError>(!options.nesterov || options.momentum > 0, "SGD: Nesterov's momentum needs a momentum > 0");
    if (options.momentum > 0) momentum_ = zeros_like_parameters();
  }

  /// "<parameter>.momentum".
  std::vector<NamedState> state() const override {
    std::vector<NamedState> out;
    if (!momentum_.empty()) append_state(out, momentum_, "momentum");
    return out;
  }

 protected:
  void update(std::size_t slot, const ParameterGroup& group, Tensor<float>& value, const Tensor<float>& grad,
              double lr) override {
    const auto decay = static_cast<float>(group.weight_decay), rate = static_cast<float>(lr);
    const auto momentum = static_cast<float>(options_.momentum);
    float* w = value.data();
    const float* g = grad.data();
    if (momentum_.empty()) {
      parallel_ranges(value.size(), kChunk, [=](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) w[i] -= rate * (g[i] + decay * w[i]);
      });
      return;
    }
    float* b = momentum_[slot].data();
    const bool nesterov = options_.nesterov;
    parallel_ranges(value.size(), kChunk, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const float slope = g[i] + decay * w[i];
        b[i] = momentum * b[i] + slope;
        w[i] -= rate * (nesterov ? slope + momentum * b[i] : b[i]);
      }
    });
  }

 private:
  SGDOptions options_;
  std::vector<Tensor<float>> momentum_;
};

}  // namespace optim
}  // namespace v0
}  // namespace spnet
