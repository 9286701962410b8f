#include "spnet/quant/dorefa.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "quantizer_run.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;
using testing::allclose;

namespace {

// Values and gradients of tools' PyTorch network (torch 1.13): quantize_weight and quantize_activation.
const Tensor<float> kW =
    Tensor<float>::from({12}, {0.321310431f, 0.0699333549f, 0.035591241f, -0.245487213f, 0.0f, -0.547303677f,
                               0.134998038f, 0.404446363f, -0.574071765f, 0.390972704f, 0.208819985f, 0.495166689f});
const Tensor<float> kA =
    Tensor<float>::from({12}, {0.0f, 1.0f, 1.5f, -0.25f, 0.741128683f, 0.652542055f, 0.396151215f, -0.131453589f,
                               -0.542369783f, -0.847285926f, 0.598157346f, 0.191133931f});
const Tensor<float> kG =
    Tensor<float>::from({12}, {-0.392150223f, 0.151914895f, -1.18373322f, 0.534360707f, -1.45102274f, -0.629374027f,
                               0.154415101f, -0.247990161f, 0.453501165f, 0.0120910909f, 1.34203553f, 1.46200371f});
const Tensor<float> kWeightGradient =
    Tensor<float>::from({12}, {-0.683516622f, 0.291649044f, -2.28079534f, 0.971188247f, -2.79934692f, -0.912474871f,
                               0.292537421f, -0.407974154f, 2.47185183f, 0.0200949647f, 2.47938967f, 2.22809076f});

}  // namespace

TEST_CASE("quant: dorefa weights agree with PyTorch") {
  DorefaWeights quantizer;
  const std::pair<int, Tensor<float>> expected[] = {
      {2, Tensor<float>::from({12}, {0.333333373f, 0.333333373f, 0.333333373f, -0.333333313f, 0.333333373f, -1.0f,
                                     0.333333373f, 1.0f, -1.0f, 1.0f, 0.333333373f, 1.0f})},
      {4, Tensor<float>::from({12}, {0.600000024f, 0.200000048f, 0.0666667223f, -0.466666639f, 0.0666667223f, -1.0f,
                                     0.200000048f, 0.733333349f, -1.0f, 0.733333349f, 0.333333373f, 0.866666675f})},
      {8,
       Tensor<float>::from({12}, {0.600000024f, 0.137254953f, 0.0666667223f, -0.466666639f, 0.003921628f, -0.960784316f,
                                  0.262745142f, 0.741176486f, -1.0f, 0.717647076f, 0.396078467f, 0.882352948f})}};
  for (const auto& [width, expected_values] : expected) {
    const int bits = width;
    const Tensor<float>& values = expected_values;
    CAPTURE(bits);
    const QuantizerRun r = run_quantizer(quantizer, kW, kG, bits);
    CHECK_MESSAGE(allclose(r.values, values, 0, 2e-7), allclose(r.values, values, 0, 2e-7).message);
    CHECK_MESSAGE(allclose(r.gradient, kWeightGradient, 1e-5, 1e-6),
                  allclose(r.gradient, kWeightGradient, 1e-5, 1e-6).message);
  }
  const QuantizerRun one = run_quantizer(quantizer, kW, kG, 1);
  for (std::int64_t i = 0; i < 12; ++i) CHECK(one.values(i) == (kW(i) >= 0 ? 1.0f : -1.0f));
  CHECK(testing::bit_equal(one.gradient, kG));
}

TEST_CASE("quant: dorefa weights share the maximum's gradient among ties, as PyTorch does") {
  DorefaWeights quantizer;
  const QuantizerRun r = run_quantizer(quantizer, Tensor<float>::from({4}, {0.5f, -0.5f, 0.1f, 0.5f}),
                                       Tensor<float>::from({4}, {1.0f, 2.0f, 3.0f, -1.0f}), 2);
  CHECK(allclose(r.values, Tensor<float>::from({4}, {1.0f, -1.0f, 0.333333373f, 1.0f}), 0, 2e-7));
  CHECK(allclose(r.gradient, Tensor<float>::from({4}, {2.46934676f, 2.63616157f, 6.4273715f, -0.934325516f}), 1e-5));
}

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

TEST_CASE("quant: dorefa activations agree with PyTorch") {
  DorefaActivations quantizer;
  const Tensor<float> inside = Tensor<float>::from({12}, {1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1});
  const std::pair<int, Tensor<float>> expected[] = {
      {2, Tensor<float>::from(
              {12}, {0, 1, 1, 0, 0.666666687f, 0.666666687f, 0.333333343f, 0, 0, 0, 0.666666687f, 0.333333343f})},
      {4, Tensor<float>::from(
              {12}, {0, 1, 1, 0, 0.733333349f, 0.666666687f, 0.400000006f, 0, 0, 0, 0.600000024f, 0.200000003f})},
      {8, Tensor<float>::from(
              {12}, {0, 1, 1, 0, 0.741176486f, 0.650980413f, 0.396078438f, 0, 0, 0, 0.600000024f, 0.192156866f})}};
  for (const auto& [width, expected_values] : expected) {
    const int bits = width;
    const Tensor<float>& values = expected_values;
    CAPTURE(bits);
    const QuantizerRun r = run_quantizer(quantizer, kA, kG, bits);
    CHECK(allclose(r.values, values, 0, 1e-7));
    CHECK(allclose(r.gradient, ops::mul(kG, inside), 0, 0));
  }
  const QuantizerRun one = run_quantizer(quantizer, kA, kG, 1);
  for (std::int64_t i = 0; i < 12; ++i) {
    CHECK(one.values(i) == (kA(i) > 0 ? 1.0f : -1.0f));
    CHECK(one.gradient(i) == (std::abs(kA(i)) <= 1 ? kG(i) : 0.0f));
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
