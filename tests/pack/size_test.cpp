// What networks take in packed files: random weights suffice to tell.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "spnet/models/resnet.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/runtime/packed_file.hpp"

using namespace spnet;

namespace {

// Bytes of ResNet-18 with a thousand classes; small images, which the size does not depend on.
double resnet18_bytes(const std::string& quantizer, const std::vector<Precision>& switches) {
  const auto net = models::make_model(
      "resnet18", {.classes = 1000,
                   .stem = "imagenet",
                   .quantization = {.switches = switches, .weight_quantizer = quantizer}});
  return static_cast<double>(runtime::pack_bytes(pack::pack(*net, {32, 32, 3}, switches)).size());
}

}  // namespace

TEST_CASE("pack: ResNet-18 with 1-bit weights takes at most 3.45 MiB, its first and last layer in float") {
  const double mib = resnet18_bytes("dorefa", {{1, 1}}) / (1 << 20);
  CHECK(mib <= 3.45);
  CHECK(mib > 3.3);
}

TEST_CASE("pack: with nested weights four widths take at most 3 % more than the widest") {
  for (const char* quantizer : {"double_rounding", "floor_nested"}) {
    CAPTURE(quantizer);
    const double widest = resnet18_bytes(quantizer, {{8, 8}}),
                 all = resnet18_bytes(quantizer, {{8, 8}, {6, 6}, {4, 4}, {2, 2}});
    CHECK(all <= 1.03 * widest);
    CHECK(all > widest);
  }
}
