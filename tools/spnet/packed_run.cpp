#include "packed_run.hpp"

#include <cstdio>

#include "data_source.hpp"
#include "progress.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/runtime/engine.hpp"
#include "spnet/testing/compare.hpp"
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

std::vector<Parity> compare_packed(LoadedRun& run, const std::vector<Precision>& switches,
                                   const data::DataSplits& splits) {
  runtime::Engine engine(std::make_shared<const runtime::Model>(pack_run(run, switches)),
                         {.threads = num_threads(), .tune = false});
  data::Loader loader(splits.test, loader_options(run.config, /*training=*/false));
  std::vector<Parity> results;
  if (run.config.is_fixed()) results.push_back({"mixed"});
  for (const Precision p : switches) results.push_back({to_string(p)});
  const NoGradGuard no_grad;
  Progress progress("comparing", splits.test->size(), "images");
  while (const auto batch = loader.next()) {
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (!run.config.is_fixed()) {
        run.model->set_precision(switches[i]);
        engine.set_precision(switches[i]);
      }
      const Tensor<float> expected = (*run.model)(Variable<float>(batch->images)).value(),
                          y = engine.run(batch->images);
      for (std::int64_t image = 0; image < y.dim(0); ++image)
        results[i].equal += testing::bit_equal(y.narrow(0, image, 1), expected.narrow(0, image, 1));
      results[i].images += y.dim(0);
    }
    progress.update(results.front().images);
  }
  return results;
}

}  // namespace spnet::program
