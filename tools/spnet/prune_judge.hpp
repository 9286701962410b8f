// What a network that is pruned is judged by.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "run_config.hpp"
#include "spnet/data/open_options.hpp"
#include "spnet/nn/module.hpp"

namespace spnet::program {

/// Judges networks of one run, whole or masked, by images that are not trained on. It lives no longer than the run's
/// configuration and data.
class PruneJudge {
 public:
  /// `recalibrate` is the number of training images that norms are set by, 0 to leave them.
  PruneJudge(const RunConfig& run, const data::DataSplits& splits, data::DatasetPtr held_out, std::int64_t recalibrate)
      : run_(run), splits_(splits), held_out_(std::move(held_out)), recalibrate_(recalibrate) {}

  /// The mean loss over the held-out images and the switches, with norms that fit the network as it is: without, a loss
  /// tells little but how far their statistics are off, which retraining mends at once. They come back as they were.
  double trial_loss(nn::Classifier& model) const;
  /// Takes the statistics of the norms of all switches anew from images that are trained on.
  void recalibrate(nn::Classifier& model) const;
  /// Of each switch, in percent.
  std::vector<std::pair<std::string, double>> top1(nn::Classifier& model, const data::DatasetPtr& images) const;

 private:
  std::vector<Precision> precisions() const;
  double loss(nn::Classifier& model) const;

  const RunConfig& run_;
  const data::DataSplits& splits_;
  data::DatasetPtr held_out_;
  std::int64_t recalibrate_;
};

}  // namespace spnet::program
