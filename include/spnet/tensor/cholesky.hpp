// Symmetric positive definite systems, by Eigen's Cholesky factor.
#pragma once

#include "spnet/tensor/eigen.hpp"  // first: it says how Eigen is to work

#include <Eigen/Cholesky>
#include <cmath>

namespace spnet {
inline namespace v0 {

using ColumnVector = Eigen::VectorXd;

/// A = L·Lᵀ, factored once for any number of systems.
class Cholesky {
 public:
  /// Reads the lower triangle of `a` [n,n]. Throws ShapeError where it is not square, NumericError where it is not
  /// positive definite.
  explicit Cholesky(const RowMajorMatrix<double>& a) {
    check<ShapeError>(a.rows() == a.cols(), "Cholesky: a matrix [", a.rows(), ",", a.cols(),
                      "] given, expected a square");
    factor_.compute(a);
    check<NumericError>(factor_.info() == Eigen::Success, "Cholesky: a matrix [", a.rows(), ",", a.cols(),
                        "] is not positive definite");
  }

  /// A⁻¹·b.
  ColumnVector solve(const ColumnVector& b) const { return factor_.solve(b); }
  /// L⁻¹·b, whose squares add up to bᵀ·A⁻¹·b.
  ColumnVector half_solve(const ColumnVector& b) const { return factor_.matrixL().solve(b); }
  RowMajorMatrix<double> inverse() const {
    return factor_.solve(RowMajorMatrix<double>::Identity(factor_.rows(), factor_.cols()));
  }
  double log_determinant() const {
    double sum = 0;
    for (Eigen::Index i = 0; i < factor_.rows(); ++i) sum += std::log(factor_.matrixLLT()(i, i));
    return 2 * sum;
  }

 private:
  Eigen::LLT<RowMajorMatrix<double>> factor_;
};

}  // namespace v0
}  // namespace spnet
