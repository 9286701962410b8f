#include "spnet/nn/conv.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "spnet/nn/linear.hpp"
#include "spnet/nn/size.hpp"

using namespace spnet;

namespace {

Tensor<float> noise(const Shape& shape, std::uint64_t seed) {
  Random random(seed);
  Tensor<float> out(shape);
  for (float& value : out.span()) value = random.normal();
  return out;
}

const nn::Quantization kQuantization{.switches = parse_switches("w1a1,w2a2,w1a32,w32a2,w32a32")};

}  // namespace

TEST_CASE("nn: a layer without switches is a float layer at every precision") {
  Random random(1);
  nn::Conv2d layer(3, 4, 3, {.padding = 1}, random);
  const Variable<float> x(noise({2, 5, 5, 3}, 2));
  const auto before = layer(x).value();
  layer.set_precision({1, 1});
  CHECK(std::ranges::equal(before.span(), layer(x).value().span()));
  CHECK_FALSE(layer.is_quantized());
  CHECK(nn::model_size_bits(layer, {1, 1}) == 3 * 4 * 9 * 32);
}

TEST_CASE("nn: a convolution quantizes its input and its weight to the active precision") {
  Random random(1);
  nn::Conv2d layer(3, 4, 1, {}, kQuantization, random);
  const auto x = noise({1, 2, 2, 3}, 2);
  const auto& w = layer.weight().value();
  double largest = 0;
  for (float value : w.span()) largest = std::max(largest, std::abs(std::tanh(static_cast<double>(value))));
  const auto quantize_weight = [&](double v, int bits) {
    if (bits == 32) return v;
    if (bits == 1) return v >= 0 ? 1.0 : -1.0;
    const double n = (1 << bits) - 1;
    return 2 * std::nearbyint((std::tanh(v) / (2 * largest) + 0.5) * n) / n - 1;
  };
  const auto quantize_input = [](double v, int bits) {
    if (bits == 32) return v;
    if (bits == 1) return v > 0 ? 1.0 : -1.0;
    const double n = (1 << bits) - 1;
    return std::nearbyint(std::clamp(v, 0.0, 1.0) * n) / n;
  };
  for (Precision p : kQuantization.switches) {
    layer.set_precision(p);
    const auto y = layer(Variable<float>(x)).value();
    for (std::int64_t pixel = 0; pixel < 4; ++pixel)
      for (std::int64_t o = 0; o < 4; ++o) {
        double sum = 0;
        for (std::int64_t c = 0; c < 3; ++c)
          sum += quantize_input(static_cast<double>(x.data()[pixel * 3 + c]), p.activation_bits) *
                 quantize_weight(static_cast<double>(w(o, 0, 0, c)), p.weight_bits);
        CHECK(static_cast<double>(y.data()[pixel * 4 + o]) == doctest::Approx(sum).epsilon(1e-5));
      }
  }
}

TEST_CASE("nn: switching the precision there and back changes nothing and never touches the master weights") {
  Random random(3);
  nn::Conv2d layer(8, 8, 3, {.stride = 2, .padding = 1}, kQuantization, random);
  layer.eval();
  const auto masters = layer.weight().value().clone();
  const Variable<float> x(noise({2, 7, 7, 8}, 4));
  layer.set_precision({2, 2});
  const auto first = layer(x).value().clone();
  for (Precision p : kQuantization.switches) {
    layer.set_precision(p);
    layer(x);
  }
  layer.set_precision({2, 2});
  CHECK(std::ranges::equal(first.span(), layer(x).value().span()));
  CHECK(std::ranges::equal(masters.span(), layer.weight().value().span()));
}

TEST_CASE("nn: a precision that a layer was not made for is refused, and changes nothing") {
  Random random(1);
  nn::Conv2d layer(3, 4, 3, {.padding = 1}, kQuantization, random);
  nn::Linear classifier(3, 4, kQuantization, random);
  layer.set_precision({2, 2});
  const std::string text = "set_precision: w3a2 given, but this layer was made for w1a1, w2a2, w1a32, w32a2, w32a32";
  CHECK_THROWS_WITH_AS(layer.set_precision({3, 2}), text.c_str(), ValueError);
  CHECK_THROWS_WITH_AS(classifier.set_precision({3, 2}), text.c_str(), ValueError);
  CHECK(layer.precision() == Precision{2, 2});
}

TEST_CASE("nn: bias, sizes and bad options") {
  Random random(5);
  nn::Conv2d layer(4, 6, 3, {.groups = 2, .bias = true}, kQuantization, random);
  CHECK(layer.weight().shape() == Shape{6, 3, 3, 2});
  CHECK(nn::model_size_bits(layer, {2, 2}) == 6 * 9 * 2 * 2 + 6 * 32);
  CHECK(layer.parameters().size() == 2);
  CHECK_THROWS_WITH_AS(nn::Conv2d(3, 4, 3, {.groups = 2}, random), "Conv2d: 2 groups do not divide 3 and 4 channels",
                       ValueError);
  CHECK_THROWS_AS(nn::Conv2d(0, 4, 3, {}, random), ValueError);
  CHECK_THROWS_AS(nn::Conv2d(3, 4, 3, {}, {.switches = {{2, 2}}, .weight_quantizer = "nonesuch"}, random), ValueError);
}

TEST_CASE("nn: sums of codes that could pass int32 are refused when the layer is made") {
  Random random(6);
  const nn::Quantization eight{.switches = {{8, 8}}};
  CHECK_NOTHROW(nn::Linear(33025, 1, eight, random));
  CHECK_THROWS_WITH_AS(nn::Linear(33026, 1, eight, random),
                       "Linear: 33026 products an output could pass int32 at w8a8; at most 33025 are safe", ValueError);
  CHECK_NOTHROW(nn::Conv2d(3669, 1, 3, {}, eight, random));
  CHECK_THROWS_WITH_AS(nn::Conv2d(3670, 1, 3, {}, eight, random),
                       "Conv2d: 33030 products an output could pass int32 at w8a8; at most 33025 are safe", ValueError);
  CHECK_NOTHROW(nn::Conv2d(7338, 2, 3, {.groups = 2}, eight, random));
  CHECK_NOTHROW(nn::Linear(33026, 1, {.switches = {{8, 7}, {32, 32}, {8, 32}}}, random));
}

TEST_CASE("nn: a layer passes NaN on to nobody") {
  Random random(7);
  nn::Conv2d layer(3, 4, 1, {}, kQuantization, random);
  layer.set_precision({2, 2});
  auto x = noise({1, 2, 2, 3}, 2);
  x(0, 1, 1, 2) = std::nanf("");
  CHECK_THROWS_AS(layer(Variable<float>(x)), NumericError);
}

TEST_CASE("nn: a layer that is fixed keeps its precision whatever is set") {
  Random random(1);
  nn::Conv2d layer(3, 4, 3, {.padding = 1}, kQuantization, random);
  const Variable<float> x(noise({2, 5, 5, 3}, 2));
  layer.set_precision({1, 32});
  const auto expected = layer(x).value();
  layer.fix_precision({1, 32});
  layer.set_precision({2, 2});
  CHECK(layer.is_fixed());
  CHECK(layer.precision() == Precision{1, 32});
  CHECK(std::ranges::equal(layer(x).value().span(), expected.span()));
  CHECK(nn::model_size_bits(layer, {32, 32}) == 3 * 4 * 9);
  // Pairs that are no switch, of widths that there are.
  CHECK_NOTHROW(layer.fix_precision({2, 1}));
  CHECK_NOTHROW(layer.set_precision({4, 4}));
  CHECK(layer.precision() == Precision{2, 1});
  CHECK_THROWS_WITH_AS(layer.fix_precision({4, 1}), "Conv2d: 4 bits of weights given, the layer was made for 1, 2",
                       ValueError);
  CHECK_THROWS_AS(layer.fix_precision({1, 3}), ValueError);
}

TEST_CASE("nn: a layer may have several widths at once") {
  Random random(1);
  nn::Conv2d layer(3, 4, 3, {.padding = 1}, kQuantization, random);
  const Variable<float> x(noise({2, 5, 5, 3}, 2), true);
  const Variable<float> shares(Tensor<float>::from({2}, {0.25f, 0.75f}), true);
  layer.set_precision({32, 32});
  layer.mix_weights(nn::WidthMixture{{1, 2}, shares});
  const auto mixed = layer(x);
  mixed.backward(Tensor<float>::ones(mixed.shape()));
  CHECK(shares.grad().defined());
  CHECK(layer.weight().grad().defined());
  layer.mix_weights({});
  // A convolution is linear in its weight.
  layer.fix_precision({1, 32});
  const auto one = layer(x).value().clone();
  layer.fix_precision({2, 32});
  const auto two = layer(x).value().clone();
  for (std::int64_t i = 0; i < one.size(); ++i)
    CHECK(mixed.value().data()[i] == doctest::Approx(0.25f * one.data()[i] + 0.75f * two.data()[i]).epsilon(1e-4));
  CHECK_THROWS_AS(layer.mix_activations(nn::WidthMixture{{4}, shares}), ValueError);
}
