// A network of one's own, trained at three precisions at once.
//   04_train_spnet [--quick]
#include <cstring>
#include <iostream>
#include <memory>

#include "spnet/autograd/pool.hpp"
#include "spnet/data/loader.hpp"
#include "spnet/data/synthetic.hpp"
#include "spnet/nn/conv_norm.hpp"
#include "spnet/nn/linear.hpp"
#include "spnet/optim/schedule.hpp"
#include "spnet/optim/sgd.hpp"
#include "spnet/train/evaluate.hpp"
#include "spnet/train/parameter_groups.hpp"
#include "spnet/train/trainer.hpp"

namespace {

using spnet::Variable;

class SmallNet : public spnet::nn::Classifier {
 public:
  SmallNet(const spnet::nn::Quantization& quantization, spnet::Random random)
      : stem_("conv1", "bn1", 3, 16, 3, {.stride = 2, .padding = 1}, quantization, random, /*quantize_conv=*/false),
        middle_("conv2", "bn2", 16, 32, 3, {.stride = 2, .padding = 1}, quantization, random),
        last_("conv3", "bn3", 32, 64, 3, {.stride = 2, .padding = 1}, quantization, random), classifier_(64, 10, random) {
    register_module("", stem_);
    register_module("", middle_);
    register_module("", last_);
    register_module("fc", classifier_);
  }
  Variable<float> features(const Variable<float>& x) override {
    return global_avg_pool2d(last_.forward_relu(middle_.forward_relu(stem_.forward_relu(x))));
  }
  Variable<float> classify(const Variable<float>& features) override { return classifier_(features); }

 private:
  spnet::nn::ConvNorm stem_, middle_, last_;
  spnet::nn::Linear classifier_;
};

}  // namespace

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  using namespace spnet;
  const std::vector<Precision> switches = parse_switches("w1a1,w2a2,w32a32");
  SmallNet net({.switches = switches}, Random(1));

  const auto training = std::make_shared<data::SyntheticDataset>(data::SyntheticOptions{.count = quick ? 256 : 4000});
  const auto test = std::make_shared<data::SyntheticDataset>(
      data::SyntheticOptions{.count = quick ? 128 : 1000, .split = data::Split::kTest});
  data::Loader loader(training, {.batch_size = 64});
  data::Loader test_loader(test, {.batch_size = 64, .shuffle = false});

  optim::SGD optimizer(train::parameter_groups(net), {.momentum = 0.9, .nesterov = true});
  train::Trainer trainer(net, switches, optimizer, {.name = "recursive"});
  const int epochs = quick ? 1 : 5;
  const optim::Schedule schedule = optim::parse_schedule(
      "cosine", 0.1, static_cast<std::uint64_t>(loader.batches_per_epoch()), static_cast<std::uint64_t>(epochs));
  std::uint64_t step = 0;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    double loss = 0;
    while (const auto batch = loader.next()) {
      loss += trainer.step(batch->images, batch->labels, schedule(step), step).front().loss;
      ++step;
    }
    std::cout << "epoch " << epoch + 1 << "  float loss " << loss / static_cast<double>(loader.batches_per_epoch()) << "\n";
  }
  for (const auto& result : train::evaluate(net, switches, test_loader))
    std::cout << result.name << "  top-1 " << result.top1_percent() << " %\n";
}
