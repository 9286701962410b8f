#include "spnet/quant/quantizer.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "spnet/quant/registry.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {

// A quantizer from outside: x in ±limit to 2^bits − 1 levels, with a trained limit.
class Limited : public Quantizer {
 public:
  Limited() : limit_(Tensor<float>::full({1}, 1.0f), true) {}
  std::string name() const override { return "limited"; }
  Quantized lower(const Tensor<float>& x, int bits, bool) override {
    const int half = (1 << (bits - 1)) - 1;
    const float scale = limit_.value()(0) / static_cast<float>(half);
    return {ops::uniform_codes("limited", x, 1 / scale, -half, half),
            AffineCodes{.scale = Tensor<float>::full({1}, scale), .zero_point = half, .qmin = 0, .qmax = 2 * half}};
  }
  void backward(const Tensor<float>& g, const QuantizerCall& call, InputGradients<float>& into) const override {
    const float limit = limit_.value()(0);
    into.add(0, ops::clamp_gradient(g, call.x, -limit, limit));
    float sum = 0;
    for (std::int64_t i = 0; i < g.size(); ++i)
      if (std::abs(call.x.data()[i]) > limit) sum += std::copysign(g.data()[i], g.data()[i] * call.x.data()[i]);
    into.add(1, Tensor<float>::full({1}, sum));
  }
  std::span<const Variable<float>> parameters_at(int) const override { return {&limit_, 1}; }
  std::vector<NamedParameter> parameters() const override { return {{"limit", limit_}}; }

 private:
  Variable<float> limit_;
};

// Lowers to whatever it was given.
class Fixed : public Quantizer {
 public:
  explicit Fixed(Quantized q) : q_(std::move(q)) {}
  std::string name() const override { return "fixed"; }
  Quantized lower(const Tensor<float>&, int, bool) override { return q_; }
  void backward(const Tensor<float>&, const QuantizerCall&, InputGradients<float>&) const override {}

 private:
  Quantized q_;
};

}  // namespace

TEST_CASE("quant: a quantizer from outside trains through quantize, and is found by name") {
  static const bool once = [] {
    register_quantizer("limited", {[](const QuantizerOptions&) { return std::make_unique<Limited>(); }, {}});
    return true;
  }();
  CHECK(once);
  const auto quantizer = make_weight_quantizer("limited");
  Variable<float> x(Tensor<float>::from({4}, {0.1f, -0.4f, 2.0f, -3.0f}), true);
  Quantized lowered;
  const Variable<float> y = quantize(x, *quantizer, 3, true, &lowered);
  CHECK(testing::bit_equal(y.value(), ops::decode(lowered)));
  CHECK(testing::allclose(y.value(), Tensor<float>::from({4}, {0.0f, -1.0f / 3, 1.0f, -1.0f})));
  y.backward(Tensor<float>::from({4}, {1, 2, 3, 5}));
  CHECK(testing::allclose(x.grad(), Tensor<float>::from({4}, {1, 2, 0, 0})));
  CHECK(quantizer->parameters()[0].variable.grad()(0) == 3.0f - 5.0f);
  CHECK_THROWS_WITH_AS(make_activation_quantizer("limited"),
                       doctest::Contains("'limited' is not known for activations, expected one of"), ValueError);
  CHECK_THROWS_WITH_AS(
      register_quantizer("limited", {[](const QuantizerOptions&) { return std::make_unique<Limited>(); }, {}}),
      "register_quantizer: 'limited' is registered already", ValueError);
  CHECK_THROWS_AS(register_quantizer("empty", {}), ValueError);
}

TEST_CASE("quant: unknown names, widths and options are refused") {
  CHECK_THROWS_WITH_AS(make_weight_quantizer("dorfa"),
                       doctest::Contains("'dorfa' is not known for weights, expected one of"), ValueError);
  CHECK_THROWS_WITH_AS(make_weight_quantizer("dorfa"), doctest::Contains("dorefa"), ValueError);
  CHECK_THROWS_AS(make_weight_quantizer("dorefa", {.widths = {2, 9}}), ValueError);
  CHECK_THROWS_AS(make_weight_quantizer("dorefa", {.widths = {0}}), ValueError);
  CHECK_THROWS_AS(make_weight_quantizer("dorefa", {.channels = 0}), ValueError);
  CHECK_THROWS_AS(make_weight_quantizer("dorefa", {.per_channel = true}), ValueError);
  const auto quantizer = make_activation_quantizer("dorefa");
  const Variable<float> x(Tensor<float>::ones({3}));
  for (const int bits : {-1, 0, 9, 16, 31, 33}) CHECK_THROWS_AS(quantize(x, *quantizer, bits, true), ValueError);
  CHECK_THROWS_WITH_AS(quantize(x, *quantizer, 0, true), "quantize: dorefa got 0 bits, expected 1..8 or 32",
                       ValueError);
  CHECK(quantize(x, *quantizer, 32, true).value().data() == x.value().data());
}

TEST_CASE("quant: maps that kernels could not use are refused") {
  const Variable<float> x(Tensor<float>::ones({3}));
  const auto codes = Tensor<std::uint8_t>::zeros({3});
  const auto refused = [&](Quantized q) {
    Fixed fixed(std::move(q));
    CHECK_THROWS_AS(quantize(x, fixed, 2, true), Error);
  };
  refused({{}, AffineCodes{.scale = Tensor<float>::ones({1})}});
  refused({Tensor<std::uint8_t>::zeros({4}), AffineCodes{.scale = Tensor<float>::ones({1})}});
  refused({codes, AffineCodes{}});
  refused({codes, AffineCodes{.scale = Tensor<float>::zeros({1})}});
  refused({codes, AffineCodes{.scale = Tensor<float>::full({1}, -1.0f)}});
  refused({codes, AffineCodes{.scale = Tensor<float>::full({1}, std::numeric_limits<float>::infinity())}});
  refused({codes, AffineCodes{.scale = Tensor<float>::full({1}, std::numeric_limits<float>::quiet_NaN())}});
  refused({codes, AffineCodes{.scale = Tensor<float>::ones({2}), .channel_axis = 0}});
  refused({codes, AffineCodes{.scale = Tensor<float>::ones({3}), .channel_axis = 1}});
  refused({codes, AffineCodes{.scale = Tensor<float>::ones({1}), .qmin = 3, .qmax = 2}});
  refused({codes, AffineCodes{.scale = Tensor<float>::ones({1}), .qmax = 256}});
  refused({codes, AffineCodes{.scale = Tensor<float>::ones({1}), .step = 1 << 30}});
  refused({codes, LutCodes{}});
  refused({codes, LutCodes{Tensor<float>::ones({257})}});
}

TEST_CASE("quant: views are quantized as what they show") {
  const auto quantizer = make_activation_quantizer("dorefa");
  const Tensor<float> x = testing::random_normal<float>({4, 6}, 3);
  const Variable<float> view(x.transpose(0, 1));
  const Variable<float> y = quantize(view, *quantizer, 3, true);
  CHECK(testing::bit_equal(y.value(), quantize(Variable<float>(x), *quantizer, 3, true).value().transpose(0, 1)));
}
