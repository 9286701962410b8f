#include "spnet/core/error.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace spnet;

TEST_CASE("core: check joins its arguments only on failure") {
  CHECK_NOTHROW(check<ShapeError>(true, "conv2d: never seen"));
  CHECK_THROWS_WITH_AS(check<ShapeError>(false, "conv2d: input has ", 3, " channels, expected ", 4L),
                       "conv2d: input has 3 channels, expected 4", ShapeError);
  CHECK_THROWS_AS(check(false, "plain"), Error);
}

TEST_CASE("core: every error is an Error and a runtime_error") {
  CHECK_THROWS_AS(throw ShapeError("a"), Error);
  CHECK_THROWS_AS(throw ValueError("a"), Error);
  CHECK_THROWS_AS(throw FileError("a"), Error);
  CHECK_THROWS_AS(throw NumericError("a"), std::runtime_error);
}

TEST_CASE("core: message prints mixed types") {
  CHECK(message('w', 2, "a", 4.5, std::string("!")) == "w2a4.5!");
}

TEST_CASE("core: join prints the elements of a range with a separator between") {
  CHECK(join(std::vector<int>{1, 2, 4}) == "1, 2, 4");
  CHECK(join(std::vector<int>{}).empty());
  CHECK(join(std::vector<int>{1, 2, 4}, [](int i) { return 10 * i; }, "/") == "10/20/40");
}
