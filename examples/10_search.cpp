// Each layer's widths found while the network trains: candidates mixed in one convolution, a budget in the loss, the
// most certain operands decided first; and the network that was found, packed with one width of each weight.
#include <iostream>
#include <string>

#include "spnet/models/resnet.hpp"
#include "spnet/optim/sgd.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/search/pair_costs.hpp"
#include "spnet/search/ssps.hpp"
#include "spnet/train/parameter_groups.hpp"

int main(int argc, char** argv) {
  using namespace spnet;
  const bool quick = argc > 1 && std::string(argv[1]) == "--quick";
  const search::Candidates candidates{{1, 2, 4, 8}, {2, 4, 8}};  // of weights, of layers' inputs
  const auto net = models::make_model("resnet20", {.width = 0.5,
                                                   .quantization = {.switches = candidates.pairs(),
                                                                    .activation_quantizer = "lsq",
                                                                    .norm = nn::NormKind::kShared}});

  // Ten classes of noise around a picture each.
  const Shape image{16, 16, 3};
  Tensor<float> images({64, 16, 16, 3});
  Tensor<std::int32_t> labels({64});
  for (std::int64_t i = 0; i < 64; ++i) {
    labels(i) = static_cast<std::int32_t>(i % 10);
    Random picture(static_cast<std::uint64_t>(i % 10)), noise(static_cast<std::uint64_t>(100 + i));
    for (float& v : images.narrow(0, i, 1).span()) v = picture.normal() + 0.3f * noise.normal();
  }

  // At most the bit operations of all layers at w2a2, which comes after the pairs of 1-bit weights.
  search::Architecture architecture(*net, candidates);
  search::CostTable operations =
      search::bit_operations_table(candidates, search::layer_work(*net, architecture, image));
  const std::size_t layers = architecture.layers().size(), w2a2 = 3;
  const double budget = operations.of(search::Configuration(layers, w2a2));

  const std::uint64_t rounds = quick ? 2 : 20, steps = 6 * rounds;
  optim::SGD optimizer(train::parameter_groups(*net), {});
  search::SspsTrainer trainer(*net, architecture, {{"bit operations", {operations, budget}}}, optimizer,
                              {.learning_rate = 0.05, .steps = steps, .warmup_steps = rounds, .decide_every = rounds});
  for (std::uint64_t step = 0; step < steps; ++step) {
    const auto& result = trainer.step(images, labels, 0.05, step).front();
    if ((step + 1) % rounds == 0)
      std::cout << "step " << step + 1 << "  loss " << result.loss << "  undecided "
                << trainer.architecture().undecided() << "  bit operations "
                << 100 * trainer.architecture().expected(operations) / budget << " % of the budget\n";
  }

  // The layers have their precisions now; the packed network holds these and no others.
  for (const nn::NamedLayer& l : architecture.layers()) std::cout << "  " << l.name << "  " << l.layer->precision() << "\n";
  const runtime::Graph graph = pack::pack_fixed(*net, image, "found");
  runtime::Engine engine(std::make_shared<const runtime::Model>(graph));
  std::cout << "packed: " << runtime::pack_bytes(graph).size() << " bytes, first logit "
            << engine.run(images.narrow(0, 0, 1))(0, 0) << "\n";
}
