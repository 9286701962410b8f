#include "spnet/ops/elementwise.hpp"

#include <doctest/doctest.h>

#include <utility>
#include <vector>

#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {
// Broadcasting by indices, one element at a time.
Tensor<float> plain_sub(const Tensor<float>& a, const Tensor<float>& b) {
  const Shape shape = broadcast_shapes(a.shape(), b.shape(), "sub");
  const Tensor<float> x = a.expand(shape).clone(), y = b.expand(shape).clone();
  Tensor<float> out(shape);
  for (std::int64_t i = 0; i < out.size(); ++i) out.data()[i] = x.data()[i] - y.data()[i];
  return out;
}
}  // namespace

TEST_CASE("ops: broadcasting agrees with one element at a time, for views too") {
  const std::vector<std::pair<Shape, Shape>> shapes = {
      {{3, 4}, {3, 4}}, {{2, 3, 4}, {4}}, {{2, 3, 4}, {3, 1}}, {{2, 1, 4}, {1, 3, 1}}, {{}, {5}},
      {{2, 3, 1, 5}, {3, 4, 1}}, {{1, 1}, {1}}, {{0, 3}, {3}}, {{70, 300}, {70, 1}}, {{40000}, {1}}};
  for (const auto& pair : shapes) {
    const Shape sa = pair.first, sb = pair.second;
    CAPTURE(sa);
    CAPTURE(sb);
    const auto a = testing::random_normal<float>(sa, 1), b = testing::random_normal<float>(sb, 2);
    CHECK(testing::bit_equal(ops::sub(a, b), plain_sub(a, b)));
    CHECK(testing::bit_equal(ops::sub(b, a), plain_sub(b, a)));
  }
  const auto a = testing::random_normal<float>({4, 3, 2}, 3).permute({2, 0, 1});
  const auto b = testing::random_normal<float>({3, 9}, 4).transpose(0, 1).narrow(0, 2, 4);
  CHECK(testing::bit_equal(ops::sub(a, b), plain_sub(a, b)));
  CHECK_THROWS_WITH_AS(ops::mul(a, Tensor<float>::zeros({2})), "mul: shapes [2,4,3] and [2] do not broadcast", ShapeError);
}

TEST_CASE("ops: addition in place, also of a strided term") {
  Tensor<float> sum = Tensor<float>::from({2, 2}, {1, 2, 3, 4});
  ops::add_(sum, Tensor<float>::from({2, 2}, {10, 20, 30, 40}).transpose(0, 1));
  CHECK(testing::bit_equal(sum, Tensor<float>::from({2, 2}, {11, 32, 23, 44})));
  CHECK_THROWS_WITH_AS(ops::add_(sum, Tensor<float>::zeros({4})), "add_: [4] given, expected [2,2]", ShapeError);
  Tensor<float> turned = sum.transpose(0, 1);
  CHECK_THROWS_AS(ops::add_(turned, sum), ShapeError);
}

TEST_CASE("ops: a gradient is reused only where nobody else holds it") {
  Tensor<float> own = Tensor<float>::zeros({4});
  CHECK(ops::reuse(own).data() == own.data());
  const Tensor<float> shared = own;
  CHECK(ops::reuse(own).data() != own.data());
}

TEST_CASE("ops: element-wise operators have the same bits for any number of threads") {
  const auto a = testing::random_normal<float>({300, 70, 3}, 5), b = testing::random_normal<float>({70, 3}, 6);
  std::vector<Tensor<float>> results;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    Tensor<float> sum = ops::exp(ops::mul(a, b));
    ops::add_(sum, a);
    results.push_back(sum);
  }
  set_num_threads(0);
  CHECK(testing::bit_equal(results[0], results[1]));
  CHECK(testing::bit_equal(results[0], results[2]));
}
