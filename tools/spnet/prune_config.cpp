#include "prune_config.hpp"

#include <fstream>

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
  require(c.most > 0 && c.most < 1, "most", c.most, "between 0 and 1");
  require(c.step > 0 && c.step < 1, "step", c.step, "between 0 and 1");
  require(c.alpha >= 0 && c.alpha <= 1e6, "alpha", c.alpha, "0 to 1e6");
  require(c.retrain >= 0 && c.retrain <= 1000000, "retrain", c.retrain, "0 to 1000000");
  require(c.final >= 1 && c.final <= 1000000, "final", c.final, "1 to 1000000");
  require(c.retrain_ratio >= 0 && c.retrain_ratio <= 1, "retrain-ratio", c.retrain_ratio, "0 to 1");
  require(c.holdout > 0, "holdout", c.holdout, "> 0");
  require(c.lr >= 0 && c.lr <= 1000, "lr", c.lr, "0 to 1000");
  require(c.random_points != 0 && c.random_points <= 100000, "random-points", c.random_points, "1 to 100000");
  require(c.guided_points <= 100000, "guided-points", c.guided_points, "0 to 100000");
  const BudgetText budget = parse_budget_text("--budget", c.budget, {"size-mib", "drop"});
  require(!budget.like, "budget", c.budget, "a number");
}

nlohmann::json to_json(const PruneConfig& config) {
  nlohmann::json json;
  for_each_prune_entry(config, [&](const char* name, const auto& value) { json[name] = value; });
  return json;
}

PruneConfig prune_config_from_json(const std::string& text, const std::string& source) {
  PruneConfig config;
  try {
    const auto json = nlohmann::json::parse(text);
    for_each_prune_entry(config, [&](const char* name, auto& value) { json.at(name).get_to(value); });
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

PruneLog::PruneLog(std::filesystem::path path) : path_(std::move(path)) {
  if (!std::filesystem::exists(path_)) return;
  const std::string text = files::read_text(path_);
  std::string whole;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    auto line = nlohmann::json::parse(text.substr(begin, end - begin), nullptr, /*allow_exceptions=*/false);
    check<FileError>(line.is_object(), path_.string(), ": not the log of a pruning");
    whole += text.substr(begin, end + 1 - begin);
    lines_.push_back(std::move(line));
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
