#include "prune_judge.hpp"

#include <algorithm>

#include "data_source.hpp"
#include "networks.hpp"
#include "spnet/autograd/loss.hpp"
#include "spnet/train/recalibrate.hpp"

namespace spnet::program {

// The switches that the network is evaluated at; a fixed one is at its own.
std::vector<Precision> PruneJudge::precisions() const {
  if (!run_.is_fixed()) return run_.switches;
  return {*std::max_element(run_.switches.begin(), run_.switches.end())};
}

void PruneJudge::recalibrate(nn::Classifier& model) const {
  const data::DatasetPtr images = training_set(run_, splits_);
  for (const Precision p : precisions()) {
    if (!run_.is_fixed()) model.set_precision(p);
    data::Loader loader(images, recalibration_options(run_));
    train::recalibrate_norms(model, loader, recalibrate_);
  }
}

double PruneJudge::trial_loss(nn::Classifier& model) const {
  if (recalibrate_ == 0) return loss(model);
  const train::KeptBuffers before(model);
  recalibrate(model);
  const double found = loss(model);
  before.restore();
  return found;
}

double PruneJudge::loss(nn::Classifier& model) const {
  const NoGradGuard no_grad;
  model.eval();
  data::Loader loader(held_out_, loader_options(run_, /*training=*/false));
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
