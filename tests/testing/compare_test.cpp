#include "spnet/testing/compare.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace spnet;

TEST_CASE("testing: allclose tells the worst element") {
  const auto a = Tensor<float>::from({2, 2}, {1, 2, 3.5f, 4}), b = Tensor<float>::from({2, 2}, {1, 2.1f, 3, 4});
  const auto result = testing::allclose(a, b, 0, 1e-3);
  CHECK_FALSE(result.ok);
  CHECK(result.message.find("allclose: element 2 of [2,2] is 3.5, expected 3 (max absolute error 0.5") == 0);
  CHECK(result.max_absolute == doctest::Approx(0.5));
  CHECK(testing::allclose(a, b, 0, 0.51).ok);
  CHECK(testing::allclose(a, b, 0.2, 0).ok);
  CHECK_FALSE(testing::allclose(a, b.reshape({4})).ok);
}

TEST_CASE("testing: allclose knows NaN and infinities") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  const auto one = [](float v) { return Tensor<float>::from({1}, {v}); };
  CHECK(testing::allclose(one(nan), one(nan)).ok);
  CHECK(testing::allclose(one(inf), one(inf)).ok);
  CHECK_FALSE(testing::allclose(one(nan), one(1)).ok);
  CHECK_FALSE(testing::allclose(one(1), one(nan)).ok);
  CHECK_FALSE(testing::allclose(one(1), one(inf)).ok);
  CHECK_FALSE(testing::allclose(one(inf), one(-inf)).ok);
}

TEST_CASE("testing: bit equality tells zeros apart and looks through strides") {
  CHECK_FALSE(testing::bit_equal(Tensor<float>::from({1}, {0.0f}), Tensor<float>::from({1}, {-0.0f})));
  const auto a = Tensor<float>::from({2, 2}, {1, 2, 3, 4});
  CHECK(testing::bit_equal(a.transpose(0, 1), Tensor<float>::from({2, 2}, {1, 3, 2, 4})));
  CHECK_FALSE(testing::bit_equal(a, a.reshape({4})));
}
