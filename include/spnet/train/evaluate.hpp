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

/// Runs every batch of `loader`'s current epoch through every switch, in evaluation mode and without a tape.
/// `progress(images)` is called after each batch and may return false to stop early. The network is left in its former
/// mode, at the last of `switches`. Throws ValueError at a switch that the network was not made for, NumericError, naming
/// the switch, where logits or what leads to them are not finite, and what the loader throws.
inline std::vector<Evaluation> evaluate(nn::Module& model, const std::vector<Precision>& switches, data::Loader& loader,
                                        const std::function<bool(std::int64_t)>& progress = {}) {
  NoGradGuard no_grad;
  const bool training = model.training();
  model.eval();
  std::vector<Evaluation> results;
  for (Precision p : switches) results.push_back({.precision = p});
  std::int64_t images = 0;
  while (auto batch = loader.next()) {
    const Variable<float> x(batch->images);
    for (auto& result : results) {
      model.set_precision(result.precision);
      try {
        const auto begin = std::chrono::steady_clock::now();
        const Variable<float> logits = model(x);
        result.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        result.correct += count_correct(logits.value(), batch->labels);
      } catch (const NumericError& error) {
        throw NumericError(message("evaluate: at switch ", result.precision, ": ", error.what()));
      }
      result.images += batch->labels.size();
    }
    images += batch->labels.size();
    if (progress && !progress(images)) break;
  }
  model.train(training);
  return results;
}

}  // namespace train
}  // namespace v0
}  // namespace spnet
