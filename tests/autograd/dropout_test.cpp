#include "spnet/autograd/dropout.hpp"

#include <doctest/doctest.h>

#include "spnet/testing/compare.hpp"
#include "spnet/testing/gradcheck.hpp"

using namespace spnet;

TEST_CASE("autograd: dropout passes gradient checks for a fixed position") {
  const Variable<double> x(testing::random_normal<double>({5, 7}, 1), true);
  const auto report = testing::gradcheck(
      [](const std::vector<Variable<double>>& v) {
        Random random(3, 1, 40);
        return dropout(v[0], 0.4, random, true);
      },
      {x});
  CHECK_MESSAGE(report.ok, report.message);
}

TEST_CASE("autograd: dropout drops its share, scales the rest and moves the stream on") {
  const Variable<float> x(Tensor<float>::ones({100, 100}));
  Random random(5);
  const auto y = dropout(x, 0.25, random, true).value();
  CHECK(random.position() == 10000);
  std::int64_t dropped = 0;
  for (float v : y.span()) {
    CHECK((v == 0 || v == 1 / 0.75f));
    dropped += v == 0;
  }
  CHECK(dropped > 2300);
  CHECK(dropped < 2700);
  CHECK_FALSE(testing::bit_equal(y, dropout(x, 0.25, random, true).value()));
  Random again(5);
  set_num_threads(1);
  CHECK(testing::bit_equal(y, dropout(x, 0.25, again, true).value()));
  set_num_threads(0);
  CHECK(testing::bit_equal(x.value(), dropout(x, 0.25, again, false).value()));
  CHECK(again.position() == 10000);
  const auto none = dropout(x, 1, again, true).value();
  for (float v : none.span()) CHECK(v == 0);
  CHECK_THROWS_WITH_AS(dropout(x, 1.5, random, true), "dropout: p 1.5 given, expected 0 to 1", ValueError);
}
