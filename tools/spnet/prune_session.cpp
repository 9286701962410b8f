#include "prune_session.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "data_source.hpp"
#include "networks.hpp"
#include "prune_judge.hpp"
#include "prune_search.hpp"
#include "prune_start.hpp"
#include "run_folder.hpp"
#include "spnet/files/atomic_file.hpp"
#include "spnet/io/module_file.hpp"

namespace spnet::program {

namespace fs = std::filesystem;

namespace {

constexpr int kMostGreedyPasses = 6;

fs::path state_folder(const std::string& out) {
  fs::path path = fs::path(out).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "RUN/"
  return path.string() + ".prune";
}

// The network after a step; 0: before all.
fs::path network_path(const fs::path& state, int step) { return state / message("network-", step, ".safetensors"); }

class PruneSession {
 public:
  PruneSession(std::string out, PruneStart start, SessionOptions options)
      : out_(std::move(out)),
        state_(state_folder(out_)),
        start_(std::move(start)),
        options_(options),
        log_(state_ / "log.jsonl"),
        model_(std::move(start_.model)) {
    options_.is_part = true;
  }
  /// Keeps what the run is now, so that nothing depends on what becomes of it.
  void begin() const;
  bool run();

 private:
  fs::path network_path(int step) const { return program::network_path(state_, step); }
  std::unique_ptr<nn::Classifier> load_network_file(const fs::path& path) const;
  io::TensorFile network_file() const;
  double size_mib() const { return program::size_mib(start_.run, *model_); }
  // Where a size is asked for; less rounding.
  bool meets_size() const {
    return start_.budget.kind == "size-mib" && size_mib() <= start_.budget.amount * (1 + 1e-9);
  }

  std::optional<bool> pass(int number);
  bool step(int number, const std::vector<std::string>& names, int pass_number);
  std::optional<std::vector<double>> ratios(prune::RatioMasks& network, const std::vector<std::size_t>& searched,
                                            int number, int pass_number);
  bool retrain(int number);
  PruneJudge judge() const { return PruneJudge(start_); }
  const PrunedPoint& measure(int pass_number);
  void print_pareto() const;
  bool finish();

  std::string out_;
  fs::path state_;
  PruneStart start_;
  SessionOptions options_;
  PruneLog log_;
  std::unique_ptr<nn::Classifier> model_;
  int steps_ = 0;
  std::vector<PrunedPoint> points_;  // of passes
  std::vector<int> last_steps_;      // of each pass
};

void PruneSession::begin() const {
  io::TensorFile file = network_file();
  file.set_metadata("config", to_json(start_.run).dump());
  file.save(network_path(0));
}

std::unique_ptr<nn::Classifier> PruneSession::load_network_file(const fs::path& path) const {
  RunConfig config = start_.run;
  config.pruned = true;
  auto model = make_network(config);
  load_network(config, io::TensorFile::load(path, {.require_checksum = true}), path.string(), *model);
  model->eval();
  return model;
}

io::TensorFile PruneSession::network_file() const {
  io::TensorFile file;
  io::put_module(file, *model_);
  return file;
}

// The network after a pass, and says so.
const PrunedPoint& PruneSession::measure(int pass_number) {
  const auto is_this = [&](const nlohmann::json& line) { return line.contains("pass") && line["pass"] == pass_number; };
  if (std::none_of(log_.lines().begin(), log_.lines().end(), is_this))
    log_.add({{"pass", pass_number},
              {"size_mib", size_mib()},
              {"held_out", judge().top1(*model_, start_.held_out)},
              {"test", judge().top1(*model_, start_.splits.test)}});
  points_.push_back(point_from_json(*std::find_if(log_.lines().begin(), log_.lines().end(), is_this)));
  last_steps_.push_back(steps_);
  const PrunedPoint& point = points_.back();
  std::string text;
  for (const auto& [name, value] : point.held_out) text += message("  ", name, " ", value);
  std::fprintf(stderr, "pass %d: %.4g MiB at the highest switch (%.1f %%), held-out top-1%s\n", pass_number,
               point.size_mib, 100 * point.size_mib / points_.front().size_mib, text.c_str());
  if (pass_number > 0) print_pareto();
  return point;
}

// The passes so far that none is both smaller and better than.
void PruneSession::print_pareto() const {
  const auto mean = [](const PrunedPoint& p) {
    double sum = 0;
    for (const auto& [name, value] : p.held_out) sum += value / static_cast<double>(p.held_out.size());
    return sum;
  };
  std::string text;
  for (const PrunedPoint& p : points_)
    if (std::none_of(points_.begin(), points_.end(),
                     [&](const PrunedPoint& other) { return other.size_mib < p.size_mib && mean(other) >= mean(p); }))
      text += message("  ", p.size_mib, " MiB ", mean(p), " %");
  std::fprintf(stderr, "  Pareto, mean held-out top-1:%s\n", text.c_str());
}

// The shares of filters to remove in a step; nothing where it was stopped.
std::optional<std::vector<double>> PruneSession::ratios(prune::RatioMasks& network,
                                                        const std::vector<std::size_t>& searched, int number,
                                                        int pass_number) {
  double budget = std::numeric_limits<double>::infinity();
  if (start_.config.search != "greedy") {
    budget = 1 - start_.config.step;
    if (start_.budget.kind == "size-mib") budget = std::max(budget, start_.budget.amount / size_mib());
    // Where few channels are left, one pass may not get so far.
    budget = std::max(budget, network.remaining(std::vector<double>(network.size(), start_.config.most)).bits);
  }
  if (start_.config.search == "uniform") return prune::uniform_ratios(network, budget, start_.config.most);
  return search_step(network, searched, start_.config, {number, pass_number, budget}, log_,
                     [this] { return judge().trial_loss(*model_); });
}

// Retrains the network, in a run of its own.
bool PruneSession::retrain(int number) {
  const std::string folder = (state_ / message("retrain-", number)).string();
  bool finished;
  if (fs::exists(folder) && !io::CheckpointFolder(folder).list().empty()) {
    finished = resume_run(folder, options_, /*skip_bad=*/false, /*is_search=*/false);
  } else {
    fs::remove_all(folder);
    finished = begin_run(folder, retraining_config(start_, start_.config.retrain), options_, network_file());
  }
  if (!finished) return false;
  model_ = load_run(folder, /*best=*/false).model;
  return true;
}

// Searches the ratios of the groups with these names, removes, retrains. False where it was stopped.
bool PruneSession::step(int number, const std::vector<std::string>& names, int pass_number) {
  const fs::path file = network_path(number);
  if (fs::exists(file)) {
    model_ = load_network_file(file);
    return true;
  }
  PrunableChannels channels(*model_, start_.run, start_.config);
  prune::RatioMasks& network = channels.ratios;
  std::vector<std::size_t> searched;
  for (std::size_t i = 0; i < network.size(); ++i)
    if (std::find(names.begin(), names.end(), network.group(i).name) != names.end()) searched.push_back(i);
  if (!searched.empty()) {
    const auto found = ratios(network, searched, number, pass_number);
    if (!found) return false;
    nlohmann::json removed = nlohmann::json::object();
    for (const std::size_t i : searched)
      if ((*found)[i] > 0) removed[network.group(i).name] = (*found)[i];
    std::fprintf(stderr, "step %d removes %s\n", number, removed.empty() ? "nothing" : removed.dump().c_str());
    const auto is_this = [&](const nlohmann::json& line) { return line.contains("found") && line["step"] == number; };
    if (std::none_of(log_.lines().begin(), log_.lines().end(), is_this))
      log_.add({{"step", number}, {"found", std::move(removed)}});
    network.mask(*found);
    channels.masks.remove();
    const double largest = *std::max_element(found->begin(), found->end());
    if (largest > 0 && start_.config.recalibrate > 0) judge().recalibrate(*model_);
    if (largest > 0 && largest >= start_.config.retrain_ratio && start_.config.retrain > 0 && !retrain(number))
      return false;
  }
  network_file().save(file);
  return true;
}

// True where another pass may follow, false where this was the last; nothing where it was stopped.
std::optional<bool> PruneSession::pass(int number) {
  std::vector<std::string> names = PrunableChannels(*model_, start_.run, start_.config).names();
  const double before = size_mib();
  if (start_.config.search == "greedy") {
    // The paper's order: from the last layer to the first.
    std::reverse(names.begin(), names.end());
    for (const std::string& name : names) {
      if (meets_size()) break;
      if (!step(++steps_, {name}, number)) return std::nullopt;
    }
  } else if (!step(++steps_, names, number)) {
    return std::nullopt;
  }
  const PrunedPoint& now = measure(number);
  // A greedy pass weighs size more than the one before it.
  const bool may_go_on = now.size_mib < before || (start_.config.search == "greedy" && number < kMostGreedyPasses);
  if (start_.budget.kind == "size-mib") {
    if (meets_size()) return false;
    check<ValueError>(may_go_on, "prune: nothing more is removed at ", now.size_mib, " MiB, above --budget ",
                      start_.config.budget, "; a larger ",
                      start_.config.search == "greedy" ? "--alpha or --most" : "--most", " may help");
    return true;
  }
  double lost = 0;
  for (std::size_t i = 0; i < now.held_out.size(); ++i)
    lost = std::max(lost, points_.front().held_out[i].second - now.held_out[i].second);
  if (lost <= start_.budget.amount && may_go_on) return true;
  if (lost > start_.budget.amount) {
    check<ValueError>(number > 1, "prune: ", 100 * (1 - now.size_mib / points_.front().size_mib),
                      " % removed in the first pass lose ", lost, " points of held-out top-1, above --budget ",
                      start_.config.budget, "; a smaller ", start_.config.search == "greedy" ? "--alpha" : "--step",
                      " may help");
    points_.pop_back();
    last_steps_.pop_back();
  }
  return false;
}

bool PruneSession::run() {
  measure(0);
  for (int number = 1;; ++number) {
    const std::optional<bool> goes_on = pass(number);
    if (!goes_on) return false;
    if (!*goes_on) break;
  }
  return finish();
}

// Trains the last network that keeps the budget, as the run `out`.
bool PruneSession::finish() {
  const RunConfig config = retraining_config(start_, start_.config.final);
  const RunFolder folder(out_);
  const bool has_checkpoint = !folder.checkpoints().list().empty();
  if (has_checkpoint || fs::exists(folder.path() / "config.json")) {
    check<FileError>(to_json(folder.load().config) == to_json(config), out_,
                     ": another run was begun here while this was pruned; move it away");
    if (has_checkpoint) return resume_run(out_, options_, /*skip_bad=*/false, /*is_search=*/false);
    fs::remove(folder.path() / "config.json");  // of a beginning that was interrupted
  }
  return begin_run(out_, config, options_,
                   io::TensorFile::load(network_path(last_steps_.back()), {.require_checksum = true}));
}

}  // namespace

bool prune_run(const std::string& out, const PruneConfig& config, const SessionOptions& options) {
  check_prune_config(config);
  const fs::path state = state_folder(out);
  RunFolder(out).require_new();
  std::error_code error;
  // One that was interrupted before its configuration was kept begins anew.
  if (!fs::exists(state / "config.json") && !fs::exists(state / "log.jsonl")) {
    for (const char* name : {"network-0.safetensors", "config.json"}) files::remove_abandoned_temporaries(state / name);
    fs::remove(state / "network-0.safetensors", error);
  }
  check<FileError>(!fs::exists(state) || fs::is_empty(state), state.string(),
                   ": a pruning was begun here; go on with it by: spnet prune --resume ", out,
                   ", or remove the folder");
  PruneSession session(out, open_prune_start(config, network_path(state, 0)), options);
  fs::create_directories(state, error);
  check<FileError>(!error, state.string(), ": cannot make the folder: ", error.message());
  session.begin();
  files::write_file_atomically(state / "config.json", to_json(config).dump(2) + "\n");
  return session.run();
}

bool resume_prune(const std::string& out, const SessionOptions& options) {
  const fs::path state = state_folder(out), path = state / "config.json";
  check<FileError>(fs::exists(path), path.string(), ": no such file; no pruning was begun for ", out);
  const PruneConfig config = prune_config_from_json(files::read_text(path), path.string());
  return PruneSession(out, open_prune_start(config, network_path(state, 0)), options).run();
}

std::vector<PrunedPoint> pruned_points(const std::string& out) {
  std::vector<PrunedPoint> points;
  const PruneLog log(state_folder(out) / "log.jsonl");
  for (const auto& line : log.lines())
    if (line.contains("pass")) points.push_back(point_from_json(line));
  return points;
}

}  // namespace spnet::program
