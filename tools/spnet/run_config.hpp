// What defines a run: everything that its result depends on, and nothing that it does not.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "spnet/core/precision.hpp"
#include "spnet/models/registry.hpp"
#include "spnet/optim/schedule.hpp"
#include "spnet/train/distillation.hpp"

namespace spnet::program {

/// Milliseconds of one image.
struct LatencyTable {
  std::map<std::string, std::map<std::string, double>> layers;  ///< of each layer at each pair of widths, as "w2a4"
  double fixed = 0;                                             ///< of all else
  int threads = 0;                                              ///< with which they were measured
};

/// What decides the outcome of `spnet search`.
struct SearchConfig {
  std::vector<int> candidates, input_candidates;  ///< widths of weights, and of layers' inputs
  std::vector<std::string> constraints;           ///< "bitops-g:0.12" and the like: see search_plan.hpp
  std::string cell = "gumbel-hard";
  double temperature = 1, last_temperature = 1;
  double penalty = 1;
  double rate = 0.05;  ///< of the architecture parameters
  double warmup_epochs = 1, decide_epochs = 1;
  LatencyTable latency;      ///< where a constraint needs it
  std::string latency_file;  ///< where it was read from; empty: it was measured when the search began
  std::string out;           ///< the file for what is found, for the record; empty: in the run's folder
};

/// The arguments of `spnet train` and `spnet search` that decide the outcome; kept in RUN/config.json and in every
/// checkpoint. The number of threads is not among them: no result depends on it, but that of latencies that were
/// measured.
struct RunConfig {
  std::string model = "resnet20";
  double width = 1.0;
  std::string stem;  ///< empty: chosen by the image size
  std::string data = "synthetic";
  std::int64_t image_size = 0;    ///< height and width in pixels; 0: as the data has them
  std::int64_t train_images = 0;  ///< use only so many, the first of a shuffle that is the same for all runs; 0: all
  bool skip_bad = false;
  std::string augment = "auto";  ///< none, crop-flip, crop, resized-crop, resized-crop-jitter, auto
  std::string method = "spnet";  ///< spnet, bit-mixer, fixed (layers at precisions of their own) or search
  std::vector<std::int64_t> stages;  ///< of bit-mixer: epochs of each of its three stages
  double redraws = 0.5;              ///< of bit-mixer: the largest probability that a layer draws its own width
  std::int64_t draws = 1;            ///< of bit-mixer: configurations drawn in a step
  bool lowest = false;               ///< of bit-mixer: the lowest precision learns in every step, too
  bool all_widths = false;           ///< of bit-mixer: all precisions learn in every step
  std::string norm = "switchable";   ///< switchable, transitional, shared
  std::vector<Precision> switches;   ///< of fixed and search: those that layers may have
  std::map<std::string, std::string> layers;  ///< of fixed: the precision of each
  SearchConfig search;                        ///< of search
  std::string quantizer = "dorefa";
  std::string activation_quantizer;  ///< empty: the scheme's own
  bool per_channel = false;  ///< a learned scale for each filter
  bool relu_before_norm = false;
  train::DistillationOptions distillation;
  std::int64_t epochs = 10;
  std::int64_t batch = 128;
  std::string optimizer = "sgd";
  double lr = 0;  ///< 0: the optimizer's usual rate
  double momentum = 0.9;
  double weight_decay = 1e-4;
  double scale_lr = 0.1;  ///< multiplies the rate of the quantizers' scales
  std::map<int, double> scale_rates;  ///< and, by bit-width, of those of a width; 1 where it is not named
  std::string matmul_precision = "highest";  ///< of float products in training: see ops::float32_matmul_precision
  double clip_norm = 0;   ///< largest norm of all gradients together; 0: any
  std::string schedule = "cosine";
  double warmup_epochs = -1;  ///< negative: half an epoch, none before one-cycle, which warms up by itself
  std::uint64_t seed = 1;
  bool pruned = false;  ///< channels were removed: checkpoints tell the shapes that are left
  std::string init;  ///< where the weights started from, for the record
  /// As train_images: what the weights that it started from had learned from; −1: nothing of this data, or not known.
  std::int64_t init_images = -1;
  /// Of bit-mixer: the weights that it started from went through the stages before the last.
  bool continues = false;

  // Found out from the data when the run begins, kept so that evaluation needs no training set.
  std::vector<std::string> classes;
  std::vector<float> mean, deviation;  ///< of each channel, in 0..1

  models::ModelOptions model_options() const;
  /// As train_images: what its weights have learned from in the end, those that it started from included.
  std::int64_t seen_images() const {
    return train_images == 0 || init_images == 0 ? 0 : std::max(train_images, init_images);
  }
  /// Whether each layer ends at one precision of its own: then there are no switches to evaluate or to pack.
  bool is_fixed() const { return method == "fixed" || method == "search"; }
};

/// Throws ValueError, naming the option, where a value is outside its range or not a number.
void check_config(const RunConfig& config);

nlohmann::json to_json(const RunConfig& config);
/// Throws FileError, naming `source` and the entry, where one is missing, has another type or a value outside its range.
RunConfig config_from_json(const nlohmann::json& json, const std::string& source);

}  // namespace spnet::program
