#include "prune_start.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "data_source.hpp"
#include "networks.hpp"
#include "prune_search.hpp"
#include "run_folder.hpp"
#include "spnet/io/module_file.hpp"
#include "spnet/nn/size.hpp"

namespace spnet::program {

namespace {

void load_start(PruneStart& start, const std::filesystem::path& kept) {
  RunConfig& run = start.run;
  if (!std::filesystem::exists(kept)) {
    LoadedRun loaded = load_run(start.config.run, /*best=*/false);
    run = loaded.config;
    check<ValueError>(loaded.reached_last_stage, "prune: ", start.config.run,
                      " has not begun its last stage; train it further, and prune it then");
    run.continues = run.method == "bit-mixer";
    start.model = std::move(loaded.model);
    return;
  }
  const io::TensorFile file = io::TensorFile::load(kept, {.require_checksum = true});
  try {
    run = config_from_json(nlohmann::json::parse(file.metadata("config")), kept.string());
  } catch (const nlohmann::json::exception& error) {
    throw FileError(message(kept.string(), ": its configuration is not readable: ", error.what()));
  }
  start.model = make_network(run);
  load_network(run, file, kept.string(), *start.model);
  start.model->eval();
}

// A budget under what the unprunable layers take, or that asks for nothing.
void require_reachable(const PruneStart& start) {
  const PruneConfig& config = start.config;
  const PrunableChannels channels(*start.model, start.run, config);
  prune::detail::require_groups(channels.ratios);
  const double before = size_mib(start.run, *start.model), least = before * channels.ratios.least_bits(config.most);
  check<ValueError>(least < before, "prune: --most ", config.most, " given, which removes no filter of any layer");
  if (start.budget.kind != "size-mib") return;
  check<ValueError>(start.budget.amount < before, "prune: --budget ", config.budget, " given, but ", config.run,
                    " has ", precise(before), " MiB as it is");
  check<ValueError>(start.budget.amount >= least, "prune: --budget ", config.budget,
                    " given, but where all filters are gone that passes of --most ", config.most,
                    " remove there are still ", precise(least),
                    " MiB: float layers, norms, the last filters of each layer");
}

// The images that are trained on, and those that are held out.
void open_images(PruneStart& start) {
  const PruneConfig& config = start.config;
  RunConfig& run = start.run;
  start.splits = open_data(run);
  const std::int64_t all = start.splits.train->size();
  check<ValueError>(config.holdout < all, "prune: --holdout ", config.holdout, " given, the training set has ", all);
  const std::int64_t seen = run.seen_images(), most = all - config.holdout;
  if (seen == 0 || seen > most) {
    const std::string text =
        message(config.run, " was trained on images that ", config.holdout,
                " are held out of, or began with weights that were; train both with --train-images ", most);
    check<ValueError>(start.budget.kind != "drop", "prune: --budget ", config.budget,
                      " compares top-1 on images that are not trained on, but ", text, ", or give size-mib:");
    std::fprintf(stderr, "warning: %s for losses that are not flattered\n", text.c_str());
  }
  run.init_images = seen;
  if (run.train_images == 0 || run.train_images > most) run.train_images = most;
  start.held_out = held_out_set(run, start.splits, config.holdout);
}

}  // namespace

PruneStart open_prune_start(PruneConfig config, const std::filesystem::path& kept) {
  PruneStart start;
  start.config = std::move(config);
  start.budget = parse_budget_text("--budget", start.config.budget, {"size-mib", "drop"}, /*may_name_precision=*/false);
  load_start(start, kept);
  PruneConfig& c = start.config;
  const RunConfig& run = start.run;
  check<ValueError>(run.method != "search", "prune: ", c.run, " is a search; train what it found, and prune that");
  if (c.lr == 0) c.lr = run.lr / 10;
  const bool shares_norms = run.norm == "shared" && !run.is_fixed() && run.switches.size() > 1;
  check<ValueError>(!shares_norms || c.recalibrate <= 0, "prune: --recalibrate ", c.recalibrate,
                    " given, but the switches of ", c.run, " share their norms: expected 0");
  if (c.recalibrate < 0) c.recalibrate = c.search == "greedy" || shares_norms ? 0 : 1024;
  require_reachable(start);
  open_images(start);
  return start;
}

RunConfig retraining_config(const PruneStart& start, std::int64_t epochs) {
  RunConfig out = start.run;
  out.pruned = true;
  out.epochs = epochs;
  if (!out.stages.empty()) out.stages = {0, 0, epochs};
  out.lr = start.config.lr;
  out.seed = start.config.seed;
  out.warmup_epochs = 0;
  out.schedule = "cosine";
  out.init = start.config.run;
  return out;
}

PrunableChannels::PrunableChannels(nn::Classifier& model, const RunConfig& run, const PruneConfig& config)
    : masks(prune::channel_graph(model, {run.image_size, run.image_size, 3}, run.switches)),
      ratios(model, masks, run.switches, criterion_options(config), config.multiple) {}

std::vector<std::string> PrunableChannels::names() const {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < ratios.size(); ++i) out.push_back(ratios.group(i).name);
  return out;
}

double size_mib(const RunConfig& config, const nn::Module& model) {
  const Precision highest = *std::max_element(config.switches.begin(), config.switches.end());
  return static_cast<double>(nn::model_size_bits(model, highest)) / (8.0 * (1 << 20));
}

}  // namespace spnet::program
