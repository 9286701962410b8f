#include "spnet/ops/weight_reader.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/ops/conv2d.hpp"
#include "spnet/ops/conv2d_codes.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {

Tensor<float> normal_floats(const Shape& shape, std::uint64_t seed) {
  Tensor<float> out(shape);
  Random random(seed);
  for (float& v : out.span()) v = static_cast<float>(random.normal());
  return out;
}

Tensor<float> positive_scales(std::int64_t count) {
  Tensor<float> out({count});
  Random random(3);
  for (float& v : out.span()) v = 0.01f + static_cast<float>(random.uniform());
  return out;
}

}  // namespace

TEST_CASE("weight_reader: convolutions of stored weights are those of the floats that they stand for, bit for bit") {
  struct Case {
    Shape x, w;
    ops::Conv2dOptions options;
  };
  const std::vector<Case> cases{
      {{2, 9, 9, 32}, {48, 3, 3, 32}, {.padding = 1}},               // by Winograd's filtering
      {{1, 7, 6, 19}, {37, 3, 3, 19}, {.stride = 2, .padding = 1}},  // channels that fill no vector
      {{2, 5, 5, 48}, {70, 1, 1, 48}, {}},
      {{1, 6, 6, 24}, {36, 3, 3, 8}, {.padding = 1, .groups = 3}},
      {{1, 6, 6, 20}, {20, 3, 3, 1}, {.padding = 1, .groups = 20}},  // depthwise
      {{3, 1, 1, 100}, {10, 1, 1, 100}, {}},
  };
  for (const Case& t : cases) {
    INFO(t.x, " by ", t.w);
    const Tensor<float> x = normal_floats(t.x, 1), floats = normal_floats(t.w, 2);
    Quantized q{Tensor<std::uint8_t>(t.w), {}};
    Random random(4);
    for (std::uint8_t& code : q.codes.span()) code = static_cast<std::uint8_t>(random.below(16));
    const std::vector<CodeMap> maps{
        AffineCodes{.scale = positive_scales(1), .step = 2, .zero_point = 15, .qmax = 15},
        AffineCodes{.scale = positive_scales(t.w[0]), .zero_point = 8, .qmax = 15, .channel_axis = 0},
        AffineCodes{.scale = positive_scales(t.w[3]), .zero_point = 8, .qmax = 15, .channel_axis = 3},
        LutCodes{normal_floats({16}, 5)}};
    for (const std::optional<float> factor : {std::optional<float>(), std::optional<float>(-0.3f)}) {
      const auto scaled = [&](const Tensor<float>& w) { return factor ? ops::affine(w, *factor) : w; };
      const ops::PackedConv2d expected(t.x, scaled(floats), t.options);
      CHECK(testing::bit_equal(ops::PackedConv2d(t.x, t.w, ops::WeightReader(floats.data(), factor), t.options)(x),
                               expected(x)));
      for (const CodeMap& map : maps) {
        INFO("map ", map.index());
        q.map = map;
        const ops::PackedConv2d of_codes(t.x, t.w, ops::detail::CodedWeights(q, factor).reader, t.options);
        CHECK(testing::bit_equal(of_codes(x), ops::PackedConv2d(t.x, scaled(ops::decode(q)), t.options)(x)));
      }
    }
  }
}
