#include "packed_run.hpp"

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

void recalibrate(LoadedRun& run, const runtime::Graph& graph, const runtime::NamedConfiguration& configuration,
                 const data::DataSplits& splits, std::int64_t images) {
  pack::LayerSetter set(*run.model, graph);
  set(configuration.layers);
  data::Loader loader(training_set(run.config, splits), recalibration_options(run.config));
  train::recalibrate_norms(*run.model, loader, images);
}

}  // namespace spnet::program
