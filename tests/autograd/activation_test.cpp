#include "spnet/autograd/activation.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "gradients.hpp"

using namespace spnet;

TEST_CASE("autograd: activations pass gradient checks") {
  Variable<double> dense(testing::random_normal<double>({3, 4, 5}, 1), true);
  Variable<double> strided(testing::random_normal<double>({5, 4, 3}, 2).permute({2, 1, 0}), true);
  const Variable<double> slope(testing::random_normal<double>({5}, 3), true), one(Tensor<double>::from({1}, {0.25}), true);
  for (const auto& x : {dense, strided}) {
    CHECK_GRADIENTS([](const Inputs& v) { return relu(v[0]); }, Inputs{x});
    CHECK_GRADIENTS([](const Inputs& v) { return clamp(v[0], -0.5, 0.75); }, Inputs{x});
    CHECK_GRADIENTS([](const Inputs& v) { return tanh(v[0]); }, Inputs{x});
    CHECK_GRADIENTS([](const Inputs& v) { return sigmoid(v[0]); }, Inputs{x});
    CHECK_GRADIENTS([](const Inputs& v) { return prelu(v[0], v[1]); }, Inputs{x, slope});
    CHECK_GRADIENTS([](const Inputs& v) { return prelu(v[0], v[1]); }, Inputs{x, one});
  }
}

TEST_CASE("autograd: activations at kinks, extremes and NaN") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  Variable<float> x(Tensor<float>::from({6}, {-1, 0, 2, nan, -inf, inf}), true);
  const auto y = relu(x);
  CHECK(testing::allclose(y.value(), Tensor<float>::from({6}, {0, 0, 2, nan, 0, inf}), 0, 0).ok);
  y.backward(Tensor<float>::ones({6}));
  CHECK(testing::allclose(x.grad(), Tensor<float>::from({6}, {0, 0, 1, 0, 0, 1}), 0, 0).ok);

  Variable<float> c(Tensor<float>::from({5}, {-1, 0, 0.5f, 1, 2}), true);
  clamp(c, 0.0f, 1.0f).backward(Tensor<float>::ones({5}));
  CHECK(testing::allclose(c.grad(), Tensor<float>::from({5}, {0, 1, 1, 1, 0}), 0, 0).ok);

  const Variable<float> far(Tensor<float>::from({2}, {-200, 200}));
  CHECK(testing::allclose(sigmoid(far).value(), Tensor<float>::from({2}, {0, 1}), 0, 1e-30).ok);
}

TEST_CASE("autograd: activations refuse bad options") {
  const Variable<float> x(Tensor<float>::zeros({2, 3}));
  CHECK_THROWS_WITH_AS(clamp(x, 1.0f, 0.0f), "clamp: [1, 0] given, expected low <= high", ValueError);
  CHECK_THROWS_WITH_AS(prelu(x, Variable<float>(Tensor<float>::zeros({2}))),
                       "prelu: slope [2] given, input [2,3] expects one for each channel or [1]", ShapeError);
}
