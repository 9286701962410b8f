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
