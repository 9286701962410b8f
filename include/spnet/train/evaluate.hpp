// The accuracy of a network at each of its switches.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "spnet/data/loader.hpp"
#include "spnet/nn/module.hpp"
#include "spnet/train/metrics.hpp"

namespace spnet {
inline namespace v0 {
namespace train {

/// Accuracy and time of one switch.
struct Evaluation {
  Precision precision;
  std::int64_t images = 0, correct = 0;
  double seconds = 0;  ///< in the network alone, loading not counted

  double top1_percent() const { return images ? 100.0 * static_cast<double>(correct) / static_cast<double>(images) : 0; }
  double ms_per_image() const { return images ? 1e3 * seconds / static_cast<double>(images) : 0; }
};

/// Runs every batch of `loader`'s current epoch through logits(precision, images [N,H,W,C]) → [N,classes] at every switch.
/// `progress(images)` is called after each batch and may return false to stop early. Throws NumericError, naming the
/// switch, where logits or what leads to them are not finite, and what `logits` and the loader throw.
template <class Logits>
std::vector<Evaluation> evaluate_logits(const Logits& logits, const std::vector<Precision>& switches, data::Loader& loader,
                                        const std::function<bool(std::int64_t)>& progress = {}) {
  std::vector<Evaluation> results;
  for (Precision p : switches) results.push_back({.precision = p});
  std::int64_t images = 0;
  while (auto batch = loader.next()) {
    for (auto& result : results) {
      try {
        const auto begin = std::chrono::steady_clock::now();
        const Tensor<float> found = logits(result.precision, batch->images);
        result.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        result.correct += count_correct(found, batch->labels);
      } catch (const NumericError& error) {
        throw NumericError(message("evaluate: at switch ", result.precision, ": ", error.what()));
      }
      result.images += batch->labels.size();
    }
    images += batch->labels.size();
    if (progress && !progress(images)) break;
  }
  return results;
}

/// The same of a network in evaluation mode, without a tape. It is left in its former mode, at the last of `switches`.
/// Throws ValueError also at a switch that the network was not made for.
inline std::vector<Evaluation> evaluate(nn::Module& model, const std::vector<Precision>& switches, data::Loader& loader,
                                        const std::function<bool(std::int64_t)>& progress = {}) {
  NoGradGuard no_grad;
  const bool training = model.training();
  model.eval();
  const auto logits = [&](Precision p, const Tensor<float>& images) {
    model.set_precision(p);
    return model(Variable<float>(images)).value();
  };
  auto results = evaluate_logits(logits, switches, loader, progress);
  model.train(training);
  return results;
}

}  // namespace train
}  // namespace v0
}  // namespace spnet
