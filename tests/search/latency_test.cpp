#include "spnet/search/latency.hpp"

#include <doctest/doctest.h>

#include "packed_resnet.hpp"

using namespace spnet;

TEST_CASE("search: the latency table has every layer's time at every precision") {
  const auto m = test::packed_resnet();
  const auto table = search::latency_table(m, {.threads = 1, .runs = 2});
  REQUIRE(table.layers.size() == m->graph().layers.size());
  CHECK(table.fixed > 0);
  for (const auto& layer : table.layers) {
    REQUIRE(layer.size() == 3);
    for (const double ms : layer) CHECK(ms > 0);
  }
  // Calibration multiplies all of it by one number, which times differ in: what is not noise is that it is a table.
  const auto calibrated = search::calibrated_latency_table(m, {.threads = 1, .runs = 2});
  REQUIRE(calibrated.layers.size() == table.layers.size());
  CHECK(calibrated.least() > 0);
  runtime::Engine engine(m, {.threads = 1});
  CHECK(search::median_latency(engine, runtime::Configuration(table.layers.size(), 1), 3) > 0);
  CHECK(engine.configuration() == runtime::Configuration(table.layers.size(), 1));
}
