// Tensors seen as Eigen matrices, without a copy. Eigen is included here and in cholesky.hpp alone.
#pragma once

// Eigen must not split work by itself: sums would depend on the number of threads.
#ifndef EIGEN_DONT_PARALLELIZE
#define EIGEN_DONT_PARALLELIZE
#endif
#include <Eigen/Core>
#include <type_traits>

#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {

template <class T>
using RowMajorMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using MatrixMap = Eigen::Map<RowMajorMatrix<T>>;
template <class T>
using ConstMatrixMap = Eigen::Map<const RowMajorMatrix<T>>;

namespace detail {
template <class T>
void check_matrix(const Tensor<T>& matrix) {
  check<ShapeError>(matrix.rank() == 2 && matrix.is_contiguous(), "as_matrix: shape ", matrix.shape(), " with strides ",
                    matrix.strides(), " given, expected a contiguous [rows,columns]");
}
}  // namespace detail

/// The elements of `matrix [rows,columns]` as an Eigen matrix that shares them and must not outlive them; throws
/// ShapeError unless it is contiguous and of rank 2.
template <Element T>
  requires std::is_arithmetic_v<T>
MatrixMap<T> as_matrix(Tensor<T>& matrix) {
  detail::check_matrix(matrix);
  return {matrix.data(), matrix.dim(0), matrix.dim(1)};
}
template <Element T>
  requires std::is_arithmetic_v<T>
ConstMatrixMap<T> as_matrix(const Tensor<T>& matrix) {
  detail::check_matrix(matrix);
  return {matrix.data(), matrix.dim(0), matrix.dim(1)};
}

}  // namespace v0
}  // namespace spnet
