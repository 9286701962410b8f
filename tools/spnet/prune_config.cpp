#include "prune_config.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <initializer_list>

#include "budget_text.hpp"
#include "spnet/core/error.hpp"
#include "spnet/files/atomic_file.hpp"

namespace spnet::program {

namespace {

template <class Config, class Visit>
void for_each_prune_entry(Config& c, const Visit& visit) {
  visit("run", c.run);
  visit("budget", c.budget);
  visit("search", c.search);
  visit("measure", c.measure);
  visit("kernels", c.kernels);
  visit("order", c.order);
  visit("acquisition", c.acquisition);
  visit("most", c.most);
  visit("alpha", c.alpha);
  visit("step", c.step);
  visit("random_points", c.random_points);
  visit("guided_points", c.guided_points);
  visit("retrain", c.retrain);
  visit("final", c.final);
  visit("retrain_ratio", c.retrain_ratio);
  visit("holdout", c.holdout);
  visit("lr", c.lr);
  visit("seed", c.seed);
}

}  // namespace

void check_prune_config(const PruneConfig& c) {
  const auto require = [](bool holds, const char* option, const auto& given, const char* expected) {
    check<ValueError>(holds, "prune: --", option, " ", given, " given, expected ", expected);
  };
  require(c.most > 0 && c.most < 1, "most", c.most, "between 0 and 1: a layer keeps at least one filter");
  require(c.step > 0 && c.step < 1, "step", c.step, "between 0 and 1");
  require(c.alpha >= 0 && c.alpha <= 1e6, "alpha", c.alpha, "0 to 1e6");
  require(c.retrain >= 0 && c.retrain <= 1000000, "retrain", c.retrain, "0 to 1000000");
  require(c.final >= 1 && c.final <= 1000000, "final", c.final, "1 to 1000000");
  require(c.retrain_ratio >= 0 && c.retrain_ratio <= 1, "retrain-ratio", c.retrain_ratio, "0 to 1");
  require(c.recalibrate >= -1 && c.recalibrate <= 1000000000, "recalibrate", c.recalibrate, "0 to 1e9");
  require(c.trial_steps >= 0 && c.trial_steps <= 1000000000, "trial-steps", c.trial_steps, "0 to 1e9");
  require(c.multiple >= 1 && c.multiple <= 1000000, "multiple", c.multiple, "1 to 1000000");
  require(c.holdout > 0, "holdout", c.holdout, "> 0");
  require(c.lr >= 0 && c.lr <= 1000, "lr", c.lr, "0 to 1000");
  require(c.random_points >= -1 && c.random_points != 0 && c.random_points <= 100000, "random-points", c.random_points,
          "1 to 100000");
  require(c.guided_points >= -1 && c.guided_points <= 100000, "guided-points", c.guided_points, "0 to 100000");
  const auto require_one_of = [](const char* option, const std::string& value,
                                 std::initializer_list<const char*> known) {
    check<ValueError>(std::find(known.begin(), known.end(), value) != known.end(), "prune: --", option, " '", value,
                      "' given, expected one of ", join(known));
  };
  require_one_of("search", c.search, {"joint", "greedy", "uniform"});
  require_one_of("measure", c.measure, {"angle", "distance"});
  require_one_of("kernels", c.kernels, {"next", "own"});
  require_one_of("order", c.order, {"largest", "smallest", "random"});
  require_one_of("acquisition", c.acquisition, {"ei", "ucb"});
  parse_budget_text("--budget", c.budget, {"size-mib", "drop"}, /*may_name_precision=*/false);
}

nlohmann::json to_json(const PruneConfig& config) {
  nlohmann::json json;
  for_each_prune_entry(config, [&](const char* name, const auto& value) { json[name] = value; });
  json["recalibrate"] = config.recalibrate;
  json["multiple"] = config.multiple;
  json["trial_steps"] = config.trial_steps;
  return json;
}

PruneConfig prune_config_from_json(const std::string& text, const std::string& source) {
  PruneConfig config;
  try {
    const auto json = nlohmann::json::parse(text);
    for_each_prune_entry(config, [&](const char* name, auto& value) { json.at(name).get_to(value); });
    config.recalibrate = json.value("recalibrate", std::int64_t{0});  // of before there was a choice
    config.multiple = json.value("multiple", std::int64_t{1});
    config.trial_steps = json.value("trial_steps", std::int64_t{0});
    check_prune_config(config);
  } catch (const nlohmann::json::exception& error) {
    throw FileError(message(source, ": not the configuration of a pruning (", error.what(), ")"));
  } catch (const ValueError& error) {
    throw FileError(message(source, ": ", error.what()));
  }
  return config;
}

PrunedPoint point_from_json(const nlohmann::json& line) {
  PrunedPoint out;
  line.at("pass").get_to(out.pass);
  line.at("size_mib").get_to(out.size_mib);
  line.at("held_out").get_to(out.held_out);
  line.at("test").get_to(out.test);
  return out;
}

namespace {

// Throws what the JSON library throws, or ValueError, where a line is none that a pruning writes.
void require_line(const nlohmann::json& line) {
  if (line.contains("trial")) {
    const auto& trial = line["trial"];
    line.at("step").get<int>();
    check<ValueError>(
        std::isfinite(trial.at("loss").get<double>()) && std::isfinite(trial.at("objective").get<double>()),
        "a trial's loss is no number");
    for (const double r : trial.at("ratios").get<std::vector<double>>())
      check<ValueError>(r >= 0 && r < 1, "a ratio is ", r);
  } else if (line.contains("found")) {
    line.at("step").get<int>();
  } else {
    const PrunedPoint point = point_from_json(line);
    check<ValueError>(!point.test.empty() && point.test.size() == point.held_out.size() && point.size_mib > 0,
                      "a pass has no figures");
  }
}

}  // namespace

PruneLog::PruneLog(std::filesystem::path path) : path_(std::move(path)) {
  if (!std::filesystem::exists(path_)) return;
  const std::string text = files::read_text(path_);
  std::string whole;
  std::size_t switches = 0;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    try {
      auto line = nlohmann::json::parse(text.substr(begin, end - begin));
      require_line(line);
      if (line.contains("pass")) {
        const std::size_t count = point_from_json(line).test.size();
        check<ValueError>(switches == 0 || count == switches, "passes have ", switches, " and ", count, " switches");
        switches = count;
      }
      lines_.push_back(std::move(line));
    } catch (const nlohmann::json::exception& error) {
      throw FileError(
          message(path_.string(), ": line ", lines_.size() + 1, " is none of a pruning (", error.what(), ")"));
    } catch (const ValueError& error) {
      throw FileError(message(path_.string(), ": line ", lines_.size() + 1, " is none of a pruning: ", error.what()));
    }
    whole += text.substr(begin, end + 1 - begin);
  }
  if (whole != text) files::write_file_atomically(path_, whole);
}

void PruneLog::add(nlohmann::json line) {
  std::ofstream file(path_, std::ios::app | std::ios::binary);
  file << line.dump() << '\n' << std::flush;
  check<FileError>(file.good(), path_.string(), ": cannot write");
  lines_.push_back(std::move(line));
}

}  // namespace spnet::program
