// Packing: a network with all its precisions in one file, and the engine that runs it.
#include <filesystem>
#include <iostream>

#include "spnet/models/resnet.hpp"
#include "spnet/pack/pack.hpp"

int main() {
  using namespace spnet;
  const auto switches = parse_switches("w1a1,w2a2,w8a8,w32a32");
  const auto net = models::make_model("resnet20", {.quantization = {.switches = switches}});

  // The forward pass is followed at each precision; the logits are compared with the network's own, bit for bit.
  const auto folder = std::filesystem::temp_directory_path() / "spnet-example";
  std::filesystem::create_directories(folder);
  const auto path = folder / "resnet20.spn";
  runtime::save_packed(path, pack::pack(*net, {32, 32, 3}, switches, {.name = "resnet20"}));
  std::cout << "packed: " << std::filesystem::file_size(path) << " bytes\n";

  runtime::Engine engine(path);
  Random random(7);
  Tensor<float> image({1, 32, 32, 3});
  for (float& value : image.span()) value = random.normal();
  for (const Precision p : switches) {
    engine.set_precision(p);  // between two images; what was expanded before is kept
    std::cout << p << "  first logit " << engine.run(image)(0, 0) << "\n";
  }

  // A precision for every layer.
  std::vector<Precision> mixed(engine.model().graph().layers.size(), Precision{2, 2});
  mixed.front() = {8, 8};
  engine.set_precisions(mixed);
  std::cout << "mixed   first logit " << engine.run(image)(0, 0) << "\n";
  std::filesystem::remove_all(folder);  // with the fastest kernels, which the engine keeps beside the model
}
