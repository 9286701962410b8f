#include "spnet/tensor/print.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace spnet;

TEST_CASE("tensor: scalars, vectors and undefined tensors are printed") {
  CHECK(message(Tensor<float>::scalar(1.5f)) == "1.5 (shape [])");
  CHECK(message(Tensor<int>::from({3}, {1, -20, 3})) == "[  1, -20,   3] (shape [3])");
  CHECK(message(Tensor<float>()) == "undefined tensor");
  CHECK(message(Tensor<float>::zeros({0})) == "[] (shape [0])");
}

TEST_CASE("tensor: matrices line up, blocks are set apart") {
  CHECK(message(Tensor<float>::from({2, 2}, {1, 0.25f, -3, 1.0f / 3})) == "[[     1,   0.25],\n [    -3, 0.3333]] (shape [2,2])");
  CHECK(message(Tensor<int>::from({2, 2, 1}, {1, 2, 3, 4})) == "[[[1],\n  [2]],\n\n [[3],\n  [4]]] (shape [2,2,1])");
  CHECK(message(Tensor<int>::from({2, 2}, {1, 2, 3, 4}).transpose(0, 1)) == "[[1, 3],\n [2, 4]] (shape [2,2])");
}

TEST_CASE("tensor: long axes are abbreviated") {
  Tensor<int> range({1500});
  for (int i = 0; i < 1500; ++i) range(i) = i;
  CHECK(message(range) == "[   0,    1,    2, ..., 1497, 1498, 1499] (shape [1500])");
  CHECK(message(Tensor<int>::zeros({400, 4})) ==
        "[[0, 0, 0, 0],\n [0, 0, 0, 0],\n [0, 0, 0, 0],\n ...,\n [0, 0, 0, 0],\n [0, 0, 0, 0],\n [0, 0, 0, 0]] (shape [400,4])");
  CHECK(message(Tensor<int>::zeros({9})) == "[0, 0, 0, 0, 0, 0, 0, 0, 0] (shape [9])");
}

TEST_CASE("tensor: every element type prints as a number") {
  CHECK(message(Tensor<std::int8_t>::from({2}, {65, -1})) == "[65, -1] (shape [2])");
  CHECK(message(Tensor<std::uint8_t>::from({1}, {255})) == "[255] (shape [1])");
  CHECK(message(Tensor<bool>::from({2}, {true, false})) == "[ true, false] (shape [2])");
  CHECK(message(Tensor<bf16>::from({1}, {bf16(0.5f)})) == "[0.5] (shape [1])");
  CHECK(message(Tensor<double>::scalar(std::numeric_limits<double>::infinity())) == "inf (shape [])");
}
