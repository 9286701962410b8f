// A packed network with random weights at each of its switches: time of an image, of a switch, of one that expands the
// weights (of a model that was just loaded: median and best of the turns); size of the file. The switches take turns of
// ten images, the first of which is not counted, so that what disturbs the machine disturbs all of them.
//
//   packed_bench [--model resnet18] [--image 224] [--switches w1a1,…] [--threads 2] [--turns 10]

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "spnet/models/mobilenet_v1.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/pack/pack.hpp"

namespace {

using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

struct Arguments {
  std::string model = "resnet18", switches = "w1a1,w2a2,w4a4,w8a8,w32a32", quantizer = "dorefa";
  std::int64_t image = 224;
  int threads = 2, turns = 10;
};

void run(const Arguments& arguments) {
  using namespace spnet;
  const auto switches = parse_switches(arguments.switches);
  const std::string stem = arguments.image <= 40 ? "cifar" : arguments.image <= 96 ? "tiny-imagenet" : "imagenet";
  const auto net = models::make_model(
      arguments.model, {.classes = stem == "imagenet" ? 1000 : 10,
                        .stem = stem,
                        .quantization = {.switches = switches, .weight_quantizer = arguments.quantizer}});
  const auto path = std::filesystem::temp_directory_path() / "spnet-packed-bench.spn";
  runtime::save_packed(path, pack::pack(*net, {arguments.image, arguments.image, 3}, switches));
  const auto file_bytes = std::filesystem::file_size(path);

  const Tensor<float> image = Tensor<float>::ones({1, arguments.image, arguments.image, 3});
  {
    // Measures the kernels once, as the first program on a machine does.
    runtime::Engine engine(path, {.threads = arguments.threads});
    for (const Precision p : switches) {
      engine.set_precision(p);
      engine.run(image);
    }
  }
  auto begin = Clock::now();
  const auto model = runtime::Model::load(path);
  runtime::Engine engine(model, {.threads = arguments.threads});
  const double load_ms = ms_since(begin);
  for (const Precision p : switches) {
    engine.set_precision(p);
    engine.run(image);
  }
  std::vector<double> used;
  std::vector<std::vector<double>> times(switches.size()), cold(switches.size());
  for (int turn = 0; turn < arguments.turns; ++turn) {
    for (std::size_t i = 0; i < switches.size(); ++i) {
      runtime::Engine fresh(runtime::Model::load(path), {.threads = arguments.threads});
      fresh.set_precision(switches[i]);
      begin = Clock::now();
      fresh.prepare();
      cold[i].push_back(ms_since(begin));
    }
  }
  for (int turn = 0; turn < arguments.turns; ++turn) {
    for (std::size_t i = 0; i < switches.size(); ++i) {
      begin = Clock::now();
      engine.set_precision(switches[i]);
      engine.prepare();
      used.push_back(ms_since(begin));
      engine.run(image);
      for (int k = 1; k < 10; ++k) {
        begin = Clock::now();
        engine.run(image);
        times[i].push_back(ms_since(begin));
      }
    }
  }
  std::printf(
      "%s, %lld pixels square, %d threads, %s: file %.2f MiB, loaded in %.1f ms, a cached switch %.1f us (median)\n",
      arguments.model.c_str(), static_cast<long long>(arguments.image), arguments.threads, kernels::active().name,
      static_cast<double>(file_bytes) / (1 << 20), load_ms, 1e3 * median(used));
  const auto best = [](const std::vector<double>& values) { return *std::min_element(values.begin(), values.end()); };
  std::printf("switch    median ms    best ms   expanding: median ms    best ms\n");
  for (std::size_t i = 0; i < switches.size(); ++i)
    std::printf("%-8s %10.3f %10.3f %22.1f %10.1f\n", to_string(switches[i]).c_str(), median(times[i]), best(times[i]),
                median(cold[i]), best(cold[i]));
  for (std::size_t i = 0; i < switches.size(); ++i)
    for (std::size_t j = 0; j < switches.size(); ++j)
      if (switches[i].weight_bits <= switches[j].weight_bits &&
          switches[i].activation_bits <= switches[j].activation_bits && median(times[i]) > 1.1 * median(times[j]))
        std::printf("slower with fewer bits: %s than %s\n", to_string(switches[i]).c_str(),
                    to_string(switches[j]).c_str());
  std::filesystem::remove(path);
  std::filesystem::remove(runtime::choices_path(path));
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"Times a packed network with random weights."};
  app.add_option("--model", arguments.model, "network");
  app.add_option("--image", arguments.image, "height and width of the images")->check(CLI::PositiveNumber);
  app.add_option("--switches", arguments.switches, "as w1a1,w32a32");
  app.add_option("--quantizer", arguments.quantizer, "quantizer of weights");
  app.add_option("--threads", arguments.threads, "threads")->check(CLI::PositiveNumber);
  app.add_option("--turns", arguments.turns, "turns of ten images")->check(CLI::PositiveNumber);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    run(arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "packed_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
