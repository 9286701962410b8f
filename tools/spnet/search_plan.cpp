#include "search_plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "budget_text.hpp"
#include "networks.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/core/random_fill.hpp"
#include "spnet/files/atomic_file.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/search/latency.hpp"
#include "spnet/search/pair_costs.hpp"
#include "training_options.hpp"

namespace spnet::program {

namespace {

search::Candidates candidates_of(const RunConfig& config) {
  return {config.search.candidates, config.search.input_candidates};
}
Shape image_of(const RunConfig& config) { return {config.image_size, config.image_size, 3}; }

BudgetText parse_constraint(const std::string& text) {
  return parse_budget_text("--constraint", text, {"avg-bits", "size-mib", "bitops-g", "latency-ms"});
}

// What a table of latencies is measured for, beside the candidates.
nlohmann::ordered_json profiled(const RunConfig& c) {
  const auto options = c.model_options();
  return {{"model", c.model},
          {"width", c.width},
          {"stem", c.stem},
          {"image", c.image_size},
          {"quantizer", options.quantization.weight_quantizer},
          {"activation_quantizer", options.quantization.activation_quantizer},
          {"per_channel", c.per_channel},
          {"relu_before_norm", c.relu_before_norm}};
}

search::CostTable latency_costs(const RunConfig& config, const search::Architecture& architecture) {
  const LatencyTable& measured = config.search.latency;
  return search::pair_table(
      architecture.candidates(), architecture.layers().size(),
      [&](std::size_t l, Precision p) {
        const auto row = measured.layers.find(architecture.layers()[l].name);
        const bool known = row != measured.layers.end() && row->second.contains(to_string(p));
        check<ValueError>(known, "search: the latency of ", architecture.layers()[l].name, " at ", p,
                          " was not measured");
        return row->second.at(to_string(p));
      },
      measured.fixed);
}

}  // namespace

LatencyTable profile_latency(const RunConfig& config, const search::Candidates& candidates, int threads) {
  search::check_candidates(candidates, "profile");
  const auto pairs = candidates.pairs();
  RunConfig widest = config;
  widest.switches = pairs;
  widest.norm = "shared";
  widest.layers.clear();
  const auto model = make_network(widest);
  // Scales and ranges that start from data.
  Random random(1);
  Tensor<float> images(runtime::detail::with_batch(image_of(config), 2));
  fill_normal(images.span(), random);
  {
    const NoGradGuard no_grad;
    for (std::size_t i = 0; i < std::max(candidates.weights.size(), candidates.activations.size()); ++i) {
      model->set_precision({candidates.weights[std::min(i, candidates.weights.size() - 1)],
                            candidates.activations[std::min(i, candidates.activations.size() - 1)]});
      (*model)(Variable<float>(images));
    }
  }
  const auto packed = std::make_shared<const runtime::Model>(pack::pack(*model, image_of(config), pairs));
  const search::CostTable table = search::calibrated_latency_table(packed, {.threads = threads});
  LatencyTable out{{}, table.fixed, threads};
  for (std::size_t l = 0; l < table.layers.size(); ++l)
    for (std::size_t p = 0; p < pairs.size(); ++p)
      out.layers[packed->graph().layers[l]][to_string(pairs[p])] = table.layers[l][p];
  return out;
}

void save_latency(const std::string& path, const RunConfig& config, const LatencyTable& table) {
  nlohmann::ordered_json json = profiled(config);
  json["threads"] = table.threads;
  json["kernels"] = kernels::active().name;
  json["fixed_ms"] = table.fixed;
  json["layers_ms"] = table.layers;
  files::write_file_atomically(path, json.dump(1) + "\n");
}

LatencyTable load_latency(const std::string& path, const RunConfig& config) {
  const std::string text = files::read_text(path);
  try {
    const auto json = nlohmann::json::parse(text);
    const auto expected = profiled(config);
    for (const auto& [entry, value] : expected.items())
      check<FileError>(json.at(entry) == value, path, ": measured for ", entry, ' ', json.at(entry).dump(),
                       ", this is ", value.dump());
    LatencyTable out{json.at("layers_ms"), json.at("fixed_ms"), json.at("threads")};
    check_latency(out, path);
    if (const auto kernels = json.at("kernels").get<std::string>(); kernels != kernels::active().name)
      std::fprintf(stderr, "warning: %s was measured with the kernels of %s, here %s are in use\n", path.c_str(),
                   kernels.c_str(), kernels::active().name);
    return out;
  } catch (const nlohmann::json::exception& error) {
    throw FileError(message(path, ": not a table of latencies as `spnet profile` writes it (", error.what(), ")"));
  }
}

void check_latency(const LatencyTable& table, const std::string& source) {
  const auto require = [&](bool condition, const std::string& layer) {
    check<FileError>(condition, source, ": the latency of ", layer, " is no number of milliseconds");
  };
  check<FileError>(table.threads >= 0 && table.threads <= 1024, source, ": ", table.threads,
                   " threads, expected 0 to 1024");
  require(std::isfinite(table.fixed) && table.fixed >= 0, "what is no layer");
  for (const auto& [layer, row] : table.layers)
    for (const auto& [pair, ms] : row) require(std::isfinite(ms) && ms > 0, layer);
}

search::Candidates parse_candidates(const std::vector<std::string>& weights, const std::vector<std::string>& inputs) {
  search::Candidates out;
  parse_numbers("--candidates", weights, out.weights);
  parse_numbers("--input-candidates", inputs, out.activations);
  if (out.activations.empty()) out.activations = out.weights;
  std::sort(out.weights.begin(), out.weights.end());
  std::sort(out.activations.begin(), out.activations.end());
  search::check_candidates(out, "search");
  return out;
}

static bool limits_latency(const SearchConfig& s) {
  return std::any_of(s.constraints.begin(), s.constraints.end(),
                     [](const std::string& text) { return parse_constraint(text).kind == "latency-ms"; });
}

void check_search(const RunConfig& config) {
  const SearchConfig& s = config.search;
  const search::Candidates candidates = candidates_of(config);
  search::check_candidates(candidates, "search");
  const auto pairs = candidates.pairs();
  for (const std::string& text : s.constraints) {
    const BudgetText wanted = parse_constraint(text);
    check<ValueError>(!wanted.like || std::find(pairs.begin(), pairs.end(), *wanted.like) != pairs.end(),
                      "--constraint '", text, "' given, but the candidates are ", join(pairs));
  }
  check<ValueError>(s.latency_file.empty() || limits_latency(s), "--latency ", s.latency_file,
                    " given, but no --constraint latency-ms:");
  search::find_cell(s.cell);
  check<ValueError>(s.warmup_epochs + 2 * s.decide_epochs <= static_cast<double>(config.epochs), "--epochs ",
                    config.epochs, " given: expected --search-warmup ", s.warmup_epochs,
                    " and at least two times --decide-every ", s.decide_epochs);
}

void complete_search(RunConfig& config) {
  SearchConfig& s = config.search;
  if (!limits_latency(s)) return;
  s.latency = s.latency_file.empty() ? profile_latency(config, candidates_of(config), num_threads())
                                     : load_latency(s.latency_file, config);
}

std::vector<search::NamedConstraint> make_constraints(const RunConfig& config, nn::Module& model,
                                                      search::Architecture architecture) {
  const auto work = search::layer_work(model, architecture, image_of(config));
  const search::Candidates& candidates = architecture.candidates();
  std::vector<search::NamedConstraint> out;
  int number = 0;
  for (const std::string& text : config.search.constraints) {
    const BudgetText wanted = parse_constraint(text);
    ++number;
    const auto add = [&](const std::string& name, search::CostTable table, double unit) {
      for (auto& layer : table.layers)
        for (double& cost : layer) cost /= unit;
      table.fixed /= unit;
      double budget = wanted.amount;
      if (wanted.like) {
        const auto pairs = candidates.pairs();
        const auto at = std::find(pairs.begin(), pairs.end(), *wanted.like);  // check_search has seen to it
        budget = table.of(search::Configuration(work.size(), static_cast<std::uint8_t>(at - pairs.begin())));
      }
      out.push_back({name, {std::move(table), budget, number}});
    };
    if (wanted.kind == "avg-bits") {
      // There is nothing to choose where there is one width.
      if (candidates.weights.size() > 1) add("avg-weight-bits", search::mean_weight_bits_table(candidates, work), 1);
      if (candidates.activations.size() > 1) add("avg-input-bits", search::mean_input_bits_table(candidates, work), 1);
    } else if (wanted.kind == "size-mib") {
      add(wanted.kind, search::size_bits_table(model, architecture), 8.0 * (1 << 20));
    } else if (wanted.kind == "bitops-g") {
      add(wanted.kind, search::bit_operations_table(candidates, work), 1e9);
    } else {
      add(wanted.kind, latency_costs(config, architecture), 1);
    }
  }
  search::check_constraints(out);
  return out;
}

search::Architecture restore_found(const RunConfig& config, const io::TensorFile& checkpoint, nn::Module& model) {
  search::Architecture architecture(model, candidates_of(config));
  for (auto& state : architecture.state())
    state.tensor.copy_from(checkpoint.get<float>(kMethodPrefix + state.name, state.tensor.shape()));
  try {
    architecture.restored();
  } catch (const ValueError& error) {
    throw FileError(error.what());
  }
  return architecture;
}

}  // namespace spnet::program
