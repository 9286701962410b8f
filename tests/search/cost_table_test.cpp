#include "spnet/search/cost_table.hpp"

#include <doctest/doctest.h>

#include <memory>

#include "../pack/own_network.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/pack/pack.hpp"

using namespace spnet;

namespace {

std::shared_ptr<const runtime::Model> model() {
  const auto switches = parse_switches("w2a2,w3a3,w4a4");
  const auto net = models::make_model("resnet20", {.width = 0.5, .quantization = {.switches = switches}});
  test::settle(*net, switches, {4, 16, 16, 3});
  return std::make_shared<const runtime::Model>(pack::pack(*net, {16, 16, 3}, switches, {.mixed = true}));
}

}  // namespace

TEST_CASE("search: tables of bytes, operations and bits give what configurations cost") {
  const auto m = model();
  const auto bytes = search::bytes_table(*m), operations = search::bit_operations_table(*m),
             bits = search::average_bits_table(*m);
  Random random(1);
  for (int i = 0; i < 5; ++i) {
    runtime::Configuration c(m->graph().layers.size());
    for (auto& p : c) p = static_cast<std::uint8_t>(random.below(3));
    const runtime::Cost cost = runtime::cost_of(*m, c);
    CHECK(bytes.of(c) == doctest::Approx(static_cast<double>(cost.weight_bytes)));
    CHECK(operations.of(c) == doctest::Approx(cost.bit_operations));
    CHECK(bits.of(c) >= 2);
    CHECK(bits.of(c) <= 4);
  }
  CHECK(bits.of(runtime::Configuration(m->graph().layers.size(), 1)) == doctest::Approx(3));
  CHECK(operations.least() == doctest::Approx(runtime::cost_of(*m, runtime::Configuration(20, 0)).bit_operations));
  CHECK(operations.most() == doctest::Approx(4 * operations.least()));
}

TEST_CASE("search: the latency table has every layer's time at every precision") {
  const auto m = model();
  const auto table = search::latency_table(m, {.threads = 1, .runs = 2});
  REQUIRE(table.layers.size() == m->graph().layers.size());
  CHECK(table.fixed > 0);
  for (const auto& layer : table.layers) {
    REQUIRE(layer.size() == 3);
    for (const double ms : layer) CHECK(ms > 0);
  }
}
