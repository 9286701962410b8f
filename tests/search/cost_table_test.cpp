#include "spnet/search/cost_table.hpp"

#include <doctest/doctest.h>

#include "packed_resnet.hpp"

using namespace spnet;

TEST_CASE("search: tables of bytes, operations and bits give what configurations cost") {
  const auto m = test::packed_resnet();
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

TEST_CASE("search: a layer with a float operand costs bit operations as if that had 32 bits") {
  const auto switches = parse_switches("w2a2,w2a32,w32a32");
  const auto net = models::make_model("resnet20", {.width = 0.25, .quantization = {.switches = switches}});
  test::settle(*net, switches, {4, 16, 16, 3});
  const runtime::Model model(pack::pack(*net, {16, 16, 3}, switches));
  const auto table = search::bit_operations_table(model);
  const auto all = [&](Precision p) {
    return table.of(runtime::Configuration(model.graph().layers.size(),
                                           static_cast<std::uint8_t>(model.precision_index(p))));
  };
  CHECK(all({2, 32}) == doctest::Approx(16 * all({2, 2})));
  CHECK(all({32, 32}) == doctest::Approx(256 * all({2, 2})));
  CHECK(table.least() == doctest::Approx(all({2, 2})));
  CHECK(table.most() == doctest::Approx(all({32, 32})));
}
