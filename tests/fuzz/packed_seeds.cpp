// Writes the first inputs of packed_fuzz into the folder named by the first argument.
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "../pack/own_network.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/pack/pack.hpp"

using namespace spnet;

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: packed_seeds FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  test::register_own_quantizers();
  const auto save = [&](const char* name, nn::Module& net, std::int64_t side, const std::vector<Precision>& switches) {
    test::settle(net, switches, {2, side, side, 3});
    runtime::save_packed(folder / name,
                         pack::pack(net, {side, side, 3}, switches, {.name = name, .classes = {"cat", "dog"}}));
  };
  const auto mixed = parse_switches("w2a2,w32a32");
  test::OwnNetwork own({.switches = mixed, .weight_quantizer = "test_ternary", .activation_quantizer = "test_uneven"});
  save("own", own, 8, mixed);
  for (const char* quantizer : {"dorefa", "xnor", "log", "double_rounding", "floor_nested", "midrise_nested"}) {
    const auto switches = parse_switches("w1a1,w4a4,w8a8");
    const std::string activations = quantizer == std::string("xnor") ? "dorefa" : quantizer;
    const auto net = models::make_model(
        "resnet20",
        {.width = 0.07,
         .quantization = {.switches = switches, .weight_quantizer = quantizer, .activation_quantizer = activations}});
    save(quantizer, *net, 8, switches);
  }
  // Normalisations by two layers, and a configuration.
  const auto widths = parse_switches("w2a2,w4a4");
  const auto net = models::make_model(
      "resnet20", {.width = 0.07, .quantization = {.switches = widths, .norm = nn::NormKind::kTransitional}});
  test::settle(*net, widths, {2, 8, 8, 3});
  Random random(1);
  for (const auto& b : net->buffers())
    for (float& v : Tensor<float>(b.tensor).span()) v += random.uniform();
  runtime::Graph graph = pack::pack(*net, {8, 8, 3}, widths, {.name = "mixed", .mixed = true});
  graph.configurations.push_back(
      {"found", runtime::Configuration(graph.layers.size(), 1), runtime::Accuracy{.images = 2, .top1_percent = 50}});
  runtime::save_packed(folder / "mixed", graph);
  // Layers fixed to precisions of their own.
  for (const nn::NamedLayer& l : nn::quantized_layers(own))
    l.layer->fix_precision(l.name == "wide" ? Precision{} : Precision{2, 2});
  runtime::save_packed(folder / "fixed", pack::pack_fixed(own, {8, 8, 3}, "found", {.name = "fixed"}));
}
