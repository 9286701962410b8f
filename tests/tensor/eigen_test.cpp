#include "spnet/tensor/eigen.hpp"

#include <doctest/doctest.h>

using namespace spnet;

TEST_CASE("tensor: an Eigen map shares the elements, row by row") {
  auto matrix = Tensor<float>::from({2, 3}, {1, 2, 3, 4, 5, 6});
  auto map = as_matrix(matrix);
  CHECK(map.rows() == 2);
  CHECK(map.cols() == 3);
  CHECK(map(1, 0) == 4);
  map(0, 2) = 30;
  CHECK(matrix(0, 2) == 30);
  CHECK(map.data() == matrix.data());
}

TEST_CASE("tensor: Eigen multiplies what the maps show") {
  const auto a = Tensor<double>::from({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto b = Tensor<double>::from({3, 1}, {1, 0, -1});
  Tensor<double> c({2, 1});
  as_matrix(c).noalias() = as_matrix(a) * as_matrix(b);
  CHECK(c(0, 0) == -2);
  CHECK(c(1, 0) == -2);
  CHECK(as_matrix(Tensor<int>::zeros({0, 4})).size() == 0);
}

TEST_CASE("tensor: only contiguous matrices are mapped") {
  auto matrix = Tensor<float>::zeros({2, 3});
  auto turned = matrix.transpose(0, 1);
  CHECK_THROWS_WITH_AS(as_matrix(turned),
                       "as_matrix: shape [3,2] with strides [1,3] given, expected a contiguous [rows,columns]", ShapeError);
  auto cube = Tensor<float>::zeros({2, 3, 4});
  CHECK_THROWS_AS(as_matrix(cube), ShapeError);
  Tensor<float> undefined;
  CHECK_THROWS_AS(as_matrix(undefined), ShapeError);
}
