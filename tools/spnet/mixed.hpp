// Configurations of layers at precisions of their own: drawn at random, or searched for.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "spnet/data/open_options.hpp"
#include "spnet/runtime/model.hpp"
#include "spnet/search/knapsack.hpp"

namespace spnet::program {

/// `count` random configurations whose mean width of weights is `average`. Throws ValueError where that is outside of
/// the network's widths.
std::vector<runtime::NamedConfiguration> random_configurations(const runtime::Graph& graph, double average, int count,
                                                               std::uint64_t seed);

struct SearchRequest {
  /// "bitops:1.2e9", "bytes:300000", "latency-ms:0.4", "bits:3": at most so many bit operations an image, bytes of
  /// weights, milliseconds an image on this machine, bits on average; for a number, what all layers at a precision cost
  /// ("bitops:w3a3").
  std::vector<std::string> budgets;
  std::int64_t images = 1024;  ///< of the training set, on which losses are measured
  std::int64_t batch = 128;
  int evaluations = 150;
  int threads = 0;
  std::uint64_t seed = 1;
};

/// What a search found, and what it costs: the names of the budgets, and its costs. Latencies are measured.
struct FoundConfiguration {
  runtime::NamedConfiguration configuration;
  double loss = 0;
  int measured = 0;         ///< configurations, also those over the budget that tell what a layer costs
  std::int64_t images = 0;  ///< that losses were measured on
  std::vector<std::string> budgets;
  std::vector<double> costs, limits;
};

/// Searches without training. Throws UsageError where a budget is not understood, ValueError, naming the least that can
/// be kept, where one cannot be.
FoundConfiguration search_configuration(const std::shared_ptr<const runtime::Model>& model,
                                        const SearchRequest& request, const data::DataSplits& splits);

}  // namespace spnet::program
