#include "spnet/quant/xnor.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "quantizer_run.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

TEST_CASE("quant: xnor scales each filter's signs by its mean magnitude, and passes gradients through both") {
  XnorWeights quantizer;
  const Tensor<float> w = testing::random_normal<float>({3, 2, 2, 5}, 1),
                      g = testing::random_normal<float>(w.shape(), 2);
  const QuantizerRun r = run_quantizer(quantizer, w, g, 1);
  const auto& map = std::get<AffineCodes>(r.lowered.map);
  CHECK(map.channel_axis == 0);
  const Tensor<double> start = w.to<double>();
  // sign replaced by w plus what is missing to the sign at the start.
  const auto relaxed = [&](const Tensor<double>& at) {
    double sum = 0;
    for (int filter = 0; filter < 3; ++filter) {
      double mean = 0;
      for (int i = 20 * filter; i < 20 * filter + 20; ++i) mean += std::abs(at.data()[i]) / 20;
      for (int i = 20 * filter; i < 20 * filter + 20; ++i) {
        const double sign = start.data()[i] >= 0 ? 1 : -1;
        sum += g.data()[i] * mean * (at.data()[i] + sign - start.data()[i]);
      }
      CHECK(map.scale(filter) == doctest::Approx(mean).epsilon(1e-5));
    }
    return sum;
  };
  for (std::int64_t i = 0; i < w.size(); ++i) {
    CHECK(r.values.data()[i] == (w.data()[i] >= 0 ? 1.0f : -1.0f) * map.scale(i / 20));
    CHECK(r.gradient.data()[i] == doctest::Approx(difference(relaxed, start, i)).epsilon(1e-4));
  }
}

TEST_CASE("quant: xnor above 1 bit is dorefa, and a filter of zeros stays usable") {
  XnorWeights quantizer;
  DorefaWeights dorefa;
  const Tensor<float> w = testing::random_normal<float>({4, 9}, 3), g = testing::random_normal<float>({4, 9}, 4);
  CHECK(testing::bit_equal(run_quantizer(quantizer, w, g, 3).values, run_quantizer(dorefa, w, g, 3).values));
  CHECK(testing::bit_equal(run_quantizer(quantizer, w, g, 3).gradient, run_quantizer(dorefa, w, g, 3).gradient));
  const QuantizerRun zeros = run_quantizer(quantizer, Tensor<float>::zeros({2, 3}), Tensor<float>::ones({2, 3}), 1);
  for (const float v : zeros.values.span()) CHECK(std::abs(v) < 1e-30f);
}
