// The folder of a run: configuration, metrics and checkpoints.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "run_config.hpp"
#include "spnet/io/checkpoint.hpp"
#include "spnet/nn/module.hpp"
#include "spnet/search/architecture.hpp"

namespace spnet::program {

/// RUN/config.json, RUN/metrics.jsonl, RUN/checkpoint-<step>.safetensors (the last two) and RUN/best.safetensors.
///
/// config.json: the entries of RunConfig. metrics.jsonl: an object a line for each epoch, {"epoch", "step", "lr",
/// "train": {switch: {"loss", "top1"}}, "test": {switch: {"top1", "images"}}}; "test" where the epoch was evaluated,
/// top1 in percent, the switch "mixed" where layers have precisions of their own; of searches "progress": {figure:
/// value}; of runs in stages also "stage", from 1. In the first stage of Bit-Mixer weights are float, in
/// "test" too.
///
/// A checkpoint is a safetensors file (io/safetensors.hpp) of float32 tensors: "model." + every parameter's and
/// buffer's name, "optimizer." + the parameter's name + ".momentum" (SGD) or ".exp_avg", ".exp_avg_sq" and ".step"
/// (Adam), "method." + what the training method has to save (of a search: "search." + operand + ".logits" and
/// ".decision", "search.plan", and their optimizer's), and the metadata "progress", JSON {"epoch": epochs done,
/// "batch": batches done of the next, "step": updates done, "best_mean": best mean top-1 so far, "totals": [{"loss",
/// "images", "correct"}] of the unfinished epoch, highest switch first}, and "config", the text of config.json. Random
/// numbers are functions of the seed and these counters. best.safetensors has the "model." and "method." tensors alone.
class RunFolder {
 public:
  explicit RunFolder(std::filesystem::path path);

  /// Makes the folder and writes the configuration. Throws FileError where a run is there already or nothing can be
  /// written.
  void create(const RunConfig& config) const;
  /// Throws FileError where a run is there already.
  void require_new() const;

  /// What is stored: the newest whole checkpoint (or best.safetensors), none before the first, and the configuration that
  /// the checkpoint carries, else that of config.json. Says on stderr where the two differ. Throws FileError where there is
  /// neither, or what is there is damaged.
  struct Stored {
    RunConfig config;
    std::optional<io::CheckpointFolder::Loaded> checkpoint;
  };
  Stored load(bool best = false) const;

  /// Adds a line to metrics.jsonl.
  void append_metrics(const nlohmann::json& line) const;
  /// Drops the metrics of all but the first `epochs` epochs, for a resumed run does them again, and what killed writers left.
  void rewind_metrics(std::int64_t epochs) const;

  io::CheckpointFolder checkpoints() const { return io::CheckpointFolder(path_); }
  std::filesystem::path best() const { return path_ / "best.safetensors"; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The network of a run with the weights of its newest whole checkpoint (or of best.safetensors), in evaluation mode.
struct LoadedRun {
  RunConfig config;
  std::unique_ptr<nn::Classifier> model;
  std::uint64_t step = 0;
  bool reached_last_stage = true;             ///< see reached_last_stage
  std::optional<search::Architecture> found;  ///< of a search
};
/// Whether a run of Bit-Mixer, whose checkpoint has this "progress", has begun its last stage: before, transitions
/// between precisions are as they were at the beginning. True of other methods.
bool reached_last_stage(const RunConfig& config, const nlohmann::json& progress);

LoadedRun load_run(const std::filesystem::path& path, bool best);

/// Prints what `CheckpointFolder::load` had to pass over.
void report(const io::CheckpointFolder::Loaded& loaded);

}  // namespace spnet::program
