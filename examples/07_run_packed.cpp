// Deployment: a packed file and the runtime's headers, nothing of training. usage: 07_run_packed MODEL.spn [SWITCH]
#include <chrono>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>

#include "spnet/runtime/engine.hpp"

using namespace spnet;

namespace {

// Without a file: a graph made by hand, one convolution with weights of a bit each.
void write_small_model(const std::string& path) {
  using namespace runtime;
  const std::vector<std::byte> signs(32 * 9 * 3 / 8, std::byte{0xA5});
  Graph graph{.name = "small",
              .input = {32, 32, 3},
              .preparation = {},
              .classes = {},
              .precisions = {{1, 32}},
              .accuracies = {{}},
              .layers = {"conv"},
              .weights = {},
              .nodes = {}};
  graph.weights.push_back({.shape = {32, 3, 3, 3}, .floats = {}, .planes = {{1, {nullptr, signs}}}, .codes = {}});
  graph.weights[0].codes[1] = {
      .planes = 0, .derivation = Derivation::kStored, .map = ops::sign_map(Tensor<float>::full({1}, 0.1f))};
  graph.nodes.push_back({Input{}, {}});
  graph.nodes.push_back({Conv2d{.options = {.padding = 1}, .weight = 0, .rules = {}}, {0}, 0});
  graph.nodes.push_back({Unary{.kind = UnaryKind::kRelu}, {1}});
  graph.nodes.push_back({GlobalAvgPool2d{}, {2}});
  save_packed(path, graph);
}

}  // namespace

int main(int argc, char** argv) try {
  const bool quick = argc < 2 || std::string(argv[1]) == "--quick";
  const std::string path = quick ? (std::filesystem::temp_directory_path() / "spnet-small.spn").string() : argv[1];
  if (quick) write_small_model(path);

  runtime::Engine engine(path, {.threads = 2});
  if (quick) std::filesystem::remove(path);
  if (argc > 2) engine.set_precision(parse_precision(argv[2]));

  const auto& graph = engine.model().graph();
  const Tensor<float> image = Tensor<float>::zeros({1, graph.input[0], graph.input[1], graph.input[2]});
  engine.run(image);
  const auto begin = std::chrono::steady_clock::now();
  const Tensor<float> logits = engine.run(image);
  const std::chrono::duration<double, std::milli> ms = std::chrono::steady_clock::now() - begin;
  std::cout << graph.name << ": " << logits.dim(1) << " outputs in " << ms.count() << " ms\n";
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
