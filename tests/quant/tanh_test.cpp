#include "spnet/quant/tanh.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "quantizer_run.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;
using testing::random_normal;

TEST_CASE("quant: tanh activations are the weight form in training, with a running maximum for evaluation") {
  TanhActivations quantizer({.widths = {2, 4}});
  DorefaWeights form;
  const Tensor<float> x = random_normal<float>({2, 5, 5, 3}, 1), g = random_normal<float>(x.shape(), 2);
  const QuantizerRun r = run_quantizer(quantizer, x, g, 4), expected = run_quantizer(form, x, g, 4);
  CHECK(testing::bit_equal(r.values, expected.values));
  CHECK(testing::bit_equal(r.gradient, expected.gradient));

  const auto buffers = quantizer.buffers();
  REQUIRE(buffers.size() == 2);
  CHECK(buffers[0].name == "running_max.2");
  CHECK(buffers[1].name == "running_max.4");
  CHECK(buffers[0].tensor(0) == 0);
  const float first = std::tanh(ops::max_abs(x));
  CHECK(buffers[1].tensor(0) == doctest::Approx(first));
  quantizer.lower(ops::affine(x, 0.1f), 4, true);
  const float range = buffers[1].tensor(0);
  CHECK(range == doctest::Approx(0.9f * first + 0.1f * std::tanh(0.1f * ops::max_abs(x))));

  // Evaluation: that range, clipped beyond it, and it stays as it is.
  const Tensor<float> large = ops::affine(x, 3.0f);
  const QuantizerRun evaluated = run_quantizer(quantizer, large, g, 4, false);
  CHECK(buffers[1].tensor(0) == range);
  for (std::int64_t i = 0; i < x.size(); ++i) {
    const double t = std::tanh(static_cast<double>(large.data()[i]));
    const double place = std::clamp((t / (2.0 * range) + 0.5) * 15, 0.0, 15.0);
    CHECK(std::abs(evaluated.lowered.codes.data()[i] - place) <= 0.5001);
    const double slope = std::abs(t) <= range ? (1 - t * t) / range : 0.0;
    CHECK(evaluated.gradient.data()[i] == doctest::Approx(g.data()[i] * slope).epsilon(1e-3));
  }
  TanhActivations restored({.widths = {2, 4}});
  for (std::size_t i = 0; i < 2; ++i) restored.buffers()[i].tensor.copy_from(buffers[i].tensor);
  CHECK(testing::bit_equal(ops::decode(restored.lower(large, 4, false)), evaluated.values));
}

TEST_CASE("quant: tanh activations before any training, at 1 bit, and at a width they were not made for") {
  TanhActivations quantizer({.widths = {1, 2}});
  const Tensor<float> x = Tensor<float>::from({4}, {0.0f, 0.5f, -0.5f, 2.0f}), g = Tensor<float>::ones({4});
  CHECK(testing::bit_equal(run_quantizer(quantizer, x, g, 2, false).values,
                           run_quantizer(quantizer, x, g, 2, true).values));
  const QuantizerRun one = run_quantizer(quantizer, x, g, 1);
  CHECK(testing::bit_equal(one.values, Tensor<float>::from({4}, {-1, 1, -1, 1})));
  CHECK(testing::bit_equal(one.gradient, Tensor<float>::from({4}, {1, 1, 1, 0})));
  CHECK_THROWS_WITH_AS(quantizer.lower(x, 3, true), "quantize: tanh activations got 3 bits, but was made for 1, 2",
                       ValueError);
}
