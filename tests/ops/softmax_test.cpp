#include "spnet/ops/softmax.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "spnet/ops/reduce.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

TEST_CASE("ops: softmax sums to one, softens with temperature and agrees with its logarithm") {
  const auto x = testing::random_normal<double>({70, 11}, 1, 3);
  for (const double temperature : {0.5, 1.0, 4.0}) {
    const auto p = ops::softmax(x, temperature);
    CHECK(testing::allclose(ops::sum(p, {1}), Tensor<double>::ones({70}), 1e-12, 0).ok);
    CHECK(testing::allclose(ops::log(p), ops::log_softmax(x, temperature), 1e-9, 1e-9).ok);
    CHECK(testing::allclose(p, ops::softmax(ops::affine(x, 1 / temperature)), 1e-9, 1e-12).ok);
  }
}

TEST_CASE("ops: softmax does not overflow and does not hide NaN") {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const auto p = ops::softmax(Tensor<float>::from({2, 3}, {3e38f, -3e38f, 0, -inf, 0, 0}));
  CHECK(testing::allclose(p, Tensor<float>::from({2, 3}, {1, 0, 0, 0, 0.5, 0.5}), 1e-6, 0).ok);
  const auto q = ops::softmax(Tensor<float>::from({2}, {nan, 0}));
  CHECK(std::isnan(q(0)));
  CHECK(std::isnan(q(1)));
}

TEST_CASE("ops: softmax refuses what it cannot do") {
  CHECK_THROWS_WITH_AS(ops::softmax(Tensor<float>::zeros({2, 0})), "softmax: shape [2,0] given, expected [...,K] with K > 0",
                       ShapeError);
  CHECK_THROWS_WITH_AS(ops::log_softmax(Tensor<float>::zeros({2}), 0), "log_softmax: temperature 0 given, expected > 0", ValueError);
  CHECK_THROWS_AS(ops::softmax(Tensor<float>::scalar(1)), ShapeError);
}

TEST_CASE("ops: smoothed labels are distributions") {
  const auto p = ops::smoothed_one_hot<double>(Tensor<std::int32_t>::from({2}, {3, 0}), 4, 0.2);
  CHECK(testing::allclose(p, Tensor<double>::from({2, 4}, {0.05, 0.05, 0.05, 0.85, 0.85, 0.05, 0.05, 0.05}), 1e-12, 0).ok);
}
