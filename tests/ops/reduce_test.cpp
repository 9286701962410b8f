#include "spnet/ops/reduce.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {
// Sums by indices, in double.
Tensor<double> plain_sum(const Tensor<float>& x, unsigned gone) {
  Shape kept = x.shape();
  for (int i = 0; i < x.rank(); ++i)
    if (gone >> i & 1u) kept[i] = 1;
  Tensor<double> out = Tensor<double>::zeros(kept);
  const Strides strides = contiguous_strides(kept);
  const Tensor<float> dense = x.contiguous();
  for (std::int64_t i = 0; i < x.size(); ++i) {
    std::int64_t rest = i, to = 0;
    for (int axis = x.rank() - 1; axis >= 0; --axis) {
      if (!(gone >> axis & 1u)) to += rest % x.dim(axis) * strides[axis];
      rest /= x.dim(axis);
    }
    out.data()[to] += static_cast<double>(dense.data()[i]);
  }
  return out;
}
}  // namespace

TEST_CASE("ops: sums over every set of axes agree with plain loops") {
  const auto dense = testing::random_normal<float>({3, 4, 5, 6}, 1);
  for (const auto& x : {dense, dense.permute({3, 1, 0, 2}), dense.narrow(2, 1, 3)}) {
    for (unsigned gone = 0; gone < 16; ++gone) {
      CAPTURE(gone);
      Dims axes;
      for (int i = 0; i < 4; ++i)
        if (gone >> i & 1u) axes.push_back(i - 4);
      const auto same = testing::allclose(ops::sum(x, axes, true), plain_sum(x, gone), 1e-6, 1e-6);
      CHECK_MESSAGE(same.ok, same.message);
      CHECK(ops::sum(x, axes).rank() == 4 - axes.rank());
    }
  }
  CHECK(ops::sum(Tensor<float>::zeros({0, 3}), {0}).shape() == Shape{3});
  CHECK(ops::sum(Tensor<float>::zeros({0, 3})).item() == 0);
  CHECK(ops::sum(Tensor<float>::scalar(4)).item() == 4);
}

TEST_CASE("ops: long sums are accurate and have the same bits for any number of threads") {
  const auto x = testing::random_normal<float>({3, 200'001}, 2, 1, 100);
  double exact = 0;
  for (float v : x.span()) exact += static_cast<double>(v);
  std::vector<std::vector<Tensor<float>>> results;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    results.push_back({ops::sum(x), ops::sum(x, {1}), ops::sum(x, {0}), ops::sum(x.transpose(0, 1), {0})});
  }
  set_num_threads(0);
  CHECK(results[0][0].item() == static_cast<float>(exact));
  for (std::size_t i = 0; i < results[0].size(); ++i) {
    CHECK(testing::bit_equal(results[0][i], results[1][i]));
    CHECK(testing::bit_equal(results[0][i], results[2][i]));
  }
}

TEST_CASE("ops: summing to a shape undoes broadcasting to it") {
  const auto x = testing::random_normal<float>({2, 3, 4}, 3);
  CHECK(ops::sum_to(x, {2, 3, 4}).data() == x.data());
  CHECK(testing::bit_equal(ops::sum_to(x, {4}), ops::sum(x, {0, 1})));
  CHECK(testing::bit_equal(ops::sum_to(x, {3, 1}), ops::sum(x, {0, 2}).reshape({3, 1})));
  CHECK(testing::bit_equal(ops::sum_to(x, {1, 1, 4}), ops::sum(x, {0, 1}).reshape({1, 1, 4})));
  CHECK(ops::sum_to(x, {}).shape() == Shape{});
}
