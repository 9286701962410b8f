#include "spnet/nn/size.hpp"

#include <doctest/doctest.h>

#include "spnet/models/resnet.hpp"

using namespace spnet;

TEST_CASE("nn: the size rule gives the published sizes of ResNet-18" * doctest::test_suite("size")) {
  const auto net = models::make_model(
      "resnet18", {.classes = 1000, .stem = "imagenet", .quantization = {.switches = parse_switches("w1a1,w2a2,w32a32")}});
  const auto mib = [&](Precision p) { return static_cast<double>(nn::model_size_bytes(*net, p)) / (1 << 20); };
  CHECK(mib({1, 1}) == doctest::Approx(3.36).epsilon(0.002));
  CHECK(mib({2, 2}) == doctest::Approx(4.69).epsilon(0.002));
  CHECK(mib({32, 32}) == doctest::Approx(11689512 * 4.0 / (1 << 20)).epsilon(1e-9));
}
