#include "spnet/quant/nested.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <type_traits>

#include "quantizer_run.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;
using testing::random_normal;

TEST_CASE("quant: double rounding rounds half up, floor nesting down, both within their width") {
  for (int bits = 1; bits <= 8; ++bits) {
    const double step = std::ldexp(1.0, 8 - bits);
    for (int master = -128; master <= 127; ++master) {
      const double limit = std::ldexp(1.0, bits - 1);
      CHECK(ops::double_rounded(master, bits) == std::clamp(std::floor(master / step + 0.5), -limit, limit - 1));
      if (bits >= 2)
        CHECK(ops::floor_nested(master, bits) == std::clamp(std::floor(master / step), 1 - limit, limit - 1));
    }
  }
}

TEST_CASE("quant: every width of a nested quantizer follows from one 8-bit master") {
  DoubleRoundingWeights rounding;
  FloorNestedWeights floored;
  Tensor<float> w = random_normal<float>({64, 3, 3, 16}, 1, 0.3);
  double mean = 0;
  for (const float v : w.span()) mean += std::abs(v) / static_cast<double>(w.size());
  for (NestedWeights* quantizer : {static_cast<NestedWeights*>(&rounding), static_cast<NestedWeights*>(&floored)}) {
    const bool rounds = quantizer == &rounding;
    const Tensor<float> start = random_normal<float>({64, 3, 3, 16}, 1, 0.3);
    quantizer->lower(start, 8, true);
    const float s = quantizer->parameters()[0].variable.value()(0);
    CHECK(s == doctest::Approx(mean / 32));
    for (std::int64_t i = 0; i < w.size(); ++i) w.data()[i] = s * static_cast<float>(i - 4608) / 35;  // every level
    for (int bits = 2; bits <= 8; ++bits) {
      CAPTURE(bits);
      const Quantized q = quantizer->lower(w, bits, false);
      const auto& map = std::get<AffineCodes>(q.map);
      CHECK(map.scale(0) == std::ldexp(s, 8 - bits));
      const Tensor<float> values = ops::decode(q);
      std::set<int> seen;
      for (std::int64_t i = 0; i < w.size(); ++i) {
        const float v = w.data()[i] * (1.0f / s);
        const int master = static_cast<int>(std::clamp(rounds ? std::nearbyint(v) : std::floor(v), -128.0f, 127.0f));
        const int level = rounds ? ops::double_rounded(master, bits) : ops::floor_nested(master, bits);
        seen.insert(level);
        REQUIRE(values.data()[i] == std::ldexp(s, 8 - bits) * static_cast<float>(level));
      }
      const int limit = 1 << (bits - 1);
      CHECK(seen.size() == static_cast<std::size_t>(rounds ? 2 * limit : 2 * limit - 1));
    }
    const Tensor<float> signs = ops::decode(quantizer->lower(w, 1, true));
    for (std::int64_t i = 0; i < w.size(); ++i) {
      const float v = w.data()[i] * (1.0f / s);
      REQUIRE(signs.data()[i] == ((rounds ? std::nearbyint(v) : std::floor(v)) >= 0 ? 1.0f : -1.0f) *
                                     quantizer->parameters()[1].variable.value()(0));
    }
  }
}

TEST_CASE("quant: midrise nesting has all levels of a width, at the centres of their bins") {
  MidriseNestedWeights quantizer;
  quantizer.lower(random_normal<float>({64, 3, 3, 16}, 1, 0.3), 8, true);
  const float s = quantizer.parameters()[0].variable.value()(0);
  Tensor<float> w({9216});
  for (std::int64_t i = 0; i < w.size(); ++i) w(i) = s * static_cast<float>(i - 4608) / 35;
  for (int bits = 2; bits <= 8; ++bits) {
    CAPTURE(bits);
    const Tensor<float> values = ops::decode(quantizer.lower(w, bits, false));
    const double step = std::ldexp(1.0, 8 - bits), limit = std::ldexp(1.0, bits - 1);
    std::set<float> seen;
    for (std::int64_t i = 0; i < w.size(); ++i) {
      const double level =
          std::clamp(std::floor(std::floor(static_cast<double>(w(i) * (1.0f / s))) / step), -limit, limit - 1);
      REQUIRE(values(i) == doctest::Approx((level + 0.5) * step * static_cast<double>(s)));
      seen.insert(values(i));
    }
    CHECK(seen.size() == std::size_t{1} << bits);
    CHECK(*seen.begin() == -*seen.rbegin());
  }

  const Tensor<float> x = random_normal<float>({300}, 2, 0.5), g = random_normal<float>({300}, 3);
  for (const int bits : {2, 4, 8}) {
    CAPTURE(bits);
    MidriseNestedWeights fresh;
    Variable<float> scale = fresh.parameters()[0].variable;
    scale.value()(0) = 0.006f;
    const QuantizerRun r = run_quantizer(fresh, x, g, bits);
    const double unit = std::ldexp(1.0, 8 - bits), step = 0.006f * unit, limit = std::ldexp(1.0, bits - 1);
    double sum = 0;
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const double v = x(i) / step, level = r.values(i) / step;
      const bool inside = v > -limit && v < limit;
      CHECK(r.gradient(i) == (inside ? g(i) : 0.0f));
      sum += g(i) * (inside ? level - v : level);
    }
    CHECK(scale.grad()(0) == doctest::Approx(sum / std::sqrt(300 * limit) / unit).epsilon(1e-4));
  }
}

TEST_CASE_TEMPLATE("quant: the gradients of nested quantizers are LSQ's at the width's own step", Nested,
                   DoubleRoundingWeights, FloorNestedWeights) {
  const bool rounds = std::is_same_v<Nested, DoubleRoundingWeights>;
  const Tensor<float> w = random_normal<float>({300}, 2, 0.5), g = random_normal<float>({300}, 3);
  for (const int bits : {2, 4, 8}) {
    CAPTURE(bits);
    Nested quantizer;
    Variable<float> scale = quantizer.parameters()[0].variable;
    scale.value()(0) = 0.006f;
    const QuantizerRun r = run_quantizer(quantizer, w, g, bits);
    const double unit = std::ldexp(1.0, 8 - bits), step = 0.006f * unit;
    const double high = std::ldexp(1.0, bits - 1) - 1, low = rounds ? -high - 1 : -high;
    double sum = 0;
    for (std::int64_t i = 0; i < w.size(); ++i) {
      const double v = w(i) / step, level = r.values(i) / step;
      const bool inside = v > low && v < high;
      CHECK(r.gradient(i) == (inside ? g(i) : 0.0f));
      sum += g(i) * (inside ? level - v : level);
    }
    CHECK(scale.grad()(0) == doctest::Approx(sum / std::sqrt(300 * high) / unit).epsilon(1e-4));
  }
  Nested quantizer;
  const QuantizerRun one =
      run_quantizer(quantizer, Tensor<float>::from({2}, {0.5f, -0.25f}), Tensor<float>::from({2}, {1, 3}), 1);
  CHECK(testing::allclose(one.values, Tensor<float>::from({2}, {0.375f, -0.375f})));
  CHECK(testing::allclose(one.gradient, Tensor<float>::from({2}, {1, 3})));
  CHECK(quantizer.parameters()[1].variable.grad()(0) == doctest::Approx(-2 / std::sqrt(2.0)));
  CHECK_FALSE(quantizer.parameters()[0].variable.grad().defined());
}
