#include "train_session.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "data_source.hpp"
#include "networks.hpp"
#include "progress.hpp"
#include "run_folder.hpp"
#include "search_plan.hpp"
#include "signals.hpp"
#include "spnet/io/module_file.hpp"
#include "spnet/ops/float32_precision.hpp"
#include "spnet/train/evaluate.hpp"
#include "training_plan.hpp"

namespace spnet::program {

namespace {

std::string percent(std::int64_t part, std::int64_t whole) {
  char text[16];
  std::snprintf(text, sizeof text, "%.2f", whole ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0.0);
  return text;
}

// The weights of a run's folder, or of a file.
io::TensorFile load_start(const std::string& init) {
  if (!std::filesystem::is_directory(init)) return io::TensorFile::load(init);
  io::CheckpointFolder::Loaded loaded = io::CheckpointFolder(init).load();
  report(loaded);
  return std::move(loaded.file);
}
// What a run has from the one that its weights come from, if they come from one.
void take_over(const io::TensorFile& start, RunConfig& config) {
  const auto stored = start.metadata().find("config");
  if (stored == start.metadata().end()) return;
  RunConfig from;
  try {
    from = config_from_json(nlohmann::json::parse(stored->second), config.init);
  } catch (const nlohmann::json::exception&) {
    return;  // another program's
  } catch (const FileError&) {
    return;
  }
  if (from.classes == config.classes) config.init_images = from.seen_images();
  if (config.method != "bit-mixer" || from.method != "bit-mixer") return;
  const auto text = start.metadata().find("progress");
  if (text == start.metadata().end()) return;
  const auto progress = nlohmann::json::parse(text->second, nullptr, /*allow_exceptions=*/false);
  config.continues = progress.is_object() && reached_last_stage(from, progress) &&
                     (from.continues || from.stages.at(2) > 0) && config.stages.at(0) == 0 &&
                     config.stages.at(1) == 0 && config.norm == from.norm && config.switches == from.switches;
}

class TrainSession {
 public:
  TrainSession(RunFolder folder, RunConfig config, SessionOptions options, const std::string& init);
  TrainSession(RunFolder folder, RunConfig config, SessionOptions options, const io::TensorFile& start);
  TrainSession(RunFolder folder, SessionOptions options, bool skip_bad, bool is_search);

  bool run();

 private:
  struct SwitchTotals {
    double loss = 0;  // summed over images
    std::int64_t images = 0, correct = 0;
  };
  const char* command() const { return config_.method == "search" ? "search" : "train"; }
  void build(const io::TensorFile* network = nullptr, const std::string& source = {});
  void initialise(const io::TensorFile& start);
  void restore(const io::CheckpointFolder::Loaded& loaded);
  bool run_epoch();
  bool finish_epoch();
  io::TensorFile network_file() const;
  void save() const;
  void save_and_say() const;
  nlohmann::json metrics(const std::vector<train::Evaluation>& evaluations, double lr) const;
  void keep_if_best(const std::vector<train::Evaluation>& evaluations);

  RunFolder folder_;
  RunConfig config_;
  SessionOptions options_;
  data::DataSplits splits_;
  data::DatasetPtr training_;
  std::unique_ptr<nn::Classifier> model_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::unique_ptr<train::TrainingMethod> trainer_;
  std::unique_ptr<data::Loader> loader_, test_loader_;
  StagePlan stages_;
  std::int64_t epoch_ = 0, batch_ = 0;  // what comes next
  std::uint64_t step_ = 0;
  double best_mean_ = -1;
  std::vector<SwitchTotals> totals_;  // of this epoch, as the results of the training method
};

TrainSession::TrainSession(RunFolder folder, RunConfig config, SessionOptions options, const std::string& init)
    : folder_(std::move(folder)), config_(std::move(config)), options_(options) {
  folder_.require_new();
  splits_ = open_data(config_);
  complete_from_data(config_, splits_);
  complete_search(config_);
  config_.init = init;
  io::TensorFile start;
  if (!init.empty()) {
    start = load_start(init);
    take_over(start, config_);
  }
  build();
  if (!init.empty()) initialise(start);
  folder_.create(config_);
  // What it starts from may be another by the time it is resumed.
  if (!init.empty()) save();
}

TrainSession::TrainSession(RunFolder folder, RunConfig config, SessionOptions options, const io::TensorFile& start)
    : folder_(std::move(folder)), config_(std::move(config)), options_(options) {
  folder_.require_new();
  splits_ = open_data(config_);
  build(&start, "the network to start from");
  folder_.create(config_);
  save();
}

TrainSession::TrainSession(RunFolder folder, SessionOptions options, bool skip_bad, bool is_search)
    : folder_(std::move(folder)), options_(options) {
  const RunFolder::Stored stored = folder_.load();
  config_ = stored.config;
  check<FileError>((config_.method == "search") == is_search, folder_.path().string(), ": go on with it by: spnet ",
                   command(), " --resume ", folder_.path().string());
  config_.skip_bad = config_.skip_bad || skip_bad;
  splits_ = open_data(config_);
  check<FileError>(stored.checkpoint || !config_.pruned, folder_.path().string(),
                   ": no checkpoint here, which a pruned network comes from");
  if (stored.checkpoint) {
    build(&stored.checkpoint->file, stored.checkpoint->path.string());
    restore(*stored.checkpoint);
  } else {
    build();
    std::fprintf(stderr, "%s has no checkpoint yet: starting from the beginning\n", folder_.path().string().c_str());
    folder_.rewind_metrics(0);
    if (!config_.init.empty()) initialise(load_start(config_.init));
  }
}

// `network` says what the network is; where it is not given, the configuration does.
void TrainSession::build(const io::TensorFile* network, const std::string& source) {
  training_ = training_set(config_, splits_);
  model_ = make_network(config_);
  if (network) load_network(config_, *network, source, *model_);
  optimizer_ = make_optimizer(config_, *model_);
  loader_ = std::make_unique<data::Loader>(training_, loader_options(config_, /*training=*/true));
  test_loader_ = std::make_unique<data::Loader>(splits_.test, loader_options(config_, /*training=*/false));
  const auto steps_per_epoch = static_cast<std::uint64_t>(loader_->batches_per_epoch());
  stages_ = StagePlan(config_, steps_per_epoch);
  trainer_ = make_method(config_, *model_, *optimizer_, steps_per_epoch);
  totals_.resize(trainer_->results().size());
}

void TrainSession::initialise(const io::TensorFile& start) {
  std::size_t filled = 0;
  try {
    filled = io::init_module(start, *model_);
  } catch (const FileError& error) {
    throw FileError(message(config_.init, ": ", error.what()));
  }
  std::fprintf(stderr, "started from %s (%zu tensors)\n", config_.init.c_str(), filled);
}

void TrainSession::restore(const io::CheckpointFolder::Loaded& loaded) {
  const std::string source = loaded.path.string();
  try {
    for (auto& state : optimizer_->state())
      state.tensor.copy_from(loaded.file.get<float>("optimizer." + state.name, state.tensor.shape()));
    for (auto& state : trainer_->state())
      state.tensor.copy_from(loaded.file.get<float>(kMethodPrefix + state.name, state.tensor.shape()));
    const auto progress = nlohmann::json::parse(loaded.file.metadata("progress"));
    epoch_ = progress.at("epoch").get<std::int64_t>();
    batch_ = progress.at("batch").get<std::int64_t>();
    step_ = progress.at("step").get<std::uint64_t>();
    trainer_->restored(step_);
    best_mean_ = progress.at("best_mean").get<double>();
    const auto& totals = progress.at("totals");
    check<FileError>(totals.size() == totals_.size() && epoch_ >= 0 && batch_ >= 0 &&
                         batch_ <= loader_->batches_per_epoch(),
                     "progress does not fit the run");
    for (std::size_t i = 0; i < totals.size(); ++i)
      totals_[i] = {totals[i].at("loss").get<double>(), totals[i].at("images").get<std::int64_t>(),
                             totals[i].at("correct").get<std::int64_t>()};
  } catch (const FileError& error) {
    throw FileError(message(source, ": does not fit its own configuration: ", error.what()));
  } catch (const ValueError& error) {
    throw FileError(message(source, ": ", error.what()));
  } catch (const nlohmann::json::exception& error) {
    throw FileError(message(source, ": its progress is not readable: ", error.what()));
  }
  folder_.rewind_metrics(epoch_);
  std::fprintf(stderr, "resuming %s at epoch %lld, step %llu\n", folder_.path().string().c_str(),
               static_cast<long long>(epoch_ + 1), static_cast<unsigned long long>(step_));
}

// What evaluation needs.
io::TensorFile TrainSession::network_file() const {
  io::TensorFile file;
  io::put_module(file, *model_);
  for (const auto& state : trainer_->state()) file.put(kMethodPrefix + state.name, state.tensor);
  return file;
}

void TrainSession::save() const {
  io::TensorFile file = network_file();
  for (const auto& state : optimizer_->state()) file.put("optimizer." + state.name, state.tensor);
  nlohmann::json totals = nlohmann::json::array();
  for (const auto& t : totals_) totals.push_back({{"loss", t.loss}, {"images", t.images}, {"correct", t.correct}});
  const nlohmann::json progress = {
      {"epoch", epoch_}, {"batch", batch_}, {"step", step_}, {"best_mean", best_mean_}, {"totals", totals}};
  file.set_metadata("progress", progress.dump());
  file.set_metadata("config", to_json(config_).dump());
  folder_.checkpoints().save(file, step_);
}

void TrainSession::save_and_say() const {
  save();
  if (options_.is_part) return;
  std::fprintf(stderr, "stopped after step %llu and saved; go on with: spnet %s --resume %s\n",
               static_cast<unsigned long long>(step_), command(), folder_.path().string().c_str());
}

bool TrainSession::run() {
  while (epoch_ < config_.epochs) {
    bool whole = false;
    try {
      whole = run_epoch();
    } catch (const FileError&) {
      // An image, or a full disk: then this fails as well, and the first reason is the one to tell.
      try {
        save_and_say();
      } catch (const FileError&) {
      }
      throw;
    } catch (const NumericError& error) {
      // The weights may have been ruined some steps ago: what is stored stays as it is.
      const auto saved = folder_.checkpoints().list();
      throw NumericError(saved.empty() ? error.what()
                                       : message(error.what(), "; the newest checkpoint is that of step ", saved.front(),
                                                 ": to go on from the one before, remove it"));
    }
    if (!whole) {
      save_and_say();
      return false;
    }
  }
  report_faults(*training_);
  report_faults(*splits_.test);
  return true;
}

bool TrainSession::run_epoch() {
  char title[48];
  std::snprintf(title, sizeof title, "epoch %lld/%lld", static_cast<long long>(epoch_ + 1),
                static_cast<long long>(config_.epochs));
  const std::int64_t total = loader_->batches_per_epoch() * config_.batch;
  Progress progress(title, total, "images", batch_ * config_.batch, (config_.epochs - epoch_ - 1) * total);
  const data::LoaderPosition position{epoch_, batch_};
  if (loader_->position() != position) loader_->seek(position);
  const ops::Float32Precision matmul_precision = ops::parse_float32_precision(config_.matmul_precision);
  while (const auto batch = loader_->next()) {
    const ops::Float32PrecisionGuard guard(matmul_precision);
    const auto& results = trainer_->step(batch->images, batch->labels, stages_.learning_rate(step_, epoch_), step_);
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (!results[i].trained) continue;
      totals_[i].loss += results[i].loss * static_cast<double>(batch->size());
      totals_[i].images += batch->size();
      totals_[i].correct += results[i].correct;
    }
    ++step_;
    batch_ = batch->number + 1;
    const SwitchTotals& top = totals_.front();
    char detail[64];
    std::snprintf(detail, sizeof detail, "loss %.3f  top-1 %s %%", top.images ? top.loss / static_cast<double>(top.images) : 0.0,
                  percent(top.correct, top.images).c_str());
    progress.update(batch_ * config_.batch, detail);
    if (stop_requested()) return false;
    if (options_.save_every > 0 && step_ % static_cast<std::uint64_t>(options_.save_every) == 0) save();
  }
  progress.finish();
  return finish_epoch();
}

bool TrainSession::finish_epoch() {
  const bool last = epoch_ + 1 == config_.epochs;
  std::vector<train::Evaluation> evaluations;
  if (last || (options_.eval_every > 0 && (epoch_ + 1) % options_.eval_every == 0)) {
    Progress progress("  evaluating", splits_.test->size(), "images");
    test_loader_->seek({0, 0});
    try {
      const auto report = [&](std::int64_t images) {
        progress.update(images);
        return !stop_requested();
      };
      evaluations = evaluate_network(config_, *model_, *test_loader_, report);
    } catch (const NumericError& error) {
      throw NumericError(message("train: after epoch ", epoch_ + 1, ", step ", step_, ": ", error.what()));
    }
    if (stop_requested()) return false;
  }
  const double lr = stages_.learning_rate(step_ - 1, epoch_);
  folder_.append_metrics(metrics(evaluations, lr));
  std::string line = message("epoch ", epoch_ + 1, "/", config_.epochs, "  lr ", lr, "  train");
  for (std::size_t i = 0; i < totals_.size(); ++i)
    if (totals_[i].images)
      line += message("  ", trainer_->results()[i].name(), " ", percent(totals_[i].correct, totals_[i].images));
  if (!evaluations.empty()) {
    line += "  | test";
    for (const auto& e : evaluations) line += message("  ", e.name, " ", percent(e.correct, e.images));
  }
  for (const auto& [name, value] : trainer_->progress()) line += message("  ", name, " ", value);
  std::fprintf(stderr, "%s\n", line.c_str());
  std::fill(totals_.begin(), totals_.end(), SwitchTotals{});
  // Earlier stages lead to another network than the one that is wanted.
  const bool is_last_stage = stages_.of(epoch_) == stages_.of(config_.epochs - 1);
  ++epoch_;
  batch_ = 0;
  if (!evaluations.empty() && is_last_stage) keep_if_best(evaluations);
  save();
  return true;
}

nlohmann::json TrainSession::metrics(const std::vector<train::Evaluation>& evaluations, double lr) const {
  nlohmann::json train = nlohmann::json::object(), test = nlohmann::json::object();
  for (std::size_t i = 0; i < totals_.size(); ++i) {
    const SwitchTotals& t = totals_[i];
    if (t.images)
      train[trainer_->results()[i].name()] = {
          {"loss", t.loss / static_cast<double>(t.images)},
          {"top1", 100.0 * static_cast<double>(t.correct) / static_cast<double>(t.images)}};
  }
  for (const auto& e : evaluations) test[e.name] = {{"top1", e.top1_percent()}, {"images", e.images}};
  nlohmann::json line = {{"epoch", epoch_ + 1}, {"step", step_}, {"lr", lr}, {"train", train}};
  if (stages_.size() > 1) line["stage"] = stages_.of(epoch_) + 1;
  for (const auto& [name, value] : trainer_->progress()) line["progress"][name] = value;
  if (!evaluations.empty()) line["test"] = test;
  return line;
}

void TrainSession::keep_if_best(const std::vector<train::Evaluation>& evaluations) {
  double mean = 0;
  for (const auto& e : evaluations) mean += e.top1_percent() / static_cast<double>(evaluations.size());
  if (mean <= best_mean_) return;
  best_mean_ = mean;
  io::TensorFile file = network_file();
  file.set_metadata("progress", nlohmann::json{{"epoch", epoch_}, {"step", step_}, {"mean_top1", mean}}.dump());
  file.set_metadata("config", to_json(config_).dump());
  file.save(folder_.best());
}

}  // namespace

bool begin_run(const std::string& folder, const RunConfig& config, const SessionOptions& options, const std::string& init) {
  return TrainSession(RunFolder(folder), config, options, init).run();
}
bool begin_run(const std::string& folder, const RunConfig& config, const SessionOptions& options,
               const io::TensorFile& start) {
  return TrainSession(RunFolder(folder), config, options, start).run();
}
bool resume_run(const std::string& folder, const SessionOptions& options, bool skip_bad, bool is_search) {
  return TrainSession(RunFolder(folder), options, skip_bad, is_search).run();
}

}  // namespace spnet::program
