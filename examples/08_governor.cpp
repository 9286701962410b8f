// Keeping a budget: the governor lowers the precision while other programs want the processor, and raises it again.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <iostream>
#include <thread>
#include <vector>

#include "spnet/models/resnet.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/runtime/governed_engine.hpp"

int main(int argc, char** argv) {
  using namespace spnet;
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  const int images = quick ? 30 : 600;
  const auto switches = parse_switches("w1a1,w2a2,w8a8,w32a32");
  const auto net =
      models::make_model("resnet18", {.width = quick ? 0.25 : 1.0, .quantization = {.switches = switches}});
  const auto model = std::make_shared<const runtime::Model>(pack::pack(*net, {32, 32, 3}, switches));

  // A budget that the widest precision just keeps while nothing else runs.
  runtime::GovernedEngine probe(model, runtime::model_choices(*model), {}, {.engine = {.threads = 1}});
  double slowest = 0;
  for (const auto& c : probe.candidates()) slowest = std::max(slowest, c.latency_ms);
  const runtime::Budget budget{.latency_ms = 1.3 * slowest};
  runtime::GovernedEngine engine(model, runtime::model_choices(*model), budget, {.engine = {.threads = 1}});
  std::cout << "budget " << budget.latency_ms << " ms an image\n";

  std::atomic<bool> busy{false}, done{false};
  std::vector<std::thread> others;
  for (unsigned i = 0; i < 2 * std::max(std::thread::hardware_concurrency(), 1U); ++i)
    others.emplace_back([&] {
      while (!done) {
        if (!busy) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
  const Tensor<float> image = Tensor<float>::ones({1, 32, 32, 3});
  int within = 0;
  std::string before;
  for (int i = 0; i < images; ++i) {
    busy = i >= images / 3 && i < 2 * images / 3;
    engine.run(image);
    within += engine.last_ms() <= budget.latency_ms;
    if (engine.last_choice().name != before)
      std::cout << "image " << i << (busy ? " (busy)" : "") << ": " << (before = engine.last_choice().name) << "\n";
  }
  done = true;
  for (std::thread& other : others) other.join();
  std::cout << within * 100 / images << " % of the images within the budget\n";
}
