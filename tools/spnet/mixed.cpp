#include "mixed.hpp"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <optional>
#include <unordered_map>

#include "budget_text.hpp"
#include "commands.hpp"
#include "packed_model.hpp"
#include "progress.hpp"
#include "spnet/autograd/loss.hpp"
#include "spnet/data/loader.hpp"
#include "spnet/data/permutation.hpp"
#include "spnet/runtime/engine.hpp"
#include "spnet/search/latency.hpp"
#include "spnet/search/mixed_search.hpp"

namespace spnet::program {

namespace {

constexpr std::uint64_t kConfigurationStream = 0x636f6e66, kCalibrationStream = 0x63616c69;  // "conf", "cali"

// Throws ValueError where layers cannot have any of the network's precisions.
void require_free_layers(const runtime::Graph& graph) {
  check<ValueError>(!graph.is_fixed, "eval: --mixed: the layers of this network have their precisions for good");
}

struct Budget {
  std::string kind;
  search::Constraint constraint;
  double limit = 0;                            ///< of the cost; latencies as they are measured
  std::optional<runtime::Configuration> like;  ///< that costs the limit
};

Budget parse_budget(const std::string& text, const std::shared_ptr<const runtime::Model>& model, int threads) {
  BudgetText wanted;
  try {
    wanted = parse_budget_text("--budget", text, {"bitops", "bytes", "bits", "latency-ms"});
  } catch (const ValueError& error) {
    throw UsageError(error.what());
  }
  Budget out{wanted.kind, {.table = {}, .budget = wanted.amount}, wanted.amount, {}};
  if (wanted.like)
    out.like = runtime::Configuration(model->graph().layers.size(),
                                      static_cast<std::uint8_t>(model->precision_index(*wanted.like)));
  out.constraint.table = wanted.kind == "bitops"  ? search::bit_operations_table(*model)
                         : wanted.kind == "bytes" ? search::bytes_table(*model)
                         : wanted.kind == "bits"  ? search::average_bits_table(*model)
                                                  : search::calibrated_latency_table(model, {.threads = threads});
  if (out.like) out.limit = out.constraint.budget = out.constraint.table.of(*out.like);
  return out;
}

// Images of the training set, prepared once.
std::vector<data::Batch> calibration_batches(const runtime::Graph& graph, const SearchRequest& request,
                                             const data::DataSplits& splits) {
  const auto order = data::permutation(splits.train->size(), Random(request.seed, kCalibrationStream));
  std::vector<std::int64_t> chosen(order.begin(),
                                   order.begin() + std::min<std::int64_t>(request.images, std::ssize(order)));
  std::sort(chosen.begin(), chosen.end());
  data::Loader loader(std::make_shared<data::Subset>(splits.train, std::move(chosen)),
                      {.batch_size = request.batch, .shuffle = false, .augmentation = preparation(graph)});
  std::vector<data::Batch> out;
  while (auto batch = loader.next()) out.push_back({batch->images.clone(), batch->labels.clone(), {}});
  return out;
}

}  // namespace

std::vector<runtime::NamedConfiguration> random_configurations(const runtime::Graph& graph, double average, int count,
                                                               std::uint64_t seed) {
  require_free_layers(graph);
  std::vector<int> widths;
  for (const Precision p : graph.precisions) widths.push_back(p.weight_bits);
  Random random(seed, kConfigurationStream);
  std::vector<runtime::NamedConfiguration> out;
  for (int i = 1; i <= count; ++i)
    out.push_back(
        {message("random-", i), search::random_configuration(graph.layers.size(), widths, average, random), {}});
  return out;
}

FoundConfiguration search_configuration(const std::shared_ptr<const runtime::Model>& model,
                                        const SearchRequest& request, const data::DataSplits& splits) {
  const runtime::Graph& graph = model->graph();
  require_free_layers(graph);
  std::vector<Budget> budgets;
  for (const std::string& text : request.budgets) budgets.push_back(parse_budget(text, model, request.threads));
  const auto batches = calibration_batches(graph, request, splits);
  FoundConfiguration out;
  for (const data::Batch& batch : batches) out.images += static_cast<std::int64_t>(batch.labels.size());
  runtime::Engine engine(model, {.threads = request.threads, .tune = false});
  // A search that is repeated within a tighter budget begins with what was measured before.
  std::unordered_map<runtime::Configuration, double, search::ConfigurationHash> known;
  const auto loss = [&](const runtime::Configuration& configuration) {
    if (const auto at = known.find(configuration); at != known.end()) return at->second;
    engine.set_configuration(configuration);
    double sum = 0;
    std::int64_t images = 0;
    for (const data::Batch& batch : batches) {
      const NoGradGuard no_grad;
      sum += cross_entropy(Variable<float>(engine.run(batch.images)), batch.labels).item() *
             static_cast<double>(batch.labels.size());
      images += batch.labels.size();
    }
    return known[configuration] = sum / static_cast<double>(images);
  };

  std::vector<std::string> names;
  std::vector<search::Constraint> constraints;
  for (const Budget& b : budgets) {
    names.push_back(b.kind);
    constraints.push_back(b.constraint);
    out.budgets.push_back(b.kind);
    out.limits.push_back(b.limit);
  }
  runtime::Engine alone(model, {.threads = request.threads});
  for (std::size_t k = 0; k < budgets.size(); ++k)
    if (budgets[k].like && budgets[k].kind == "latency-ms")
      out.limits[k] = search::median_latency(alone, *budgets[k].like);
  // A table of latencies is only nearly additive: where what was found is slower than it says, the budget is tightened.
  constexpr int kRounds = 4;
  double fastest = std::numeric_limits<double>::infinity();
  std::size_t slow = 0;  // the budget
  int rounds = 0;
  for (; rounds < kRounds; ++rounds) {
    Progress progress("searching", static_cast<std::int64_t>(request.evaluations), "configurations");
    search::MixedSearchOptions options{.evaluations = request.evaluations, .seed = request.seed};
    options.progress = [&](int done, int expected) {
      progress.update(static_cast<std::int64_t>(done) * request.evaluations / std::max(expected, 1));
      return true;
    };
    std::optional<search::MixedSearch> mixed;
    try {
      mixed.emplace(graph.layers.size(), graph.precisions.size(), loss, constraints, names, options);
    } catch (const ValueError&) {
      if (rounds == 0) throw;
      break;  // of budgets that were tightened
    }
    const auto result = mixed->run();
    progress.finish();
    out.configuration = {"found", result.configuration, {}};
    out.loss = result.loss;
    out.measured = static_cast<int>(known.size());
    out.costs.clear();
    bool is_slow = false;
    for (std::size_t k = 0; k < budgets.size(); ++k) {
      double cost = budgets[k].constraint.table.of(result.configuration);
      if (budgets[k].kind == "latency-ms") {
        cost = search::median_latency(alone, result.configuration);
        if (cost > out.limits[k] && result.configuration != budgets[k].like) {
          is_slow = true;
          slow = k;
          fastest = std::min(fastest, cost);
          constraints[k].budget = std::max(constraints[k].budget * out.limits[k] / cost, constraints[k].table.least());
        }
      }
      out.costs.push_back(cost);
    }
    if (!is_slow) return out;
  }
  throw ValueError(message("eval: --budget latency-ms:", precise(out.limits[slow]),
                           " given, but the fastest that was found in ", rounds, " searches takes ", precise(fastest),
                           " ms"));
}

}  // namespace spnet::program
