// libFuzzer target for packed networks: what is read runs, or is refused. Run: packed_fuzz CORPUS, after packed_seeds
// CORPUS.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "../runtime/repair_packed.hpp"
#include "spnet/runtime/engine.hpp"

using namespace spnet;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  const auto bytes = std::make_shared<std::vector<std::byte>>(input.begin(), input.end());
  test::repair_packed(*bytes);
  try {
    const runtime::Graph graph = runtime::parse_packed("fuzz", {bytes, *bytes});
    // What was read can be written, and is then the same bytes.
    const std::vector<std::byte> once = runtime::pack_bytes(graph);
    if (runtime::pack_bytes(runtime::parse_packed("copy", {nullptr, once})) != once) std::abort();
    const auto model = std::make_shared<const runtime::Model>(graph);
    std::int64_t elements = 0;
    for (const Shape& shape : model->shapes()) elements += element_count(shape);
    for (const auto& weight : graph.weights) elements += element_count(weight.shape);
    if (elements > 1 << 16) return 0;
    runtime::Engine engine(model, {.threads = 1, .tune = false, .max_bytes = 1 << 20});
    for (const Precision p : runtime::uniform_precisions(graph)) {
      engine.set_precision(p);
      engine.run(Tensor<float>::ones(runtime::detail::with_batch(graph.input)));
    }
    for (const auto& configuration : graph.configurations) {
      engine.set_configuration(configuration.layers);
      engine.run(Tensor<float>::ones(runtime::detail::with_batch(graph.input)));
    }
  } catch (const Error&) {
  }
  return 0;
}
