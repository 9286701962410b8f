#include "run_config.hpp"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>

#include "search_plan.hpp"

namespace spnet::program {

models::ModelOptions RunConfig::model_options() const {
  return {.classes = static_cast<std::int64_t>(classes.size()),
          .width = width,
          .stem = stem,
          .quantization = {.switches = switches,
                           .weight_quantizer = quantizer,
                           .activation_quantizer = activation_quantizer.empty() ? quantizer : activation_quantizer,
                           .per_channel = per_channel,
                           .scale_rates = scale_rates,
                           .block_order = relu_before_norm ? nn::BlockOrder::kReluNorm : nn::BlockOrder::kNormRelu,
                           .norm = norm == "transitional" ? nn::NormKind::kTransitional
                                   : norm == "shared"     ? nn::NormKind::kShared
                                                          : nn::NormKind::kSwitchable},
          .seed = seed};
}

namespace {

// Calls `visit(name, member)` for every entry, so that writing and reading cannot drift apart.
template <class Config, class Visit>
void for_each_entry(Config& c, const Visit& visit) {
  visit("model", c.model);
  visit("width", c.width);
  visit("stem", c.stem);
  visit("data", c.data);
  visit("image_size", c.image_size);
  visit("train_images", c.train_images);
  visit("skip_bad", c.skip_bad);
  visit("augment", c.augment);
  visit("quantizer", c.quantizer);
  visit("activation_quantizer", c.activation_quantizer);
  visit("per_channel", c.per_channel);
  visit("relu_before_norm", c.relu_before_norm);
  visit("distill", c.distillation.name);
  visit("temperature", c.distillation.temperature);
  visit("feature_weight", c.distillation.feature_weight);
  visit("label_smoothing", c.distillation.label_smoothing);
  visit("epochs", c.epochs);
  visit("batch", c.batch);
  visit("optimizer", c.optimizer);
  visit("lr", c.lr);
  visit("momentum", c.momentum);
  visit("weight_decay", c.weight_decay);
  visit("scale_lr", c.scale_lr);
  visit("clip_norm", c.clip_norm);
  visit("schedule", c.schedule);
  visit("warmup_epochs", c.warmup_epochs);
  visit("seed", c.seed);
  visit("init", c.init);
  visit("classes", c.classes);
  visit("mean", c.mean);
  visit("deviation", c.deviation);
}
// Those that the first runs did not have.
template <class Config, class Visit>
void for_each_later_entry(Config& c, const Visit& visit) {
  visit("method", c.method);
  visit("stages", c.stages);
  visit("redraws", c.redraws);
  visit("draws", c.draws);
  visit("lowest", c.lowest);
  visit("all_widths", c.all_widths);
  visit("norm", c.norm);
  visit("scale_rates", c.scale_rates);
  visit("layers", c.layers);
  visit("matmul_precision", c.matmul_precision);
  visit("pruned", c.pruned);
  visit("init_images", c.init_images);
  visit("continues", c.continues);
  visit("candidates", c.search.candidates);
  visit("input_candidates", c.search.input_candidates);
  visit("constraints", c.search.constraints);
  visit("cell", c.search.cell);
  visit("cell_temperature", c.search.temperature);
  visit("last_cell_temperature", c.search.last_temperature);
  visit("penalty", c.search.penalty);
  visit("search_rate", c.search.rate);
  visit("search_warmup", c.search.warmup_epochs);
  visit("decide_every", c.search.decide_epochs);
  visit("latency", c.search.latency.layers);
  visit("latency_fixed", c.search.latency.fixed);
  visit("latency_threads", c.search.latency.threads);
  visit("latency_file", c.search.latency_file);
  visit("out", c.search.out);
}

// Of Bit-Mixer, or that there is nothing of it.
void check_bit_mixer(const RunConfig& c) {
  if (c.method != "bit-mixer") {
    check<ValueError>(
        c.stages.empty() && !c.lowest && !c.all_widths && c.draws == 1 && c.redraws == RunConfig{}.redraws,
        "train: --stages, --lowest, --all-widths, --draws and --redraws are of --method bit-mixer");
    check<ValueError>(c.norm != "transitional" || c.method == "fixed", "train: --norm transitional is of --method ",
                      "bit-mixer, and of --config");
    return;
  }
  std::int64_t epochs = 0;
  for (const std::int64_t stage : c.stages) {
    check<ValueError>(stage >= 0 && stage <= 1000000, "train: --stages with ", stage,
                      " epochs given, expected 0 to 1000000");
    epochs += stage;
  }
  check<ValueError>(c.stages.size() == 3 && epochs > 0 && epochs == c.epochs, "train: --stages ",
                    join(c.stages, {}, ","), " given, expected the epochs of three stages, not all 0");
}

}  // namespace

void check_config(const RunConfig& c) {
  check_bit_mixer(c);
  struct Range {
    const char* option;
    double value, low, high;
  };
  constexpr double kLargest = std::numeric_limits<float>::max(), kSmallest = std::numeric_limits<float>::min();
  for (const Range& r : std::initializer_list<Range>{
           {"width", c.width, 0.001, 64},
           {"image-size", static_cast<double>(c.image_size), c.image_size == 0 ? 0.0 : 8.0, 1024},
           {"train-images", static_cast<double>(c.train_images), 0, 1e15},
           {"init-images", static_cast<double>(c.init_images), -1, 1e15},
           {"temperature", c.distillation.temperature, kSmallest, kLargest},
           {"label-weight", c.distillation.label_weight.value_or(0), 0, 100},
           {"feature-weight", c.distillation.feature_weight, 0, 1e6},
           {"label-smoothing", c.distillation.label_smoothing, 0, 1},
           {"epochs", static_cast<double>(c.epochs), 1, 1000000},
           {"batch", static_cast<double>(c.batch), 2, 65536},
           {"lr", c.lr, kSmallest, kLargest},
           {"momentum", c.momentum, 0, 0.9999},
           {"weight-decay", c.weight_decay, 0, 1},
           {"scale-lr", c.scale_lr, 0, 1000},
           {"redraws", c.redraws, 0, 1},
           {"draws", static_cast<double>(c.draws), 1, 64},
           {"clip-norm", c.clip_norm, 0, 1e9},
           {"warmup", c.warmup_epochs, 0, 1000},
           {"cell-temperature", c.search.temperature, 1e-3, 1e3},
           {"last-cell-temperature", c.search.last_temperature, 1e-3, 1e3},
           {"penalty", c.search.penalty, 0, 1e6},
           {"search-rate", c.search.rate, 1e-9, 10},
           {"search-warmup", c.search.warmup_epochs, 0, 1e6},
           {"decide-every", c.search.decide_epochs, 1e-6, 1e6}})
    check<ValueError>(r.value >= r.low && r.value <= r.high, c.method == "search" ? "search: --" : "train: --",
                      r.option, " ", r.value, " given, expected ", r.low, " to ", r.high);
  const auto require_one_of = [](const char* option, const std::string& value, std::initializer_list<const char*> known) {
    check<ValueError>(std::find(known.begin(), known.end(), value) != known.end(), "train: --", option, " '", value,
                      "' given, expected one of ", join(known));
  };
  require_one_of("optimizer", c.optimizer, {"sgd", "adam", "adamw"});
  require_one_of("augment", c.augment, {"auto", "none", "crop", "crop-flip", "resized-crop", "resized-crop-jitter"});
  require_one_of("matmul-precision", c.matmul_precision, {"highest", "high", "medium"});
  require_one_of("method", c.method, {"spnet", "bit-mixer", "fixed", "search"});
  require_one_of("norm", c.norm, {"switchable", "transitional", "shared"});
  for (const auto& [bits, rate] : c.scale_rates)
    check<ValueError>(bits >= 1 && bits <= 8 && rate >= 0 && rate <= 1000, "train: --scale-rates ", bits, ":", rate,
                      " given, expected widths 1 to 8 and factors 0 to 1000");
  check<ValueError>((c.method == "fixed") != c.layers.empty(), "train: --method fixed and a precision for each layer "
                    "belong together");
  for (const auto& [layer, precision] : c.layers) {
    const Precision p = parse_precision(precision);
    check<ValueError>(std::find(c.switches.begin(), c.switches.end(), p) != c.switches.end(), "train: layer '", layer,
                      "' is at ", p, ", which is not among ", join(c.switches));
  }
  if (c.method == "search") {
    check_search(c);
    check_latency(c.search.latency, "latency");
  }
  const auto is_channels = [](const std::vector<float>& values, float low) {
    return (values.empty() || values.size() == 3) &&
           std::all_of(values.begin(), values.end(), [low](float v) { return v >= low && v <= kLargest; });
  };
  check<ValueError>(is_channels(c.mean, 0) && is_channels(c.deviation, kSmallest) && c.mean.size() == c.deviation.size(),
                    "train: mean and deviation, expected 3 numbers each");
  train::check_switch_weights(c.distillation.switch_weights, c.switches);
}

nlohmann::json to_json(const RunConfig& config) {
  nlohmann::json json;
  const auto put = [&](const char* name, const auto& value) { json[name] = value; };
  for_each_entry(config, put);
  for_each_later_entry(config, put);
  json["switches"] = join(config.switches, {}, ",");
  if (config.distillation.label_weight) json["label_weight"] = *config.distillation.label_weight;
  for (const auto& [precision, weight] : config.distillation.switch_weights)
    json["switch_weights"][to_string(precision)] = weight;
  return json;
}

RunConfig config_from_json(const nlohmann::json& json, const std::string& source) {
  RunConfig config;
  const char* entry = "";
  try {
    for_each_entry(config, [&](const char* name, auto& value) {
      entry = name;
      json.at(name).get_to(value);
    });
    for_each_later_entry(config, [&](const char* name, auto& value) {
      entry = name;
      if (json.contains(name)) json.at(name).get_to(value);
    });
    entry = "switches";
    config.switches = parse_switches(json.at("switches").get<std::string>());
    entry = "label_weight";
    if (json.contains(entry)) config.distillation.label_weight = json.at(entry).get<float>();
    entry = "switch_weights";
    if (json.contains(entry))
      for (const auto& [name, weight] : json.at(entry).get<std::map<std::string, float>>())
        config.distillation.switch_weights[parse_precision(name)] = weight;
    entry = "";
    check_config(config);
  } catch (const nlohmann::json::exception& error) {
    throw FileError(message(source, ": entry '", entry, "' is missing or has a wrong type (", error.what(), ")"));
  } catch (const FileError& error) {
    throw FileError(message(source, ": ", error.what()));
  } catch (const ValueError& error) {
    throw FileError(*entry ? message(source, ": entry '", entry, "': ", error.what()) : message(source, ": ", error.what()));
  }
  return config;
}

}  // namespace spnet::program
