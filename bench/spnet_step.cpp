// One SP-Net training step of ResNet-20 on random images: time and memory, in one line. The work is that of the usual
// fake-quantized training elsewhere: DoReFa quantizers, every switch forward and backward, the highest switch taught
// by the labels and the others by its detached softmax, gradients summed, one SGD update.
//
//   spnet_step [--batch 128] [--width 16] [--switches 1,2,4,8,32] [--threads 2] [--steps 6] [--model resnet20]
//              [--activation-quantizer dorefa] [--matmul-precision highest]
//
// or, with --search 1,2,3,4,6,8, one step of the search for each layer's widths among these, nothing decided yet.

#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "spnet/core/parallel.hpp"
#include "spnet/core/random_fill.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/models/mobilenet_v1.hpp"
#include "spnet/models/mobilenet_v2.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/ops/float32_precision.hpp"
#include "spnet/optim/sgd.hpp"
#include "spnet/search/ssps.hpp"
#include "spnet/train/parameter_groups.hpp"
#include "spnet/train/trainer.hpp"

namespace {

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

}  // namespace

int main(int argc, char** argv) {
  std::int64_t batch = 128, width = 16, image = 32;
  int threads = 2, steps = 6;
  std::string model_name = "resnet20", switch_list = "1,2,4,8,32", activations = "dorefa", cell = "gumbel-hard";
  std::string matmul_precision = "highest";
  std::vector<int> candidates;
  CLI::App app{"Times a training step of a switchable network."};
  app.add_option("--batch", batch, "images a step")->check(CLI::PositiveNumber);
  app.add_option("--width", width, "channels of the first stage")->check(CLI::PositiveNumber);
  app.add_option("--switches", switch_list, "bit-widths, as 1,2,32, or pairs, as w1a2,w32a32");
  app.add_option("--search", candidates, "candidates of a search, as 1,2,4,8")->delimiter(',');
  app.add_option("--cell", cell, "of the search");
  app.add_option("--threads", threads, "threads")->check(CLI::PositiveNumber);
  app.add_option("--steps", steps, "steps; the best counts")->check(CLI::PositiveNumber);
  app.add_option("--image", image, "height and width of the images")->check(CLI::PositiveNumber);
  app.add_option("--model", model_name, "network");
  app.add_option("--activation-quantizer", activations, "quantizer of activations");
  app.add_option("--matmul-precision", matmul_precision, "of float products: highest, high or medium");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  try {
    const double at_start = peak_mib();
    spnet::set_num_threads(threads);
    spnet::ops::float32_matmul_precision() = spnet::ops::parse_float32_precision(matmul_precision);
    std::vector<spnet::Precision> switches;
    const spnet::search::Candidates space{candidates, candidates};
    if (!candidates.empty()) {
      switches = space.pairs();
      switch_list = "search among " + spnet::join(candidates, {}, ",");
    } else if (switch_list.find('w') != std::string::npos) {
      switches = spnet::parse_switches(switch_list);
    } else {
      for (const std::string& bits : CLI::detail::split(switch_list, ',')) {
        switches.push_back({std::stoi(bits), std::stoi(bits)});
        spnet::check_precision(switches.back(), "spnet_step");
      }
    }
    const double first_channels = model_name == "resnet20" ? 16 : model_name.starts_with("mobilenet") ? 32 : 64;
    auto model = spnet::models::make_model(
        model_name, {.width = static_cast<double>(width) / first_channels,
                     .quantization = {.switches = switches,
                                      .activation_quantizer = activations,
                                      .norm = candidates.empty() ? spnet::nn::NormKind::kSwitchable
                                                                 : spnet::nn::NormKind::kShared}});
    spnet::optim::SGD optimizer(spnet::train::parameter_groups(*model, {.weight_decay = 1e-4}), {.momentum = 0.9});
    std::unique_ptr<spnet::train::TrainingMethod> trainer;
    if (candidates.empty()) {
      trainer = std::make_unique<spnet::train::Trainer>(
          *model, switches, optimizer, spnet::train::DistillationOptions{.name = "top", .label_weight = 0.0f});
    } else {
      trainer = std::make_unique<spnet::search::SspsTrainer>(
          *model, spnet::search::Architecture(*model, space), std::vector<spnet::search::NamedConstraint>{}, optimizer,
          spnet::search::SspsOptions{
              .cell = cell, .steps = std::uint64_t{1} << 40, .decide_every = std::uint64_t{1} << 30});
    }

    spnet::Random random(0);
    spnet::Tensor<float> images({batch, image, image, 3});
    spnet::fill_normal(images.span(), random);
    spnet::Tensor<std::int32_t> labels({batch});
    for (std::int32_t& label : labels.span()) label = static_cast<std::int32_t>(random.below(10));

    double best = 1e30;
    for (int i = 0; i < steps; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      trainer->step(images, labels, 0.1, static_cast<std::uint64_t>(i));
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    const double peak = peak_mib();
    std::printf("spnet %s threads %d batch %lld width %lld switches %s isa %s precision %s: %.1f ms/step %.1f img/s peak "
                "%.0f MiB (%.0f after start-up)\n",
                model_name.c_str(), threads, static_cast<long long>(batch), static_cast<long long>(width),
                switch_list.c_str(), spnet::kernels::active().name, matmul_precision.c_str(), best * 1e3,
                static_cast<double>(batch) / best, peak, peak - at_start);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "spnet_step: %s\n", error.what());
    return 1;
  }
  return 0;
}
