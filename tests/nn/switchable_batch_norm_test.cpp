#include "spnet/nn/switchable_batch_norm.hpp"

#include <doctest/doctest.h>

using namespace spnet;

namespace {

Variable<float> ramp(float offset) {
  Tensor<float> x({4, 2});
  for (std::int64_t i = 0; i < x.size(); ++i) x.data()[i] = offset + static_cast<float>(i);
  return Variable<float>(x);
}

}  // namespace

TEST_CASE("nn: every switch has parameters and statistics of its own") {
  nn::SwitchableBatchNorm norm(2, {{1, 1}, {32, 32}});
  CHECK(norm.parameters().size() == 4);
  CHECK(norm.parameters()[0].name == "w1a1.weight");
  CHECK(norm.buffers()[3].name == "w32a32.running_var");

  norm.set_precision({1, 1});
  norm(ramp(10));
  const auto buffers = norm.buffers();
  CHECK(buffers[0].tensor(0) == doctest::Approx(0.1 * 13));  // mean of 10, 12, 14, 16
  CHECK(buffers[2].tensor(0) == 0);                          // the other switch saw nothing
  norm.set_precision({32, 32});
  norm(ramp(0));
  CHECK(buffers[2].tensor(0) == doctest::Approx(0.1 * 3));
  CHECK(buffers[0].tensor(0) == doctest::Approx(0.1 * 13));
}

TEST_CASE("nn: evaluation uses the running statistics of the active switch, reversibly") {
  nn::SwitchableBatchNorm norm(2, {{2, 2}, {4, 4}});
  for (int bits : {2, 4}) {
    norm.set_precision({bits, bits});
    for (int i = 0; i < 100; ++i) norm(ramp(static_cast<float>(bits)));
  }
  norm.eval();
  norm.set_precision({2, 2});
  const auto before = norm(ramp(2)).value().clone();
  norm.set_precision({4, 4});
  const auto other = norm(ramp(2)).value().clone();
  norm.set_precision({2, 2});
  const auto after = norm(ramp(2)).value().clone();
  CHECK(std::equal(before.span().begin(), before.span().end(), after.span().begin()));
  CHECK(before(0, 0) != other(0, 0));
}

TEST_CASE("nn: a switch that was not made is refused by name") {
  nn::SwitchableBatchNorm norm(2, {{1, 1}, {2, 2}});
  CHECK_THROWS_WITH_AS(norm.set_precision({1, 2}), "set_precision: w1a2 given, but this layer was made for w1a1, w2a2",
                       ValueError);
  nn::SwitchableBatchNorm plain(2);
  plain.set_precision({1, 2});  // a plain batch norm serves any precision
  CHECK(plain.parameters()[0].name == "weight");
  CHECK_THROWS_AS(nn::SwitchableBatchNorm(0), ValueError);
}
