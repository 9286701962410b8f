// Filters removed from a 2-bit network: which ones by the angle between kernels and their quantized form, how many of
// each layer by Bayesian optimization; the smaller network trained a little more, and packed.
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include "spnet/autograd/loss.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/optim/sgd.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/prune/ratio_search.hpp"
#include "spnet/train/parameter_groups.hpp"
#include "spnet/train/trainer.hpp"

namespace {

using namespace spnet;

struct Images {
  Tensor<float> pixels{Shape{64, 16, 16, 3}};
  Tensor<std::int32_t> labels{Shape{64}};
};

// Ten classes of noise around a picture each.
Images make_images(std::uint64_t seed) {
  Images out;
  for (std::int64_t i = 0; i < 64; ++i) {
    out.labels(i) = static_cast<std::int32_t>(i % 10);
    Random picture(static_cast<std::uint64_t>(i % 10)), noise(seed + static_cast<std::uint64_t>(i));
    for (float& v : out.pixels.narrow(0, i, 1).span()) v = picture.normal() + 0.3f * noise.normal();
  }
  return out;
}

// A new optimizer each time: the shapes have changed.
double train_steps(nn::Classifier& net, const std::vector<Precision>& switches, const Images& images, int steps) {
  optim::SGD optimizer(train::parameter_groups(net), {});
  train::Trainer trainer(net, switches, optimizer);
  net.train();
  double loss = 0;
  for (int step = 0; step < steps; ++step)
    loss = trainer.step(images.pixels, images.labels, 0.05, static_cast<std::uint64_t>(step)).front().loss;
  return loss;
}

}  // namespace

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::string(argv[1]) == "--quick";
  const std::vector<Precision> switches = parse_switches("w2a2");
  const auto net = models::make_model("resnet20", {.quantization = {.switches = switches}});
  const Images training = make_images(1000), held_out = make_images(2000);
  train_steps(*net, switches, training, quick ? 3 : 60);
  const std::int64_t before = nn::model_size_bytes(*net, {2, 2});

  // Channels that belong together come from the graph: residual additions tie those of a stage.
  prune::ChannelMasks masks(prune::channel_graph(*net, {16, 16, 3}, switches));
  prune::RatioMasks network(*net, masks, switches, {});
  const auto loss = [&] {
    const NoGradGuard no_grad;
    net->eval();
    return static_cast<double>(cross_entropy((*net)(Variable<float>(held_out.pixels)), held_out.labels).item());
  };
  std::cout << "held-out loss " << loss() << ", " << before << " bytes\n";

  // All layers' ratios at once, three quarters of the size to be left.
  std::vector<std::size_t> all(network.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  const int points = quick ? 2 : 15;
  const prune::RatioTrial found =
      prune::search_ratios(network, std::vector<double>(network.size(), 0), all, loss,
                           {.random_points = points, .guided_points = points, .budget = 0.75});
  for (std::size_t i = 0; i < network.size(); ++i)
    std::cout << "  " << found.ratios[i] << " of " << network.group(i).name << "\n";

  // Masked until now; removed from here on. Outputs stay the same, bit for bit.
  network.mask(found.ratios);
  masks.remove();
  std::cout << "held-out loss " << loss() << ", " << nn::model_size_bytes(*net, {2, 2}) << " bytes\n";
  train_steps(*net, switches, training, quick ? 3 : 30);
  std::cout << "retrained " << loss() << "\n";
  const runtime::Graph graph = pack::pack(*net, {16, 16, 3}, switches);
  std::cout << "packed " << runtime::pack_bytes(graph).size() << " bytes\n";
}
