#include "packed_run.hpp"

#include "data_source.hpp"
#include "spnet/pack/pack.hpp"

namespace spnet::program {

runtime::Graph pack_run(LoadedRun& run, const std::vector<Precision>& switches) {
  const RunConfig& config = run.config;
  const data::Augmentation images = loader_options(config, /*training=*/false).augmentation;
  return pack::pack(
      *run.model, {config.image_size, config.image_size, 3}, switches,
      {.name = config.model,
       .classes = config.classes,
       .preparation = {.centre_share = images.centre_share, .mean = config.mean, .deviation = config.deviation},
       .mixed = true});
}

}  // namespace spnet::program
