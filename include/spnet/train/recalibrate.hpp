// Statistics of batch norms for precisions that the network was not trained at.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/data/loader.hpp"
#include "spnet/nn/quantized_layer.hpp"
#include "spnet/nn/transitional_batch_norm.hpp"

namespace spnet {
inline namespace v0 {
namespace train {

/// The buffers of a network as they were.
class KeptBuffers {
 public:
  /// `model` must live as long.
  explicit KeptBuffers(nn::Module& model) {
    model.for_each([this](nn::Module& module) {
      for (const auto& buffer : module.own_buffers()) kept_.emplace_back(buffer.tensor, buffer.tensor->clone());
    });
  }
  /// Puts them back, of whatever shape they have become.
  void restore() const {
    for (const auto& [tensor, value] : kept_) *tensor = value.clone();
  }

 private:
  std::vector<std::pair<Tensor<float>*, Tensor<float>>> kept_;
};

namespace detail {

// Runs images of the loader's epoch, at least `images` where there are as many, through the network, in evaluation but
// for the norms for which `learns(norm)` says so before each batch, after `prepare(its number)`: their running
// statistics become the means of those of their batches. Returns the number of images.
template <class Prepare, class Learns>
std::int64_t average_statistics(nn::Module& model, data::Loader& loader, std::int64_t images, const Prepare& prepare,
                                const Learns& learns) {
  const NoGradGuard no_grad;
  std::vector<nn::SwitchableBatchNorm*> norms;
  model.for_each([&norms](nn::Module& module) {
    if (auto* norm = dynamic_cast<nn::SwitchableBatchNorm*>(&module)) norms.push_back(norm);
  });
  const auto average = [&](bool on) {
    model.eval();
    for (auto* norm : norms) norm->average_statistics(on);
  };
  average(true);
  std::int64_t seen = 0;
  try {
    for (std::uint64_t number = 0; seen < images; ++number) {
      const auto batch = loader.next();
      if (!batch) break;
      prepare(number);
      for (auto* norm : norms) norm->train(learns(*norm));
      model(Variable<float>(batch->images));
      seen += batch->size();
    }
  } catch (...) {
    average(false);
    throw;
  }
  average(false);
  check<ValueError>(seen > 0, "recalibration: no images");
  return seen;
}

}  // namespace detail

/// Replaces the running statistics of the batch norms that are in use at the network's present precisions by the mean
/// of those of the batches of `loader`'s current epoch, until `images` were seen (RFQuant does so instead of keeping
/// norms for every pair of widths). Everything else stays: affine parameters, norms that are not in use, quantizers.
/// The network is left in evaluation mode. Returns the number of images. Throws ValueError where there is no batch, and
/// what the network throws.
inline std::int64_t recalibrate_norms(nn::Module& model, data::Loader& loader, std::int64_t images) {
  return detail::average_statistics(
      model, loader, images, [](std::uint64_t) {}, [](const nn::SwitchableBatchNorm&) { return true; });
}

/// The same of the norms between different precisions alone, each layer at one of `precisions` that it draws anew for
/// every batch: training leaves them with the statistics of the few batches that were last at their pair of precisions
/// [ours]. The layers' precisions are afterwards what they were. Throws as recalibrate_norms.
inline std::int64_t recalibrate_transitions(nn::Module& model, const std::vector<Precision>& precisions,
                                            data::Loader& loader, std::int64_t images, std::uint64_t seed) {
  constexpr std::uint64_t kStream = 0x6e6f726d;  // "norm"
  const std::vector<nn::NamedLayer> layers = nn::quantized_layers(model);
  std::vector<Precision> before;
  for (const auto& l : layers) before.push_back(l.layer->precision());
  const auto draw = [&](std::uint64_t number) {
    Random random(seed, kStream, number * 4096);
    for (const auto& l : layers)
      l.layer->set_precision(precisions[random.below(static_cast<std::uint32_t>(precisions.size()))]);
  };
  const auto is_transition = [](const nn::SwitchableBatchNorm& norm) {
    const auto* transitional = dynamic_cast<const nn::TransitionalBatchNorm*>(&norm);
    return transitional && transitional->is_between_precisions();
  };
  const std::int64_t seen = detail::average_statistics(model, loader, images, draw, is_transition);
  for (std::size_t i = 0; i < layers.size(); ++i) layers[i].layer->set_precision(before[i]);
  return seen;
}

}  // namespace train
}  // namespace v0
}  // namespace spnet
