#include "search_plan.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "networks.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/files/atomic_file.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/search/latency.hpp"
#include "spnet/search/pair_costs.hpp"

namespace spnet::program {

namespace {

constexpr std::uint64_t kMaxBytes = std::uint64_t{64} << 20;

search::Candidates candidates_of(const RunConfig& config) {
  return {config.search.candidates, config.search.input_candidates};
}
Shape image_of(const RunConfig& config) { return {config.image_size, config.image_size, 3}; }

// "bitops-g:w2a2" as a kind and either a number or a precision.
struct ConstraintText {
  std::string kind;
  double amount = 0;
  std::optional<Precision> like;
};

ConstraintText parse_constraint(const std::string& text) {
  static constexpr const char* kKinds[] = {"avg-bits", "size-mib", "bitops-g", "latency-ms"};
  const std::size_t colon = std::min(text.find(':'), text.size());
  ConstraintText out{text.substr(0, colon), 0, {}};
  check<ValueError>(std::find(std::begin(kKinds), std::end(kKinds), out.kind) != std::end(kKinds), "--constraint '", text,
                    "' given, expected avg-bits:, size-mib:, bitops-g: or latency-ms:");
  const std::string_view amount = std::string_view(text).substr(std::min(colon + 1, text.size()));
  if (amount.starts_with('w')) {
    out.like = parse_precision(amount);
    return out;
  }
  const auto [end, error] = std::from_chars(amount.data(), amount.data() + amount.size(), out.amount);
  check<ValueError>(error == std::errc() && end == amount.data() + amount.size() && out.amount > 0, "--constraint '", text,
                    "' given, expected a number above 0, or a pair of widths");
  return out;
}

search::CostTable latency_costs(const RunConfig& config, const search::Architecture& architecture) {
  const auto at = [&](const std::string& layer, const std::string& column) {
    const auto row = config.search.latency.find(layer);
    const bool known = row != config.search.latency.end() && row->second.contains(column);
    check<ValueError>(known, "search: the latency of ", layer.empty() ? "what is no layer" : layer, " at ", column,
                      " was not measured");
    return row->second.at(column);
  };
  return search::pair_table(
      architecture.candidates(), architecture.layers().size(),
      [&](std::size_t l, Precision p) { return at(architecture.layers()[l].name, to_string(p)); }, at("", "fixed"));
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
  for (float& v : images.span()) v = random.normal();
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
  LatencyTable out;
  for (std::size_t l = 0; l < table.layers.size(); ++l)
    for (std::size_t p = 0; p < pairs.size(); ++p)
      out[packed->graph().layers[l]][to_string(pairs[p])] = table.layers[l][p];
  out[""]["fixed"] = table.fixed;
  return out;
}

void save_latency(const std::string& path, const RunConfig& config, int threads, const LatencyTable& table) {
  nlohmann::ordered_json json = {{"model", config.model},
                                 {"image", config.image_size},
                                 {"threads", threads},
                                 {"kernels", kernels::active().name},
                                 {"fixed_ms", table.at("").at("fixed")}};
  for (const auto& [layer, row] : table)
    if (!layer.empty()) json["layers_ms"][layer] = row;
  files::write_file_atomically(path, json.dump(1) + "\n");
}

LatencyTable load_latency(const std::string& path) {
  const files::FileBytes bytes = files::read_file(path, kMaxBytes);
  const auto* const text = reinterpret_cast<const char*>(bytes.data.get());
  try {
    const auto json = nlohmann::json::parse(text, text + bytes.size);
    LatencyTable out = json.at("layers_ms").get<LatencyTable>();
    out[""]["fixed"] = json.at("fixed_ms").get<double>();
    return out;
  } catch (const nlohmann::json::exception& error) {
    throw FileError(message(path, ": not a table of latencies as `spnet profile` writes it (", error.what(), ")"));
  }
}

void check_constraint_texts(const std::vector<std::string>& constraints) {
  for (const std::string& text : constraints) parse_constraint(text);
}

void complete_search(RunConfig& config) {
  const bool needs = std::any_of(config.search.constraints.begin(), config.search.constraints.end(),
                                 [](const std::string& text) { return parse_constraint(text).kind == "latency-ms"; });
  if (needs && config.search.latency.empty())
    config.search.latency = profile_latency(config, candidates_of(config), num_threads());
}

std::vector<search::NamedConstraint> make_constraints(const RunConfig& config, nn::Module& model,
                                                      search::Architecture architecture) {
  const auto work = search::layer_work(model, architecture, image_of(config));
  const search::Candidates& candidates = architecture.candidates();
  std::vector<search::NamedConstraint> out;
  for (const std::string& text : config.search.constraints) {
    const ConstraintText wanted = parse_constraint(text);
    const auto add = [&](const std::string& name, search::CostTable table, double unit) {
      for (auto& layer : table.layers)
        for (double& cost : layer) cost /= unit;
      table.fixed /= unit;
      double budget = wanted.amount;
      if (wanted.like) {
        const auto pairs = candidates.pairs();
        const auto at = std::find(pairs.begin(), pairs.end(), *wanted.like);
        check<ValueError>(at != pairs.end(), "--constraint '", text, "' given, but the candidates are ", join(pairs));
        // A hair more, for sums are rounded.
        budget = table.of(search::Configuration(work.size(), static_cast<std::uint8_t>(at - pairs.begin()))) * (1 + 1e-9);
      }
      out.push_back({name, {std::move(table), budget}});
    };
    if (wanted.kind == "avg-bits") {
      add("avg-weight-bits", search::mean_weight_bits_table(candidates, work), 1);
      add("avg-input-bits", search::mean_input_bits_table(candidates, work), 1);
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
  architecture.apply_choice();
  return architecture;
}

}  // namespace spnet::program
