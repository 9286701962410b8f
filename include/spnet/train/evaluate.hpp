// The accuracy of a network at each of its switches.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "spnet/data/loader.hpp"
#include "spnet/nn/module.hpp"
#include "spnet/train/metrics.hpp"

namespace spnet {
inline namespace v0 {
namespace train {

/// Accuracy and time of one switch, or of layers at precisions of their own.
struct Evaluation {
  std::string name;  ///< "w2a2", or the configuration's
  std::int64_t images = 0, correct = 0;
  double seconds = 0;  ///< in the network alone, loading not counted

  double top1_percent() const { return images ? 100.0 * static_cast<double>(correct) / static_cast<double>(images) : 0; }
  double ms_per_image() const { return images ? 1e3 * seconds / static_cast<double>(images) : 0; }
};

/// Runs every batch of `loader`'s current epoch through logits(i, images [N,H,W,C]) → [N,classes] for every i of
/// `names`. `progress(images)` is called after each batch and may return false to stop early. Throws NumericError, with
/// the name, where logits or what leads to them are not finite, and what `logits` and the loader throw.
template <class Logits>
std::vector<Evaluation> evaluate_logits(const Logits& logits, const std::vector<std::string>& names,
                                        data::Loader& loader, const std::function<bool(std::int64_t)>& progress = {}) {
  std::vector<Evaluation> results;
  for (const std::string& name : names) results.push_back({.name = name});
  std::int64_t images = 0;
  while (auto batch = loader.next()) {
    for (std::size_t i = 0; i < results.size(); ++i) {
      Evaluation& result = results[i];
      try {
        const auto begin = std::chrono::steady_clock::now();
        const Tensor<float> found = logits(i, batch->images);
        result.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        result.correct += count_correct(found, batch->labels);
      } catch (const NumericError& error) {
        throw NumericError(message("evaluate: at switch ", result.name, ": ", error.what()));
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
  std::vector<std::string> names;
  for (const Precision p : switches) names.push_back(to_string(p));
  const auto logits = [&](std::size_t i, const Tensor<float>& images) {
    model.set_precision(switches[i]);
    return model(Variable<float>(images)).value();
  };
  auto results = evaluate_logits(logits, names, loader, progress);
  model.train(training);
  return results;
}

/// The same of a network whose layers have precisions of their own, as they are now; the result is called `name`.
inline Evaluation evaluate_as_set(nn::Module& model, const std::string& name, data::Loader& loader,
                                  const std::function<bool(std::int64_t)>& progress = {}) {
  NoGradGuard no_grad;
  const bool training = model.training();
  model.eval();
  const auto logits = [&](std::size_t, const Tensor<float>& images) { return model(Variable<float>(images)).value(); };
  const Evaluation result = evaluate_logits(logits, {name}, loader, progress).front();
  model.train(training);
  return result;
}

}  // namespace train
}  // namespace v0
}  // namespace spnet
