#include "prune_judge.hpp"

#include <algorithm>
#include <cstdint>

#include "data_source.hpp"
#include "networks.hpp"
#include "signals.hpp"
#include "spnet/autograd/loss.hpp"
#include "spnet/ops/float32_precision.hpp"
#include "spnet/train/recalibrate.hpp"
#include "training_plan.hpp"

namespace spnet::program {

// The switches that the network is evaluated at; a fixed one is at its own.
std::vector<Precision> PruneJudge::precisions() const {
  if (!run_.is_fixed()) return run_.switches;
  return {*std::max_element(run_.switches.begin(), run_.switches.end())};
}

void PruneJudge::recalibrate(nn::Classifier& model) const {
  const data::DatasetPtr images = training_set(run_, start_.splits);
  for (const Precision p : precisions()) {
    if (!run_.is_fixed()) model.set_precision(p);
    data::Loader loader(images, recalibration_options(run_));
    train::recalibrate_norms(model, loader, start_.config.recalibrate);
  }
}

// False where it was stopped.
bool PruneJudge::retrain(nn::Classifier& model) const {
  const RunConfig config = retraining_config(start_, 1);
  const auto steps = static_cast<std::uint64_t>(start_.config.trial_steps);
  const auto optimizer = make_optimizer(config, model);
  const auto method = make_method(config, model, *optimizer, steps);
  const StagePlan stages(config, steps);
  const ops::Float32PrecisionGuard guard(ops::parse_float32_precision(config.matmul_precision));
  data::Loader loader(training_set(config, start_.splits), loader_options(config, /*training=*/true));
  for (std::uint64_t step = 0; step < steps;) {
    const auto batch = loader.next();
    if (!batch) continue;  // an epoch has ended
    method->step(batch->images, batch->labels, stages.learning_rate(step, 0), step);
    ++step;
    if (stop_requested()) return false;
  }
  return true;
}

std::optional<double> PruneJudge::trial_loss(nn::Classifier& model) const {
  if (start_.config.trial_steps == 0 && start_.config.recalibrate == 0) return loss(model);
  const train::KeptState before(model);
  if (start_.config.trial_steps > 0 && !retrain(model)) return std::nullopt;
  if (start_.config.recalibrate > 0) recalibrate(model);
  const double found = loss(model);
  before.restore();
  return found;
}

double PruneJudge::loss(nn::Classifier& model) const {
  const NoGradGuard no_grad;
  model.eval();
  data::Loader loader(start_.held_out, loader_options(run_, /*training=*/false));
  double sum = 0;
  std::int64_t images = 0;
  while (const auto batch = loader.next()) {
    for (const Precision p : precisions()) {
      if (!run_.is_fixed()) model.set_precision(p);
      const Variable<float> logits = model(Variable<float>(batch->images));
      sum += static_cast<double>(cross_entropy(logits, batch->labels).item()) * static_cast<double>(batch->size());
      images += batch->size();
    }
  }
  return sum / static_cast<double>(images);
}

std::vector<std::pair<std::string, double>> PruneJudge::top1(nn::Classifier& model,
                                                             const data::DatasetPtr& images) const {
  data::Loader loader(images, loader_options(run_, /*training=*/false));
  std::vector<std::pair<std::string, double>> out;
  for (const auto& r : evaluate_network(run_, model, loader)) out.emplace_back(r.name, r.top1_percent());
  return out;
}

}  // namespace spnet::program
