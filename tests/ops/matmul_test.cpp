#include "spnet/ops/matmul.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "spnet/core/parallel.hpp"
#include "spnet/core/random.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/float32_precision.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {

Tensor<float> random_matrix(std::int64_t rows, std::int64_t cols, std::uint64_t stream) {
  Tensor<float> t({rows, cols});
  Random random(3, stream);
  for (float& v : t.span()) v = random.uniform(-1.0f, 1.0f);
  return t;
}

}  // namespace

TEST_CASE("ops: matmul agrees with float64 loops, transposed or not, on every instruction set") {
  const std::int64_t sizes[][3] = {{1, 1, 1},   {128, 10, 64}, {7, 33, 100}, {65, 16, 3},
                                   {3, 200, 1}, {300, 48, 17}, {2, 130, 520}, {257, 5, 31}};
  for (const auto& size : sizes) {
    const std::int64_t m = size[0], n = size[1], k = size[2];
    for (int form = 0; form < 4; ++form) {
      const bool ta = form & 1, tb = form & 2;
      const Tensor<float> a = ta ? random_matrix(k, m, 1) : random_matrix(m, k, 1);
      const Tensor<float> b = tb ? random_matrix(n, k, 2) : random_matrix(k, n, 2);
      const Tensor<double> expected = ops::matmul(a.to<double>(), b.to<double>(), ta, tb);
      for (const kernels::KernelTable* table : kernels::available()) {
        CAPTURE(message(table->name, ' ', m, 'x', n, 'x', k, ta ? " ta" : "", tb ? " tb" : ""));
        kernels::force(table->name);
        set_num_threads(1);
        const Tensor<float> c = ops::matmul(a, b, ta, tb);
        set_num_threads(2);
        const Tensor<float> again = ops::matmul(a, b, ta, tb);
        set_num_threads(0);
        REQUIRE(c.shape() == Shape{m, n});
        CHECK(std::memcmp(c.data(), again.data(), static_cast<std::size_t>(c.size()) * sizeof(float)) == 0);
        double worst = 0.0;
        for (std::int64_t i = 0; i < c.size(); ++i)
          worst = std::max(worst, std::abs(static_cast<double>(c.data()[i]) - expected.data()[i]));
        CHECK(worst <= 6e-8 * (4.0 + static_cast<double>(k)));
      }
    }
  }
  kernels::force("");
}

TEST_CASE("ops: matmul in double is the definition") {
  const auto a = Tensor<double>::from({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto b = Tensor<double>::from({3, 2}, {1, 0, 0, 1, 2, 2});
  const Tensor<double> c = ops::matmul(a, b);
  CHECK(c(0, 0) == 7.0);
  CHECK(c(0, 1) == 8.0);
  CHECK(c(1, 0) == 16.0);
  CHECK(c(1, 1) == 17.0);
}

TEST_CASE("ops: matmul of views and of nothing") {
  const Tensor<float> a = random_matrix(4, 6, 1), b = random_matrix(4, 5, 2);
  const Tensor<float> c = ops::matmul(a.transpose(0, 1), b), d = ops::matmul(a, b, true);
  for (std::int64_t i = 0; i < c.size(); ++i) CHECK(c.data()[i] == doctest::Approx(d.data()[i]).epsilon(1e-5));
  CHECK(ops::matmul(Tensor<float>({0, 3}), Tensor<float>({3, 2})).shape() == Shape{0, 2});
  const Tensor<float> empty_sums = ops::matmul(Tensor<float>({2, 0}), Tensor<float>({0, 3}));
  for (float v : empty_sums.span()) CHECK(v == 0.0f);
}

TEST_CASE("ops: matmul names what does not fit") {
  const Tensor<float> a = random_matrix(2, 3, 1), b = random_matrix(4, 5, 2);
  CHECK_THROWS_WITH_AS(ops::matmul(a, b), "matmul: [2,3] and [4,5] given, inner sizes 3 and 4 differ", ShapeError);
  CHECK_THROWS_WITH_AS(ops::matmul(a, b, true, true),
                       "matmul: [2,3] transposed and [4,5] transposed given, inner sizes 2 and 5 differ", ShapeError);
  CHECK_THROWS_WITH_AS(ops::matmul(a, Tensor<float>::zeros({3})), "matmul: [2,3] and [3] given, expected two matrices",
                       ShapeError);
}

TEST_CASE("ops: products of matrices keep the precision that was asked for") {
  const Tensor<double> a = testing::random_normal<double>({40, 70}, 1), b = testing::random_normal<double>({70, 50}, 2);
  const Tensor<double> expected = ops::matmul(a, b);
  const auto error = [&] {
    const Tensor<double> c = ops::matmul(a.to<float>(), b.to<float>()).to<double>();
    double difference = 0, norm = 0;
    for (std::int64_t i = 0; i < c.size(); ++i) {
      difference += (c.data()[i] - expected.data()[i]) * (c.data()[i] - expected.data()[i]);
      norm += expected.data()[i] * expected.data()[i];
    }
    return std::sqrt(difference / norm);
  };
  for (const kernels::KernelTable* table : kernels::available()) {
    INFO(std::string(table->name));
    kernels::force(table->name);
    CHECK(error() < 1e-6);
    {
      const ops::Float32PrecisionGuard guard(ops::Float32Precision::kHigh);
      CHECK(error() < 1e-5);
    }
    const ops::Float32PrecisionGuard guard(ops::Float32Precision::kMedium);
    CHECK(error() < 6e-3);
    CHECK((error() > 1e-5) == (table->bf16.product != nullptr));
  }
  kernels::force("");
}
