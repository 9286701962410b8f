// What a network that is pruned is judged by.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "prune_start.hpp"

namespace spnet::program {

/// Judges networks of one run, whole or masked, by images that are not trained on.
class PruneJudge {
 public:
  /// `start` must live as long; the model in it is not looked at.
  explicit PruneJudge(const PruneStart& start) : start_(start), run_(start.run) {}

  /// The mean loss over the held-out images and the switches, after the steps of retraining that a trial is given,
  /// which are the same ones for all, and with norms that fit the network as it is: without, a loss tells little but
  /// how far their statistics are off, which retraining mends at once. The network comes back as it was. Nothing where
  /// it was stopped.
  std::optional<double> trial_loss(nn::Classifier& model) const;
  /// Takes the statistics of the norms of all switches anew from images that are trained on.
  void recalibrate(nn::Classifier& model) const;
  /// Of each switch, in percent.
  std::vector<std::pair<std::string, double>> top1(nn::Classifier& model, const data::DatasetPtr& images) const;

 private:
  std::vector<Precision> precisions() const;
  bool retrain(nn::Classifier& model) const;
  double loss(nn::Classifier& model) const;

  const PruneStart& start_;
  const RunConfig& run_;
};

}  // namespace spnet::program
