// Products of matrices, on the convolution kernels: a row of the left matrix is a pixel.
#pragma once

#include <type_traits>

#include "spnet/kernels/reference.hpp"
#include "spnet/ops/conv2d_correlate.hpp"
#include "spnet/ops/conv2d_weight_grad.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

namespace detail {

// The rows of a [m,k] as pixels, for c [m,n] = a · b, where b(l, j) is b[l * b_row + j * b_col].
inline Correlation matmul_correlation(std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t b_row,
                                      std::int64_t b_col) {
  Correlation pixels{1, 1, m, k, k, 1, 1, n, m * n, m * n, n, b_col, b_row, {}, false};
  pixels.phases.push_back({0, 1, m, {}});
  pixels.phases[0].taps.push_back({0, 0, 0});
  return pixels;
}
inline void matmul(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* b, std::int64_t b_row,
                   std::int64_t b_col, float* c) {
  const Correlation pixels = matmul_correlation(m, n, k, b_row, b_col);
  with_engine(pixels, false, [&]<class Engine>(const auto&... more) { Engine(pixels, b, more...)(a, c); });
}

// c [m,n] = aᵀ · b of a [k,m] and b [k,n]: the gradient of a pointwise convolution of k pixels, a column of them.
inline void matmul_transposed(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* b, float* c) {
  Correlation pixels{1, k, 1, n, n, 1, 1, m, k * m, m, m, n, 1, {}, false};
  pixels.phases.push_back({0, k, 1, {}});
  pixels.phases[0].taps.push_back({0, 0, 0});
  correlate_weight_grad(pixels, a, b, c);
}

}  // namespace detail

/// a [M,K] · b [K,N] → [M,N]; transpose_a takes a [K,M], transpose_b takes b [N,K]. The same bits for any number of
/// threads; on products of bf16 where float32_matmul_precision lets it. Throws ShapeError where an operand is no matrix or
/// the inner sizes differ.
template <class T>
Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b, bool transpose_a = false, bool transpose_b = false) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
  check<ShapeError>(a.rank() == 2 && b.rank() == 2, "matmul: ", a.shape(), " and ", b.shape(),
                    " given, expected two matrices");
  const std::int64_t m = a.dim(transpose_a ? 1 : 0), k = a.dim(transpose_a ? 0 : 1);
  const std::int64_t n = b.dim(transpose_b ? 0 : 1);
  check<ShapeError>(b.dim(transpose_b ? 1 : 0) == k, "matmul: ", a.shape(), transpose_a ? " transposed" : "", " and ",
                    b.shape(), transpose_b ? " transposed" : "", " given, inner sizes ", k, " and ",
                    b.dim(transpose_b ? 1 : 0), " differ");
  Tensor<T> c({m, n});
  if (c.size() == 0) return c;
  if (k == 0) {
    c.fill(T{});
    return c;
  }
  const Tensor<T> right = b.contiguous();
  const std::int64_t b_row = transpose_b ? 1 : n, b_col = transpose_b ? k : 1;
  if constexpr (std::is_same_v<T, float>) {
    if (transpose_a && !transpose_b) {
      detail::matmul_transposed(m, n, k, a.contiguous().data(), right.data(), c.data());
    } else {
      const Tensor<T> left = transpose_a ? a.transpose(0, 1).contiguous() : a.contiguous();
      detail::matmul(m, n, k, left.data(), right.data(), b_row, b_col, c.data());
    }
  } else {
    kernels::reference::matmul(m, n, k, a.contiguous().data(), transpose_a ? 1 : k, transpose_a ? m : 1, right.data(),
                               b_row, b_col, c.data());
  }
  return c;
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
