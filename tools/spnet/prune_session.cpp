#include "prune_session.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "budget_text.hpp"
#include "data_source.hpp"
#include "networks.hpp"
#include "prune_judge.hpp"
#include "prune_search.hpp"
#include "run_folder.hpp"
#include "spnet/files/atomic_file.hpp"
#include "spnet/io/module_file.hpp"
#include "spnet/prune/ratio_search.hpp"

namespace spnet::program {

namespace fs = std::filesystem;

namespace {

constexpr int kMostGreedyPasses = 6;

fs::path state_folder(const std::string& out) {
  fs::path path = fs::path(out).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "RUN/"
  return path.string() + ".prune";
}

class PruneSession {
 public:
  PruneSession(std::string out, PruneConfig config, SessionOptions options)
      : out_(std::move(out)),
        state_(state_folder(out_)),
        config_(std::move(config)),
        options_(options),
        log_(state_ / "log.jsonl") {
    options_.is_part = true;
  }
  /// Opens the run that is pruned; throws where it, or the budget, is none that can be.
  void open();
  /// Keeps what the run is now, so that nothing depends on what becomes of it.
  void begin() const;
  bool run();

 private:
  void load_start();
  void require_reachable();
  RunConfig training_config(std::int64_t epochs) const;
  fs::path network_path(int step) const { return state_ / message("network-", step, ".safetensors"); }
  std::unique_ptr<nn::Classifier> load_network_file(const fs::path& path) const;
  io::TensorFile network_file() const;
  Shape image() const { return {run_.image_size, run_.image_size, 3}; }
  Precision highest() const { return *std::max_element(run_.switches.begin(), run_.switches.end()); }
  double size_mib() const { return program::size_mib(run_, *model_); }
  // Where a size is asked for; less rounding.
  bool meets_size() const { return budget_.kind == "size-mib" && size_mib() <= budget_.amount * (1 + 1e-9); }

  std::vector<std::string> prunable() const;
  std::optional<bool> pass(int number);
  bool step(int number, const std::vector<std::string>& names, int pass_number);
  std::optional<std::vector<double>> ratios(prune::RatioMasks& network, const std::vector<std::size_t>& searched,
                                            int number, int pass_number);
  bool retrain(int number);
  PruneJudge judge() const { return {run_, splits_, held_out_, config_.recalibrate}; }
  const PrunedPoint& measure(int pass_number);
  void print_pareto() const;
  bool finish();

  std::string out_;
  fs::path state_;
  PruneConfig config_;
  SessionOptions options_;
  PruneLog log_;
  BudgetText budget_;
  RunConfig run_;  // of the network that is pruned
  data::DataSplits splits_;
  data::DatasetPtr held_out_;
  std::unique_ptr<nn::Classifier> model_;
  int steps_ = 0;
  std::vector<PrunedPoint> points_;  // of passes
  std::vector<int> last_steps_;      // of each pass
};

void PruneSession::open() {
  budget_ = parse_budget_text("--budget", config_.budget, {"size-mib", "drop"}, /*may_name_precision=*/false);
  load_start();
  check<ValueError>(run_.method != "search", "prune: ", config_.run,
                    " is a search; train what it found, and prune that");
  if (config_.lr == 0) config_.lr = run_.lr / 10;
  const bool shares_norms = run_.norm == "shared" && !run_.is_fixed() && run_.switches.size() > 1;
  check<ValueError>(!shares_norms || config_.recalibrate <= 0, "prune: --recalibrate ", config_.recalibrate,
                    " given, but the switches of ", config_.run, " share their norms: expected 0");
  if (config_.recalibrate < 0) config_.recalibrate = config_.search == "greedy" || shares_norms ? 0 : 1024;
  require_reachable();
  splits_ = open_data(run_);
  const std::int64_t all = splits_.train->size();
  check<ValueError>(config_.holdout < all, "prune: --holdout ", config_.holdout, " given, the training set has ", all);
  const std::int64_t seen = run_.seen_images(), most = all - config_.holdout;
  if (seen == 0 || seen > most) {
    const std::string text = message(config_.run, " was trained on images that ", config_.holdout,
                                     " are held out of, or began with weights that were; train both with --train-images ",
                                     most);
    check<ValueError>(budget_.kind != "drop", "prune: --budget ", config_.budget,
                      " compares top-1 on images that are not trained on, but ", text, ", or give size-mib:");
    std::fprintf(stderr, "warning: %s for losses that are not flattered\n", text.c_str());
  }
  run_.init_images = seen;
  if (run_.train_images == 0 || run_.train_images > most) run_.train_images = most;
  held_out_ = held_out_set(run_, splits_, config_.holdout);
}

// A budget under what the unprunable layers take, or that asks for nothing.
void PruneSession::require_reachable() {
  const std::vector<Precision> switches = run_.switches;
  prune::ChannelMasks masks(prune::channel_graph(*model_, image(), switches));
  const prune::RatioMasks network(*model_, masks, switches, criterion_options(config_), config_.multiple);
  prune::detail::require_groups(network);
  const double before = size_mib(), least = before * network.least_bits(config_.most);
  check<ValueError>(least < before, "prune: --most ", config_.most, " given, which removes no filter of any layer");
  if (budget_.kind != "size-mib") return;
  check<ValueError>(budget_.amount < before, "prune: --budget ", config_.budget, " given, but ", config_.run, " has ",
                    precise(before), " MiB as it is");
  check<ValueError>(budget_.amount >= least, "prune: --budget ", config_.budget,
                    " given, but where all filters are gone that passes of --most ", config_.most,
                    " remove there are still ", precise(least),
                    " MiB: float layers, norms, the last filters of each layer");
}

// The run's network and configuration, or what was kept of them when the pruning began.
void PruneSession::load_start() {
  const fs::path start = network_path(0);
  if (!fs::exists(start)) {
    LoadedRun loaded = load_run(config_.run, /*best=*/false);
    run_ = loaded.config;
    check<ValueError>(loaded.reached_last_stage, "prune: ", config_.run,
                      " has not begun its last stage; train it further, and prune it then");
    run_.continues = run_.method == "bit-mixer";
    model_ = std::move(loaded.model);
    return;
  }
  const io::TensorFile file = io::TensorFile::load(start, {.require_checksum = true});
  try {
    run_ = config_from_json(nlohmann::json::parse(file.metadata("config")), start.string());
  } catch (const nlohmann::json::exception& error) {
    throw FileError(message(start.string(), ": its configuration is not readable: ", error.what()));
  }
  model_ = make_network(run_);
  load_network(run_, file, start.string(), *model_);
  model_->eval();
}

void PruneSession::begin() const {
  io::TensorFile file = network_file();
  file.set_metadata("config", to_json(run_).dump());
  file.save(network_path(0));
}

RunConfig PruneSession::training_config(std::int64_t epochs) const {
  RunConfig out = run_;
  out.pruned = true;
  out.epochs = epochs;
  if (!out.stages.empty()) out.stages = {0, 0, epochs};
  out.lr = config_.lr;
  out.seed = config_.seed;
  out.warmup_epochs = 0;
  out.schedule = "cosine";
  out.init = config_.run;
  return out;
}

std::unique_ptr<nn::Classifier> PruneSession::load_network_file(const fs::path& path) const {
  RunConfig config = run_;
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

std::vector<std::string> PruneSession::prunable() const {
  prune::ChannelMasks masks(prune::channel_graph(*model_, image(), run_.switches));
  const prune::RatioMasks network(*model_, masks, run_.switches, criterion_options(config_), config_.multiple);
  std::vector<std::string> out;
  for (std::size_t i = 0; i < network.size(); ++i) out.push_back(network.group(i).name);
  return out;
}

// The network after a pass, and says so.
const PrunedPoint& PruneSession::measure(int pass_number) {
  const auto is_this = [&](const nlohmann::json& line) { return line.contains("pass") && line["pass"] == pass_number; };
  if (std::none_of(log_.lines().begin(), log_.lines().end(), is_this))
    log_.add({{"pass", pass_number},
              {"size_mib", size_mib()},
              {"held_out", judge().top1(*model_, held_out_)},
              {"test", judge().top1(*model_, splits_.test)}});
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
  if (config_.search != "greedy") {
    budget = 1 - config_.step;
    if (budget_.kind == "size-mib") budget = std::max(budget, budget_.amount / size_mib());
    // Where few channels are left, one pass may not get so far.
    budget = std::max(budget, network.remaining(std::vector<double>(network.size(), config_.most)).bits);
  }
  if (config_.search == "uniform") return prune::uniform_ratios(network, budget, config_.most);
  return search_step(network, searched, config_, {number, pass_number, budget}, log_,
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
    finished = begin_run(folder, training_config(config_.retrain), options_, network_file());
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
  prune::ChannelMasks masks(prune::channel_graph(*model_, image(), run_.switches));
  prune::RatioMasks network(*model_, masks, run_.switches, criterion_options(config_), config_.multiple);
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
    masks.remove();
    const double largest = *std::max_element(found->begin(), found->end());
    if (largest > 0 && config_.recalibrate > 0) judge().recalibrate(*model_);
    if (largest > 0 && largest >= config_.retrain_ratio && config_.retrain > 0 && !retrain(number)) return false;
  }
  network_file().save(file);
  return true;
}

// True where another pass may follow, false where this was the last; nothing where it was stopped.
std::optional<bool> PruneSession::pass(int number) {
  std::vector<std::string> names = prunable();
  const double before = size_mib();
  if (config_.search == "greedy") {
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
  const bool may_go_on = now.size_mib < before || (config_.search == "greedy" && number < kMostGreedyPasses);
  if (budget_.kind == "size-mib") {
    if (meets_size()) return false;
    check<ValueError>(may_go_on, "prune: nothing more is removed at ", now.size_mib, " MiB, above --budget ",
                      config_.budget, "; a larger ", config_.search == "greedy" ? "--alpha or --most" : "--most",
                      " may help");
    return true;
  }
  double lost = 0;
  for (std::size_t i = 0; i < now.held_out.size(); ++i)
    lost = std::max(lost, points_.front().held_out[i].second - now.held_out[i].second);
  if (lost <= budget_.amount && may_go_on) return true;
  if (lost > budget_.amount) {
    check<ValueError>(number > 1, "prune: ", 100 * (1 - now.size_mib / points_.front().size_mib),
                      " % removed in the first pass lose ", lost, " points of held-out top-1, above --budget ",
                      config_.budget, "; a smaller ", config_.search == "greedy" ? "--alpha" : "--step", " may help");
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
  const RunConfig config = training_config(config_.final);
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
  PruneSession session(out, config, options);
  session.open();
  fs::create_directories(state, error);
  check<FileError>(!error, state.string(), ": cannot make the folder: ", error.message());
  session.begin();
  files::write_file_atomically(state / "config.json", to_json(config).dump(2) + "\n");
  return session.run();
}

bool resume_prune(const std::string& out, const SessionOptions& options) {
  const fs::path path = state_folder(out) / "config.json";
  check<FileError>(fs::exists(path), path.string(), ": no such file; no pruning was begun for ", out);
  const PruneConfig config = prune_config_from_json(files::read_text(path), path.string());
  PruneSession session(out, config, options);
  session.open();
  return session.run();
}

double size_mib(const RunConfig& config, const nn::Module& model) {
  const Precision highest = *std::max_element(config.switches.begin(), config.switches.end());
  return static_cast<double>(nn::model_size_bits(model, highest)) / (8.0 * (1 << 20));
}

std::vector<PrunedPoint> pruned_points(const std::string& out) {
  std::vector<PrunedPoint> points;
  const PruneLog log(state_folder(out) / "log.jsonl");
  for (const auto& line : log.lines())
    if (line.contains("pass")) points.push_back(point_from_json(line));
  return points;
}

}  // namespace spnet::program
