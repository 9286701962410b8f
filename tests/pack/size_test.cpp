// What networks take in packed files: random weights suffice to tell.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "spnet/models/resnet.hpp"
#include "spnet/nn/size.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/prune/ratio_search.hpp"
#include "spnet/runtime/packed_file.hpp"

using namespace spnet;

namespace {

// ResNet-18 with a thousand classes, and the bytes of its file; small images, which the size does not depend on.
std::unique_ptr<nn::Classifier> resnet18(const std::string& quantizer, const std::vector<Precision>& switches) {
  return models::make_model(
      "resnet18",
      {.classes = 1000, .stem = "imagenet", .quantization = {.switches = switches, .weight_quantizer = quantizer}});
}
double file_bytes(nn::Classifier& net, const std::vector<Precision>& switches) {
  return static_cast<double>(runtime::pack_bytes(pack::pack(net, {32, 32, 3}, switches)).size());
}

// By the size rule, and in a packed file.
struct Sizes {
  double rule, file;
};
Sizes sizes_of(nn::Classifier& net, Precision p) {
  return {static_cast<double>(nn::model_size_bits(net, p)) / 8,
          static_cast<double>(runtime::pack_bytes(pack::pack(net, {32, 32, 3}, {p})).size())};
}

}  // namespace

TEST_SUITE_BEGIN("size");

TEST_CASE("pack: ResNet-18 with 1-bit weights takes at most 3.45 MiB, its first and last layer in float") {
  const double mib = file_bytes(*resnet18("dorefa", {{1, 1}}), {{1, 1}}) / (1 << 20);
  CHECK(mib <= 3.45);
  CHECK(mib > 3.3);
}

TEST_CASE("pack: with nested weights four widths take at most 3 % more than the widest") {
  for (const char* quantizer : {"double_rounding", "floor_nested"}) {
    CAPTURE(quantizer);
    const std::vector<Precision> switches{{8, 8}, {6, 6}, {4, 4}, {2, 2}};
    const auto net = resnet18(quantizer, switches);
    const double widest = file_bytes(*net, {{8, 8}}), all = file_bytes(*net, switches);
    CHECK(all <= 1.03 * widest);
    CHECK(all > widest);
  }
}

TEST_CASE("pack: a pruned network is smaller on disk by what the size rule says") {
  for (const Precision p : {Precision{1, 1}, Precision{2, 2}}) {
    CAPTURE(to_string(p));
    const auto net = models::make_model("resnet18", {.width = 0.5, .stem = "cifar", .quantization = {.switches = {p}}});
    const Sizes before = sizes_of(*net, p);
    prune::ChannelMasks masks(prune::channel_graph(*net, {32, 32, 3}, {p}));
    prune::RatioMasks network(*net, masks, {p}, {});
    network.mask(prune::uniform_ratios(network, 0.75, 0.4));
    masks.remove();
    const Sizes after = sizes_of(*net, p);
    CHECK(after.rule < 0.76 * before.rule);
    CHECK(before.file - after.file == doctest::Approx(before.rule - after.rule).epsilon(0.02));
  }
}

TEST_SUITE_END();
