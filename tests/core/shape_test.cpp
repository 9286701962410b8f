#include "spnet/core/shape.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace spnet;

TEST_CASE("core: dimensions are indexed from both ends") {
  const Shape shape{2, 3, 4};
  CHECK(shape.rank() == 3);
  CHECK(shape[0] == 2);
  CHECK(shape[-1] == 4);
  CHECK(shape.back() == 4);
  CHECK(shape.index(-3) == 0);
  CHECK_THROWS_WITH_AS(shape[3], "Dims: axis 3 of a rank-3 shape", ShapeError);
  CHECK_THROWS_AS(shape[-4], ShapeError);
  CHECK_THROWS_AS(Shape{}[0], ShapeError);
  CHECK(Shape{}.empty());
  CHECK_THROWS_AS(Shape{}.back(), ShapeError);
}

TEST_CASE("core: dimensions can be inserted and removed, up to eight") {
  Shape shape{2, 4};
  shape.insert(1, 3);
  CHECK(shape == Shape{2, 3, 4});
  shape.insert(0, 1);
  shape.insert(4, 5);
  CHECK(shape == Shape{1, 2, 3, 4, 5});
  shape.erase(-1);
  shape.erase(0);
  CHECK(shape == Shape{2, 3, 4});
  shape.erase(1);
  CHECK(shape == Shape{2, 4});
  CHECK_THROWS_AS(shape.insert(3, 1), ShapeError);
  CHECK_THROWS_AS(shape.insert(-1, 1), ShapeError);
  CHECK_THROWS_AS(shape.erase(2), ShapeError);

  Shape full{1, 2, 3, 4, 5, 6, 7, 8};
  CHECK_THROWS_AS(full.push_back(9), ShapeError);
  CHECK_THROWS_AS(full.insert(0, 9), ShapeError);
  full.erase(7);
  full.push_back(9);
  CHECK(full.back() == 9);
  CHECK_THROWS_WITH_AS((Shape{1, 2, 3, 4, 5, 6, 7, 8, 9}), "Dims: 9 dimensions, at most 8", ShapeError);
  const std::vector<std::int64_t> many(1000, 1);
  CHECK_THROWS_AS((Dims{std::span<const std::int64_t>(many)}), ShapeError);
}

TEST_CASE("core: shapes compare and print") {
  CHECK(Shape{2, 3} == Shape{2, 3});
  CHECK(Shape{2, 3} != Shape{3, 2});
  CHECK(Shape{2, 3} != Shape{2, 3, 1});
  CHECK(Shape{} == Shape{});
  CHECK(message(Shape{2, 3, 4}) == "[2,3,4]");
  CHECK(message(Shape{}) == "[]");
}

TEST_CASE("core: element counts are exact or refused") {
  CHECK(element_count({}) == 1);
  CHECK(element_count({2, 3, 4}) == 24);
  CHECK(element_count({2, 0, 4}) == 0);
  CHECK(element_count({std::int64_t{1} << 31, std::int64_t{1} << 31}) == std::int64_t{1} << 62);
  CHECK_THROWS_WITH_AS(element_count({2, -1}), "shape: negative size in [2,-1]", ShapeError);
  CHECK_THROWS_AS(element_count({std::int64_t{1} << 32, std::int64_t{1} << 31}), ShapeError);
  CHECK_THROWS_AS(element_count({std::int64_t{1} << 32, std::int64_t{1} << 32, 0}), ShapeError);
}

TEST_CASE("core: row-major strides") {
  CHECK(contiguous_strides({2, 3, 4}) == Strides{12, 4, 1});
  CHECK(contiguous_strides({5}) == Strides{1});
  CHECK(contiguous_strides({}) == Strides{});
  CHECK(contiguous_strides({2, 0, 4}) == Strides{4, 4, 1});
  CHECK_THROWS_WITH_AS(contiguous_strides({0, std::int64_t{1} << 32, std::int64_t{1} << 31}),
                       "shape: [0,4294967296,2147483648] has too many elements", ShapeError);
}

TEST_CASE("core: broadcasting follows NumPy's rule") {
  CHECK(broadcast_shapes({2, 3}, {2, 3}, "add") == Shape{2, 3});
  CHECK(broadcast_shapes({2, 1, 4}, {3, 1}, "add") == Shape{2, 3, 4});
  CHECK(broadcast_shapes({}, {2, 3}, "add") == Shape{2, 3});
  CHECK(broadcast_shapes({4}, {2, 3, 4}, "add") == Shape{2, 3, 4});
  CHECK(broadcast_shapes({1}, {0}, "add") == Shape{0});
  CHECK_THROWS_WITH_AS(broadcast_shapes({2, 3}, {2, 4}, "add"), "add: shapes [2,3] and [2,4] do not broadcast", ShapeError);
  CHECK_THROWS_AS(broadcast_shapes({0}, {2}, "add"), ShapeError);
}
