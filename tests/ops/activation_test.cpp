#include "spnet/ops/activation.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "spnet/testing/compare.hpp"

using namespace spnet;

TEST_CASE("ops: relu and its adjoint have the same bits on every instruction set") {
  const auto x = testing::random_normal<float>({7, 37, 101}, 1), g = testing::random_normal<float>(x.shape(), 2);
  std::vector<Tensor<float>> values, gradients;
  for (const kernels::KernelTable* table : kernels::available()) {
    kernels::force(table->name);
    values.push_back(ops::relu(x));
    gradients.push_back(ops::relu_backward(g, values.back()));
  }
  kernels::force("");
  for (std::size_t i = 1; i < values.size(); ++i) {
    CHECK(testing::bit_equal(values[i], values[0]));
    CHECK(testing::bit_equal(gradients[i], gradients[0]));
  }
  for (std::int64_t i = 0; i < x.size(); ++i) {
    if (values[0].data()[i] != std::max(x.data()[i], 0.0f)) CHECK(values[0].data()[i] == std::max(x.data()[i], 0.0f));
    const float expected = x.data()[i] > 0 ? g.data()[i] : 0;
    if (gradients[0].data()[i] != expected) CHECK(gradients[0].data()[i] == expected);
  }
}

TEST_CASE("ops: the adjoint of relu writes where it is told") {
  const auto y = Tensor<float>::from({3}, {0, 1, 2});
  Tensor<float> g = Tensor<float>::from({3}, {5, 6, 7});
  CHECK(ops::relu_backward(g, y).data() != g.data());
  CHECK(g(0) == 5);
  CHECK(ops::relu_backward(g, y, g).data() == g.data());
  CHECK(g(0) == 0);
  CHECK_THROWS_WITH_AS(ops::relu_backward(g, Tensor<float>::zeros({2})), "relu_backward: gradient [3], output [2]", ShapeError);
}
