#include "run_config.hpp"

#include <nlohmann/json.hpp>

namespace spnet::program {

models::ModelOptions RunConfig::model_options() const {
  return {.classes = static_cast<std::int64_t>(classes.size()),
          .width = width,
          .stem = stem,
          .quantization = {.switches = switches,
                           .weight_quantizer = quantizer,
                           .activation_quantizer = activation_quantizer.empty() ? quantizer : activation_quantizer,
                           .per_channel = per_channel,
                           .block_order = relu_before_norm ? nn::BlockOrder::kReluNorm : nn::BlockOrder::kNormRelu},
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

}  // namespace

nlohmann::json to_json(const RunConfig& config) {
  nlohmann::json json;
  for_each_entry(config, [&](const char* name, const auto& value) { json[name] = value; });
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
    entry = "switches";
    config.switches = parse_switches(json.at("switches").get<std::string>());
    entry = "label_weight";
    if (json.contains(entry)) config.distillation.label_weight = json.at(entry).get<float>();
    entry = "switch_weights";
    if (json.contains(entry))
      for (const auto& [name, weight] : json.at(entry).get<std::map<std::string, float>>())
        config.distillation.switch_weights[parse_precision(name)] = weight;
  } catch (const nlohmann::json::exception& error) {
    throw FileError(message(source, ": entry '", entry, "' is missing or has a wrong type (", error.what(), ")"));
  } catch (const ValueError& error) {
    throw FileError(message(source, ": entry '", entry, "': ", error.what()));
  }
  return config;
}

}  // namespace spnet::program
