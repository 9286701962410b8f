#include "spnet/autograd/pool.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "gradients.hpp"

using namespace spnet;

TEST_CASE("autograd: pooling passes gradient checks") {
  const Variable<double> dense(testing::random_normal<double>({2, 7, 6, 3}, 1), true);
  const Variable<double> strided(testing::random_normal<double>({2, 3, 7, 6}, 2).permute({0, 2, 3, 1}), true);
  const std::vector<Pool2dOptions> cases = {{},
                                            {.kernel = 3, .stride = 2, .padding = 1},
                                            {.kernel = 3, .stride = 1, .padding = 1, .count_include_pad = false},
                                            {.kernel = 2, .stride = 3},
                                            {.kernel = 6, .stride = 1, .padding = 3}};
  for (const auto& x : {dense, strided}) {
    for (const auto& options : cases) {
      CAPTURE(options.kernel);
      CHECK_GRADIENTS([&](const Inputs& v) { return max_pool2d(v[0], options); }, Inputs{x});
      CHECK_GRADIENTS([&](const Inputs& v) { return avg_pool2d(v[0], options); }, Inputs{x});
    }
    CHECK_GRADIENTS([](const Inputs& v) { return global_avg_pool2d(v[0]); }, Inputs{x});
  }
}

TEST_CASE("autograd: pooling has the values of PyTorch") {
  Tensor<float> x({1, 4, 4, 1});
  for (std::int64_t i = 0; i < 16; ++i) x.data()[i] = static_cast<float>(i);
  const Variable<float> v(x);
  CHECK(testing::bit_equal(max_pool2d(v).value(), Tensor<float>::from({1, 2, 2, 1}, {5, 7, 13, 15})));
  CHECK(testing::bit_equal(max_pool2d(v, {.kernel = 3, .stride = 2, .padding = 1}).value(),
                           Tensor<float>::from({1, 2, 2, 1}, {5, 7, 13, 15})));
  CHECK(testing::bit_equal(avg_pool2d(v).value(), Tensor<float>::from({1, 2, 2, 1}, {2.5, 4.5, 10.5, 12.5})));
  CHECK(testing::allclose(avg_pool2d(v, {.kernel = 3, .stride = 2, .padding = 1}).value(),
                          Tensor<float>::from({1, 2, 2, 1}, {10 / 9.0f, 24 / 9.0f, 51 / 9.0f, 90 / 9.0f})).ok);
  CHECK(testing::allclose(avg_pool2d(v, {.kernel = 3, .stride = 2, .padding = 1, .count_include_pad = false}).value(),
                          Tensor<float>::from({1, 2, 2, 1}, {2.5, 4, 8.5, 10})).ok);
  CHECK(testing::bit_equal(global_avg_pool2d(v).value(), Tensor<float>::from({1, 1}, {7.5})));
}

TEST_CASE("autograd: max pooling takes the first of equals and keeps NaN; padding never wins") {
  Variable<float> ties(Tensor<float>::full({1, 2, 2, 1}, -3), true);
  max_pool2d(ties, {.kernel = 2, .padding = 1}).backward(Tensor<float>::ones({1, 2, 2, 1}));
  CHECK(testing::bit_equal(ties.grad(), Tensor<float>::ones({1, 2, 2, 1})));
  CHECK(max_pool2d(ties, {.kernel = 2, .padding = 1}).value()(0, 0, 0, 0) == -3);
  ties.zero_grad();
  max_pool2d(ties).backward(Tensor<float>::ones({1, 1, 1, 1}));
  CHECK(testing::bit_equal(ties.grad(), Tensor<float>::from({1, 2, 2, 1}, {1, 0, 0, 0})));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(max_pool2d(Variable<float>(Tensor<float>::from({1, 2, 2, 1}, {5, nan, 7, 1}))).value().item()));
}

TEST_CASE("autograd: pooling has the same bits for any number of threads") {
  const auto x = testing::random_normal<float>({5, 11, 13, 19}, 3);
  std::vector<std::vector<Tensor<float>>> results;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    const Variable<float> v(x, true);
    const auto a = max_pool2d(v, {.kernel = 3, .stride = 2, .padding = 1});
    const auto b = avg_pool2d(v, {.kernel = 3, .stride = 1, .padding = 1});
    const auto c = global_avg_pool2d(v);
    a.backward(a.value());
    b.backward(b.value());
    c.backward(c.value());
    results.push_back({a.value(), b.value(), c.value(), v.grad()});
  }
  set_num_threads(0);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(testing::bit_equal(results[0][i], results[1][i]));
    CHECK(testing::bit_equal(results[0][i], results[2][i]));
  }
}

TEST_CASE("autograd: pooling names what does not fit") {
  const Variable<float> x(Tensor<float>::zeros({1, 4, 4, 2}));
  CHECK_THROWS_WITH_AS(max_pool2d(Variable<float>(Tensor<float>::zeros({4, 4}))),
                       "max_pool2d: input [4,4] given, expected [N,H,W,C]", ShapeError);
  CHECK_THROWS_WITH_AS(avg_pool2d(x, {.kernel = 5}), "avg_pool2d: input [1,4,4,2] with padding 0 is smaller than the kernel of 5",
                       ShapeError);
  CHECK_THROWS_WITH_AS(max_pool2d(x, {.kernel = 3, .padding = 2}),
                       "max_pool2d: padding 2 given, expected 0 to half the kernel of 3", ValueError);
  CHECK_THROWS_AS(max_pool2d(x, {.kernel = 0}), ValueError);
  CHECK_THROWS_AS(max_pool2d(x, {.kernel = 2, .stride = -1}), ValueError);
  CHECK_THROWS_AS(global_avg_pool2d(Variable<float>(Tensor<float>::zeros({1, 0, 4, 2}))), ShapeError);
}
