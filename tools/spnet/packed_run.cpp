#include "packed_run.hpp"

#include <cstdio>

#include "data_source.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/train/recalibrate.hpp"

namespace spnet::program {

runtime::Graph pack_run(LoadedRun& run, const std::vector<Precision>& switches) {
  const RunConfig& config = run.config;
  const data::Augmentation images = loader_options(config, /*training=*/false).augmentation;
  const Shape image{config.image_size, config.image_size, 3};
  pack::PackOptions options{
      .name = config.model,
      .classes = config.classes,
      .preparation = {.centre_share = images.centre_share, .mean = config.mean, .deviation = config.deviation},
      .mixed = true};
  if (config.is_fixed()) return pack::pack_fixed(*run.model, image, "mixed", options);
  return pack::pack(*run.model, image, switches, options);
}

void warn_of_transitions(const LoadedRun& run, const std::string& path) {
  if (run.config.norm == "transitional" && !run.reached_last_stage)
    std::fprintf(stderr,
                 "warning: %s has not begun its last stage: norms between two precisions are as at the beginning\n",
                 path.c_str());
}

void recalibrate(LoadedRun& run, const runtime::Graph& graph, const runtime::NamedConfiguration& configuration,
                 const data::DataSplits& splits, std::int64_t images) {
  pack::LayerSetter set(*run.model, graph);
  set(configuration.layers);
  data::Loader loader(training_set(run.config, splits), recalibration_options(run.config));
  train::recalibrate_norms(*run.model, loader, images);
}

}  // namespace spnet::program
