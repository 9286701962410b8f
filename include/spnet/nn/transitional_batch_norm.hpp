// Batch normalisation with its own parameters and statistics for every pair of precisions that meet at it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "spnet/nn/switchable_batch_norm.hpp"

namespace spnet {
inline namespace v0 {
namespace nn {

/// Batch norm over the last axis with affine parameters and running statistics of its own for every (precision of the
/// layer before, precision of the layer after): N² of N switches (Bit-Mixer, arXiv 2103.17267). Where one of the two is
/// a float layer or not known, it counts as the other: so at the first layer, whose convolution is float, the layer
/// behind decides alone, and at the last the one before. At a residual join the layer behind is the one that reads the
/// sum first on the main path: the first convolution of the next block, for the norm of the shortcut as well.
///
/// Norms of equal neighbours have the names that SwitchableBatchNorm gives them ("w2a2.weight"), so that networks with
/// one can start from files of the other; the transitions are "w2a2-w4a4.weight", before and after. x [...,C] → the
/// same shape; gradients are exact.
class TransitionalBatchNorm : public SwitchableBatchNorm {
 public:
  /// Throws ValueError unless channels > 0.
  explicit TransitionalBatchNorm(std::int64_t channels, std::vector<Precision> switches = {},
                                 BatchNormOptions options = {})
      : SwitchableBatchNorm(channels, std::move(switches), options) {
    for_each_transition([&](std::size_t before, std::size_t after) {
      add_norm(to_string(this->switches()[before]) + "-" + to_string(this->switches()[after]) + ".", channels);
    });
  }

  /// Every transition takes over the parameters and statistics of the precision that it enters.
  void start_transitions() {
    for_each_transition([this](std::size_t before, std::size_t after) {
      Norm &to = norm(place(before, after)), &from = norm(after);
      to.gamma.value().copy_from(from.gamma.value());
      to.beta.value().copy_from(from.beta.value());
      to.running_mean.copy_from(from.running_mean);
      to.running_var.copy_from(from.running_var);
    });
  }

 protected:
  std::size_t active() const override {
    return switches().empty() ? 0 : place(place_of(precision_before()), place_of(precision_after()));
  }

 private:
  // Those of equal neighbours first, then the others in rows.
  std::size_t place(std::size_t before, std::size_t after) const {
    const std::size_t count = switches().size();
    return before == after ? before : count + before * (count - 1) + after - (after > before ? 1 : 0);
  }
  template <class Call>
  void for_each_transition(const Call& call) const {
    for (std::size_t before = 0; before < switches().size(); ++before)
      for (std::size_t after = 0; after < switches().size(); ++after)
        if (before != after) call(before, after);
  }
};

}  // namespace nn
}  // namespace v0
}  // namespace spnet
