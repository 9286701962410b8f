#include "spnet/quant/dorefa.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "quantizer_run.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;
using testing::allclose;

TEST_CASE("quant: the dorefa weight gradient is that of the function without its rounding") {
  // The same formula in double: w → tanh(w)/max|tanh w|, whose derivative the surrogate claims to be.
  DorefaWeights quantizer;
  const Tensor<float> w = testing::random_normal<float>({3, 2, 2, 5}, 11, 0.5);
  const Tensor<float> g = testing::random_normal<float>(w.shape(), 12);
  const QuantizerRun r = run_quantizer(quantizer, w, g, 4);
  const auto relaxed = [&](const Tensor<double>& at) {
    double most = 0, sum = 0;
    for (const double v : at.span()) most = std::max(most, std::abs(std::tanh(v)));
    for (std::int64_t i = 0; i < at.size(); ++i) sum += g.data()[i] * std::tanh(at.data()[i]) / most;
    return sum;
  };
  for (std::int64_t i = 0; i < w.size(); ++i)
    CHECK(r.gradient.data()[i] == doctest::Approx(difference(relaxed, w.to<double>(), i)).epsilon(1e-4));
}

TEST_CASE("quant: dorefa weight codes cover their range and follow the formula in double") {
  DorefaWeights quantizer;
  Tensor<float> w = testing::random_normal<float>({16, 3, 3, 64}, 13, 0.3);
  for (int i = -1000; i <= 1000; ++i) w.span()[static_cast<std::size_t>(i + 1000)] = 0.0015f * static_cast<float>(i);
  double most = 0;
  for (const float v : w.span()) most = std::max(most, std::abs(std::tanh(static_cast<double>(v))));
  for (int bits = 2; bits <= 8; ++bits) {
    CAPTURE(bits);
    const Quantized q = quantizer.lower(w, bits, true);
    const auto& map = std::get<AffineCodes>(q.map);
    const int n = (1 << bits) - 1;
    CHECK(map.qmin == 0);
    CHECK(map.qmax == n);
    CHECK(map.step == 2);
    CHECK(map.zero_point == n);
    const Tensor<float> values = ops::decode(q);
    std::set<int> seen;
    for (std::int64_t i = 0; i < w.size(); ++i) {
      const int code = q.codes.data()[i];
      seen.insert(code);
      const double place = (std::tanh(static_cast<double>(w.data()[i])) / (2 * most) + 0.5) * n;
      REQUIRE(std::abs(code - place) <= 0.5 + 1e-4);
      REQUIRE(values.data()[i] == map.scale(0) * static_cast<float>(2 * code - n));
    }
    CHECK(*seen.begin() == 0);
    CHECK(*seen.rbegin() == n);
    CHECK(seen.size() == static_cast<std::size_t>(n + 1));
  }
}

TEST_CASE("quant: dorefa ties go to the even code, zeros to +1 in weights and to -1 in activations") {
  DorefaActivations activations;
  const Tensor<float> ties = Tensor<float>::from({6}, {0.1f, 0.5f / 15, 1.5f / 15, 2.5f / 15, -0.0f, 7.5f / 15});
  const Quantized q = activations.lower(ties, 4, false);
  CHECK(q.codes(1) == 0);
  CHECK(q.codes(3) == 2);
  CHECK(q.codes(4) == 0);
  CHECK(q.codes(5) == 8);
  const Tensor<float> zeros = Tensor<float>::from({2}, {0.0f, -0.0f});
  DorefaWeights weights;
  CHECK(testing::bit_equal(ops::decode(weights.lower(zeros, 1, true)), Tensor<float>::ones({2})));
  CHECK(testing::bit_equal(ops::decode(activations.lower(zeros, 1, true)), Tensor<float>::full({2}, -1.0f)));
  // All-zero weights: finite values and gradients.
  const QuantizerRun r = run_quantizer(weights, zeros, Tensor<float>::ones({2}), 2);
  CHECK(allclose(r.values, Tensor<float>::full({2}, 1.0f / 3)));
  CHECK(allclose(r.gradient, Tensor<float>::ones({2})));
}

TEST_CASE("quant: signed dorefa activations keep both signs, evenly around zero") {
  DorefaActivations quantizer({.is_signed = true});
  const Tensor<float> x = Tensor<float>::from({7}, {-3.0f, -1.0f, -0.3f, 0.0f, 0.3f, 0.74f, 3.0f});
  const QuantizerRun r = run_quantizer(quantizer, x, Tensor<float>::ones({7}), 3);
  CHECK(testing::bit_equal(r.values, Tensor<float>::from({7}, {-1.0f, -1.0f, -0.25f, 0.0f, 0.25f, 0.75f, 0.75f})));
  CHECK(testing::bit_equal(r.gradient, Tensor<float>::from({7}, {0.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 0.0f})));
  CHECK(ops::decode(quantizer.lower(x, 1, true))(2) == -1.0f);
  CHECK_THROWS_AS(DorefaActivations({.per_channel = true}), ValueError);
}
