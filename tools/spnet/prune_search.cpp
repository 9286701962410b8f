#include "prune_search.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "progress.hpp"
#include "signals.hpp"

namespace spnet::program {

prune::CriterionOptions criterion_options(const PruneConfig& config) {
  return {.measure = config.measure == "distance" ? prune::Measure::kDistance : prune::Measure::kAngle,
          .kernels = config.kernels == "own" ? prune::Kernels::kOwn : prune::Kernels::kNext,
          .order = config.order == "smallest" ? prune::Order::kSmallest
                   : config.order == "random" ? prune::Order::kRandom
                                              : prune::Order::kLargest,
          .seed = config.seed};
}

std::optional<std::vector<double>> search_step(prune::RatioMasks& network, const std::vector<std::size_t>& searched,
                                               const PruneConfig& config, const PruneStep& step, PruneLog& log,
                                               const std::function<std::optional<double>()>& loss) {
  const bool greedy = config.search == "greedy";
  prune::RatioSearchOptions options{
      .most = config.most,
      .alpha = config.alpha * std::pow(2.0, step.pass - 1),
      .random_points = config.random_points >= 0 ? config.random_points
                       : greedy                  ? 5
                                                 : 10,
      .guided_points = config.guided_points >= 0 ? config.guided_points
                       : greedy                  ? 5
                                                 : 50,
      .acquisition = config.acquisition == "ucb" ? prune::upper_confidence_bound() : prune::expected_improvement,
      .seed = config.seed + static_cast<std::uint64_t>(step.number),
      .budget = step.budget};
  for (const auto& line : log.lines())
    if (line.contains("trial") && line["step"] == step.number) {
      options.known.push_back({line["trial"].at("ratios").get<std::vector<double>>(),
                               line["trial"].at("loss").get<double>(), line["trial"].at("objective").get<double>()});
      check<FileError>(options.known.back().ratios.size() == network.size(), log.path().string(), ": a trial of step ",
                       step.number, " has ", options.known.back().ratios.size(), " ratios, the network has ",
                       network.size());
    }
  bool stopped = false;
  const auto total = static_cast<std::int64_t>(3 + options.random_points + options.guided_points);
  std::int64_t done = std::ssize(options.known);
  double least = std::numeric_limits<double>::infinity();
  for (const prune::RatioTrial& trial : options.known) least = std::min(least, trial.loss);
  Progress progress(message("step ", step.number), total, "trials", done);
  options.progress = [&](const prune::RatioTrial& trial) {
    log.add({{"step", step.number},
             {"trial", {{"ratios", trial.ratios}, {"loss", trial.loss}, {"objective", trial.objective}}}});
    least = std::min(least, trial.loss);
    progress.update(++done, message("loss ", trial.loss, ", least ", least));
    return !(stopped = stop_requested());
  };
  const auto judged = [&] {
    const std::optional<double> lost = loss();
    stopped = !lost;
    return lost;
  };
  const prune::RatioTrial found =
      prune::search_ratios(network, std::vector<double>(network.size(), 0), searched, judged, options);
  progress.finish();
  if (stopped) return std::nullopt;
  return found.ratios;
}

}  // namespace spnet::program
