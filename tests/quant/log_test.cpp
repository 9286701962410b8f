#include "spnet/quant/log.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>

#include "quantizer_run.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;
using testing::random_normal;

namespace {

// |x| as a power of two, by the formula in double.
double power(double magnitude, double floor, double low, double high, int levels) {
  const double unit = (std::log2(std::max(magnitude, floor)) - low) / (high - low);
  return std::exp2(low + std::nearbyint(std::clamp(unit, 0.0, 1.0) * levels) / levels * (high - low));
}

}  // namespace

TEST_CASE("quant: log weights are signed powers of two, evenly spaced in the exponent") {
  LogWeights quantizer;
  const Tensor<float> w = random_normal<float>({5000}, 1, 0.7), g = random_normal<float>({5000}, 2);
  for (int bits = 2; bits <= 8; ++bits) {
    CAPTURE(bits);
    const float floor = bits == 2 ? 0.33f : bits == 3 ? 0.15f : 0.03f;
    const int levels = (1 << (bits - 1)) - 1;
    const QuantizerRun r = run_quantizer(quantizer, w, g, bits);
    CHECK(testing::bit_equal(r.values, ops::decode(r.lowered)));
    const auto& table = std::get<LutCodes>(r.lowered.map).table;
    CHECK(table.size() == 1 << bits);
    CHECK(std::is_sorted(table.span().begin(), table.span().end()));
    const double low = std::log2(floor), high = std::log2(ops::max_abs(w));
    std::set<int> seen;
    int far = 0;
    for (std::int64_t i = 0; i < w.size(); ++i) {
      seen.insert(r.lowered.codes(i));
      const double expected = std::copysign(power(std::abs(w(i)), floor, low, high, levels), w(i));
      far += std::abs(r.values(i) - expected) > 1e-5 * std::abs(expected);
      const double slope = std::abs(w(i)) >= floor ? std::abs(r.values(i)) / std::abs(w(i)) : 0.0;
      CHECK(r.gradient(i) == doctest::Approx(g(i) * slope).epsilon(1e-5));
    }
    CHECK(far <= 3);  // at ties, which the last bit of log2 decides
    if (bits <= 6) CHECK(seen.size() == static_cast<std::size_t>(1 << bits));
  }
  const QuantizerRun one =
      run_quantizer(quantizer, Tensor<float>::from({3}, {0.0f, -0.1f, 2.0f}), Tensor<float>::ones({3}), 1);
  CHECK(testing::bit_equal(one.values, Tensor<float>::from({3}, {1, -1, 1})));
  CHECK(testing::bit_equal(one.gradient, Tensor<float>::ones({3})));
}

TEST_CASE("quant: the log gradient is that of the function with its rounding error held fast") {
  LogWeights quantizer;
  const Tensor<float> w = random_normal<float>({60}, 3, 0.7), g = random_normal<float>({60}, 4);
  const QuantizerRun r = run_quantizer(quantizer, w, g, 4);
  const Tensor<double> start = w.to<double>();
  const auto relaxed = [&](const Tensor<double>& at) {
    double sum = 0;
    for (std::int64_t i = 0; i < at.size(); ++i) {
      const double error =
          std::log2(std::abs(static_cast<double>(r.values(i)))) - std::log2(std::max(std::abs(start(i)), 0.03));
      sum += g(i) * std::copysign(std::exp2(std::log2(std::max(std::abs(at(i)), 0.03)) + error), at(i));
    }
    return sum;
  };
  for (std::int64_t i = 0; i < w.size(); ++i)
    CHECK(r.gradient(i) == doctest::Approx(difference(relaxed, start, i)).epsilon(1e-4));
}

TEST_CASE("quant: log activations have 2^bits - 1 levels on one side, and the gradient of their slope, at every width") {
  Tensor<float> x = random_normal<float>({2000}, 5);
  for (float& v : x.span()) v = std::max(v, 0.0f);
  const Tensor<float> g = random_normal<float>({2000}, 6);
  const double low = std::log2(0.03), high = std::log2(ops::max_abs(x));
  for (int bits = 2; bits <= 8; ++bits) {
    CAPTURE(bits);
    LogActivations quantizer({.widths = {bits}});
    const QuantizerRun r = run_quantizer(quantizer, x, g, bits);
    int far = 0;
    for (std::int64_t i = 0; i < x.size(); ++i) {
      far += std::abs(r.values(i) - power(x(i), 0.03f, low, high, (1 << bits) - 1)) > 1e-4 * r.values(i);
      CHECK(r.gradient(i) == doctest::Approx(x(i) >= 0.03f ? g(i) * r.values(i) / x(i) : 0.0f).epsilon(1e-5));
    }
    CHECK(far <= 3);  // at ties, which the last bit of log2 decides
  }
}

TEST_CASE("quant: log activations use the batch's range in training and its running mean in evaluation") {
  LogActivations quantizer({.widths = {3}});
  Tensor<float> x = random_normal<float>({4000}, 5);
  for (float& v : x.span()) v = std::max(v, 0.0f);
  const Tensor<float> g = random_normal<float>({4000}, 6);
  const QuantizerRun r = run_quantizer(quantizer, x, g, 3);
  const double low = std::log2(0.03), high = std::log2(ops::max_abs(x));
  for (std::int64_t i = 0; i < x.size(); ++i) {
    CHECK(r.values(i) == doctest::Approx(power(x(i), 0.03f, low, high, 7)).epsilon(1e-4));
    CHECK(r.gradient(i) == doctest::Approx(x(i) >= 0.03f ? g(i) * r.values(i) / x(i) : 0.0f).epsilon(1e-5));
  }
  const auto buffers = quantizer.buffers();
  REQUIRE(buffers.size() == 1);
  CHECK(buffers[0].name == "running_low_high.3");
  CHECK(buffers[0].tensor(1) == doctest::Approx(high));
  quantizer.lower(ops::affine(x, 4.0f), 3, true);
  CHECK(buffers[0].tensor(1) == doctest::Approx(high + 0.2));
  const QuantizerRun evaluated = run_quantizer(quantizer, ops::affine(x, 100.0f), g, 3, false);
  CHECK(ops::extremes(evaluated.values, false).largest == doctest::Approx(std::exp2(high + 0.2)));
  CHECK(
      testing::allclose(run_quantizer(quantizer, Tensor<float>::zeros({4}), Tensor<float>::ones({4}), 3, false).values,
                        Tensor<float>::full({4}, 0.03f), 1e-5));
  // A tensor with one magnitude only.
  LogActivations flat({.widths = {3}});
  CHECK(testing::allclose(ops::decode(flat.lower(Tensor<float>::full({4}, 2.0f), 3, true)),
                          Tensor<float>::full({4}, 2.0f), 1e-6));
}

TEST_CASE("quant: log quantizers leave their running range alone where the batch was not finite") {
  LogActivations quantizer({.widths = {3}});
  const auto running = quantizer.buffers()[0].tensor;
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), std::nanf("")}) {
    for (const std::int64_t at : {0, 7}) {
      Tensor<float> x = Tensor<float>::ones({40});
      x(at) = bad;
      CHECK_THROWS_AS(quantizer.lower(x, 3, true), NumericError);
      CHECK_THROWS_AS(LogWeights().lower(x, 3, true), NumericError);
      CHECK(running(0) == 0);
      CHECK(running(2) == 0);
    }
  }
}
