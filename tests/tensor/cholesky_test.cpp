#include "spnet/tensor/cholesky.hpp"

#include <doctest/doctest.h>

#include <cmath>

using namespace spnet;

TEST_CASE("tensor: a Cholesky factor solves, inverts and has a determinant") {
  RowMajorMatrix<double> a(2, 2);
  a << 4, 2, 2, 3;
  const Cholesky factor(a);
  ColumnVector b(2);
  b << 2, 5;
  const ColumnVector x = factor.solve(b);
  CHECK(x(0) == doctest::Approx(-0.5));
  CHECK(x(1) == doctest::Approx(2));
  CHECK(factor.half_solve(b).squaredNorm() == doctest::Approx(b.dot(x)));
  CHECK(factor.log_determinant() == doctest::Approx(std::log(8.0)));
  CHECK((factor.inverse() * a - RowMajorMatrix<double>::Identity(2, 2)).norm() < 1e-12);
}

TEST_CASE("tensor: what is not positive definite has no Cholesky factor") {
  RowMajorMatrix<double> a(2, 2);
  a << 1, 2, 2, 1;
  CHECK_THROWS_AS(Cholesky{a}, NumericError);
  CHECK_THROWS_AS(Cholesky(RowMajorMatrix<double>(2, 3)), ShapeError);
}
