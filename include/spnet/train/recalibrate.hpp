// Statistics of batch norms for precisions that the network was not trained at.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "spnet/data/loader.hpp"
#include "spnet/nn/switchable_batch_norm.hpp"

namespace spnet {
inline namespace v0 {
namespace train {

/// The parameters and buffers of a network as they were.
class KeptState {
 public:
  /// `model` must live as long.
  explicit KeptState(nn::Module& model) {
    model.for_each([this](nn::Module& module) {
      for (const auto& p : module.own_parameters()) parameters_.emplace_back(p.variable, p.variable.value().clone());
      for (const auto& b : module.own_buffers()) buffers_.emplace_back(b.tensor, b.tensor->clone());
    });
  }
  /// Puts them back, of whatever shape they have become.
  void restore() const {
    for (const auto& [variable, value] : parameters_) Variable<float>(variable).value() = value.clone();
    for (const auto& [tensor, value] : buffers_) *tensor = value.clone();
  }

 private:
  std::vector<std::pair<Variable<float>, Tensor<float>>> parameters_;
  std::vector<std::pair<Tensor<float>*, Tensor<float>>> buffers_;
};

/// Replaces the running statistics of the batch norms that are in use at the network's present precisions by the mean
/// of those of the batches of `loader`'s current epoch, until `images` were seen (RFQuant does so instead of keeping
/// norms for every pair of widths). Everything else stays: affine parameters, norms that are not in use, quantizers.
/// The network is left in evaluation mode. Returns the number of images. Throws ValueError where there is no batch, and
/// what the network throws.
inline std::int64_t recalibrate_norms(nn::Module& model, data::Loader& loader, std::int64_t images) {
  const NoGradGuard no_grad;
  model.eval();
  std::vector<std::pair<nn::SwitchableBatchNorm*, double>> norms;  // with their momentum
  model.for_each([&](nn::Module& module) {
    if (auto* norm = dynamic_cast<nn::SwitchableBatchNorm*>(&module)) norms.push_back({norm, norm->momentum()});
  });
  const auto restore = [&] {
    for (auto& [norm, momentum] : norms) {
      norm->eval();
      norm->set_momentum(momentum);
    }
  };
  std::int64_t seen = 0;
  try {
    for (int batches = 1; seen < images; ++batches) {
      const auto batch = loader.next();
      if (!batch) break;
      for (auto& [norm, momentum] : norms) {
        norm->train();
        norm->set_momentum(1.0 / batches);
      }
      model(Variable<float>(batch->images));
      seen += batch->size();
    }
  } catch (...) {
    restore();
    throw;
  }
  restore();
  check<ValueError>(seen > 0, "recalibrate_norms: no images");
  return seen;
}

}  // namespace train
}  // namespace v0
}  // namespace spnet
