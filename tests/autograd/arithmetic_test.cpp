#include "spnet/autograd/arithmetic.hpp"

#include <doctest/doctest.h>

#include <utility>
#include <vector>

#include "gradients.hpp"

using namespace spnet;

TEST_CASE("autograd: arithmetic passes gradient checks, broadcasting both ways") {
  const std::vector<std::pair<Shape, Shape>> shapes = {
      {{3, 5}, {3, 5}}, {{2, 3, 5}, {5}}, {{5}, {2, 3, 5}}, {{3, 1}, {1, 4}}, {{2, 1, 3}, {4, 1}}, {{}, {2, 3}}, {{1}, {1}}};
  for (const auto& pair : shapes) {
    const Shape a = pair.first, b = pair.second;
    CAPTURE(a);
    CAPTURE(b);
    const Inputs inputs{leaf(a, 1), leaf(b, 2, 1, 5)};
    CHECK_GRADIENTS([](const Inputs& x) { return add(x[0], x[1]); }, inputs);
    CHECK_GRADIENTS([](const Inputs& x) { return x[0] - x[1]; }, inputs);
    CHECK_GRADIENTS([](const Inputs& x) { return x[0] * x[1]; }, inputs);
    CHECK_GRADIENTS([](const Inputs& x) { return x[0] / x[1]; }, inputs);
  }
}

TEST_CASE("autograd: arithmetic of non-contiguous inputs passes gradient checks") {
  Variable<double> a(testing::random_normal<double>({4, 3, 2}, 3).permute({2, 0, 1}), true);
  Variable<double> b(testing::random_normal<double>({3, 4}, 4, 1, 6).transpose(0, 1).narrow(1, 1, 1), true);
  REQUIRE(!a.value().is_contiguous());
  CHECK_GRADIENTS([](const Inputs& x) { return x[0] * x[1] / (x[1] - x[0]); }, Inputs{a, b});
}

TEST_CASE("autograd: scalars, exp, log and neg pass gradient checks") {
  const Inputs x{leaf({3, 7}, 5, 1, 6)};
  CHECK_GRADIENTS([](const Inputs& v) { return 2.0 * v[0] + 3.0 - v[0] * 0.5; }, x);
  CHECK_GRADIENTS([](const Inputs& v) { return (-v[0] - 1.0) / 4.0; }, x);
  CHECK_GRADIENTS([](const Inputs& v) { return exp(v[0] * 0.1); }, x);
  CHECK_GRADIENTS([](const Inputs& v) { return log(v[0]); }, x);
  CHECK_GRADIENTS([](const Inputs& v) { return neg(scale(v[0], 3.0)); }, x);
}

TEST_CASE("autograd: sums and means pass gradient checks and have the right values") {
  const Inputs x{leaf({2, 3, 4, 5}, 6)};
  for (const Dims& axes : {Dims{0}, Dims{3}, Dims{1, 2}, Dims{0, 1}, Dims{-1, 0}, Dims{0, 1, 2, 3}, Dims{}}) {
    CAPTURE(axes);
    CHECK_GRADIENTS([&](const Inputs& v) { return sum(v[0], axes); }, x);
    CHECK_GRADIENTS([&](const Inputs& v) { return mean(v[0], axes, true); }, x);
  }
  CHECK_GRADIENTS([](const Inputs& v) { return sum(v[0]); }, x);
  CHECK_GRADIENTS([](const Inputs& v) { return mean(v[0]); }, x);

  const Variable<float> y(Tensor<float>::from({2, 3}, {1, 2, 3, 4, 5, 6}));
  CHECK(testing::bit_equal(sum(y, {0}).value(), Tensor<float>::from({3}, {5, 7, 9})));
  CHECK(testing::bit_equal(sum(y, {1}).value(), Tensor<float>::from({2}, {6, 15})));
  CHECK(testing::bit_equal(mean(y, {1}, true).value(), Tensor<float>::from({2, 1}, {2, 5})));
  CHECK(mean(y).item() == 3.5f);
}

TEST_CASE("autograd: reshape, permute, narrow and concat pass gradient checks") {
  const Inputs x{leaf({2, 3, 4}, 7), leaf({2, 2, 4}, 8), leaf({2, 1, 4}, 9)};
  CHECK_GRADIENTS([](const Inputs& v) { return reshape(permute(v[0], {2, 0, 1}), {-1, 3}) * 2.0; }, x);
  CHECK_GRADIENTS([](const Inputs& v) { return narrow(v[0], 1, 1, 2) * v[1]; }, x);
  CHECK_GRADIENTS([](const Inputs& v) { return concat({v[0], v[1], v[2], v[0]}, 1); }, x);
  CHECK_GRADIENTS([](const Inputs& v) { return concat({v[0], v[0]}, -1) * 3.0; }, x);
}

TEST_CASE("autograd: shapes that do not fit are named") {
  const Variable<float> a(Tensor<float>::zeros({2, 3})), b(Tensor<float>::zeros({4}));
  CHECK_THROWS_WITH_AS(a + b, "add: shapes [2,3] and [4] do not broadcast", ShapeError);
  CHECK_THROWS_WITH_AS(a / b, "div: shapes [2,3] and [4] do not broadcast", ShapeError);
  CHECK_THROWS_WITH_AS(concat({a, b}, 0), "concat: shapes [2,3] and [4] differ in rank", ShapeError);
  CHECK_THROWS_WITH_AS(concat({a, Variable<float>(Tensor<float>::zeros({2, 4}))}, 0),
                       "concat: shapes [2,3] and [2,4] differ on another axis than 0", ShapeError);
  CHECK_THROWS_WITH_AS(sum(a, {1, -1}), "sum: axis -1 is named twice", ShapeError);
  CHECK_THROWS_AS(sum(a, {2}), ShapeError);
  CHECK_THROWS_WITH_AS(mean(Variable<float>(Tensor<float>::zeros({0, 3}))), "mean: shape [0,3] has no elements", ShapeError);
}

TEST_CASE("autograd: a check of a wrong gradient fails and says where") {
  const auto wrong = [](const Inputs& v) {
    return make_result<double>(v[0].value(), {v[0]}, [](const Tensor<double>& g, InputGradients<double>& into) {
      Tensor<double> dx = g.clone();
      dx(1) *= 1.1;
      into.add(0, dx);
    });
  };
  const auto report = testing::gradcheck(wrong, {leaf({3}, 10)});
  CHECK_FALSE(report.ok);
  CHECK(report.message.find("gradcheck: input 0 [3], element 1: analytic ") == 0);
}
