// A precision for each layer: transitional batch norms, a search within a budget, and the packed network at what it
// found.
#include <iostream>
#include <string>

#include "spnet/autograd/loss.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/optim/sgd.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/search/mixed_search.hpp"
#include "spnet/train/bit_mixer.hpp"
#include "spnet/train/parameter_groups.hpp"

int main(int argc, char** argv) {
  using namespace spnet;
  const bool quick = argc > 1 && std::string(argv[1]) == "--quick";
  const auto switches = parse_switches("w2a2,w3a3,w4a4");
  const auto net = models::make_model("resnet20", {.width = 0.5,
                                                   .quantization = {.switches = switches,
                                                                    .weight_quantizer = "double_rounding",
                                                                    .activation_quantizer = "lsq",
                                                                    .norm = nn::NormKind::kTransitional}});

  // Ten classes of noise around a picture each: enough to show a loss that a search can compare by.
  Tensor<float> images({64, 16, 16, 3});
  Tensor<std::int32_t> labels({64});
  for (std::int64_t i = 0; i < 64; ++i) {
    labels(i) = static_cast<std::int32_t>(i % 10);
    Random picture(static_cast<std::uint64_t>(i % 10)), noise(static_cast<std::uint64_t>(100 + i));
    for (float& v : images.narrow(0, i, 1).span()) v = picture.normal() + 0.3f * noise.normal();
  }

  // Activations first, then weights too, then a width for each layer, drawn anew in every step.
  const std::uint64_t steps = quick ? 2 : 20;
  optim::SGD optimizer(train::parameter_groups(*net), {});
  train::BitMixerTrainer trainer(*net, switches, optimizer, {.stage_steps = {steps, steps, 2 * steps}},
                                 {.name = "top"});
  for (std::uint64_t step = 0; step < 4 * steps; ++step) {
    const auto& results = trainer.step(images, labels, 0.05, step);
    if (step + 1 == 4 * steps)
      for (const auto& r : results)
        if (r.trained) std::cout << r.name() << "  loss " << r.loss << "\n";
  }

  // Any configuration runs; the search looks for the best at what 3 bits cost.
  const auto model = std::make_shared<const runtime::Model>(pack::pack(*net, {16, 16, 3}, switches, {.mixed = true}));
  runtime::Engine engine(model);
  const auto loss = [&](const runtime::Configuration& configuration) {
    engine.set_configuration(configuration);
    return static_cast<double>(cross_entropy(Variable<float>(engine.run(images)), labels).item());
  };
  const runtime::Configuration three(model->graph().layers.size(), 1);
  search::Constraint constraint{search::bit_operations_table(*model), 0};
  constraint.budget = constraint.table.of(three);
  const auto found = search::MixedSearch(three.size(), switches.size(), loss, {constraint}, {"bit operations"},
                                         {.evaluations = quick ? 5 : 60})
                         .run();
  std::cout << "3 bits  loss " << loss(three) << "\nfound   loss " << found.loss << " at "
            << 100 * constraint.table.of(found.configuration) / constraint.budget << " % of the bit operations\n";
  for (std::size_t i = 0; i < three.size(); ++i)
    std::cout << "  " << model->graph().layers[i] << "  " << switches[found.configuration[i]] << "\n";
}
