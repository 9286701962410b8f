// Quantizing with a scale that is learned, one for the tensor or one for each slice of the first axis: codes, and the
// gradient of values and scale.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "spnet/ops/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

namespace detail {

// x as `scales` rows of equal length.
inline std::int64_t row_length(const char* op, const Tensor<float>& x, std::int64_t scales) {
  check<ShapeError>(scales == 1 || (x.rank() > 0 && x.dim(0) == scales), op, ": ", scales, " scales given for ",
                    x.shape());
  return x.size() / std::max<std::int64_t>(scales, 1);
}

// Calls body(row, begin, end) for pieces of at most kElementwiseChunk elements that lie in one row.
template <class Body>
void row_pieces(std::int64_t rows, std::int64_t length, const Body& body) {
  const std::int64_t pieces = chunk_count(length, kElementwiseChunk);
  const std::int64_t step = std::max<std::int64_t>(1, kElementwiseChunk / std::max<std::int64_t>(length, 1));
  parallel_ranges(rows * pieces, step, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = i / pieces, at = i % pieces * kElementwiseChunk;
      body(i, row, row * length + at, row * length + std::min(length, at + kElementwiseChunk));
    }
  });
}

}  // namespace detail

/// code = round(clamp(x·(1/scale), low, high)) − low, half to even, 1/scale and the product rounded to float; scale
/// [1], or [C] for x [C,...]. Throws NumericError where x is not finite.
inline Tensor<std::uint8_t> scaled_codes(const char* quantizer, const Tensor<float>& x, const Tensor<float>& scale,
                                         int low, int high) {
  const Tensor<float> dense = x.contiguous();
  const std::int64_t length = detail::row_length("scaled_codes", x, scale.size());
  const float *from = dense.data(), *scales = scale.span().data();
  Tensor<std::uint8_t> codes(x.shape());
  std::uint8_t* to = codes.data();
  const auto kernel = kernels::active().quantize.uniform_codes;
  std::atomic<bool> finite{true};
  detail::row_pieces(scale.size(), length, [&](std::int64_t, std::int64_t row, std::int64_t begin, std::int64_t end) {
    if (!kernel({from + begin, end - begin, 1.0f / scales[row], static_cast<float>(low), static_cast<float>(high),
                 to + begin}))
      finite.store(false, std::memory_order_relaxed);
  });
  if (!finite.load()) detail::throw_not_finite(quantizer, dense);
  return codes;
}

/// What `scale_gradient` clips to, in units of the scale: level = unit · (step·code − zero_point).
struct ScaleRange {
  float unit = 1;
  float low = 0, high = 0;
};

/// From the gradient of values scale·level, level being x/scale rounded and clipped to the range, the gradient of x
/// (returned: passes strictly inside the range) and of the scale, level − x/scale inside and level outside, times
/// `factor` (added to `of_scale`, of the scale's shape). `dx` may be the memory of `gradient`. LSQ, eq. 3.
inline Tensor<float> scale_gradient(const Tensor<float>& gradient, const Tensor<float>& x,
                                    const Tensor<std::uint8_t>& codes, const AffineCodes& map,
                                    const Tensor<float>& scale, ScaleRange range, float factor, Tensor<float>& of_scale,
                                    Tensor<float> dx = {}) {
  check<ShapeError>(gradient.shape() == x.shape() && codes.shape() == x.shape(), "scale_gradient: gradient ",
                    gradient.shape(), ", input ", x.shape(), ", codes ", codes.shape());
  if (!dx.defined()) dx = Tensor<float>(x.shape());
  const Tensor<float> dense_gradient = gradient.contiguous(), dense_x = x.contiguous();
  const Tensor<std::uint8_t> dense_codes = codes.contiguous();
  const std::int64_t rows = scale.size(), length = detail::row_length("scale_gradient", x, rows);
  const std::int64_t pieces = chunk_count(length, kElementwiseChunk);
  const float *g = dense_gradient.data(), *at = dense_x.data(), *scales = scale.span().data();
  const std::uint8_t* code = dense_codes.data();
  float* to = dx.span().data();
  std::vector<double, PoolAllocator<double>> partial(static_cast<std::size_t>(rows * pieces));
  const auto kernel = kernels::active().quantize.scale_gradient;
  detail::row_pieces(rows, length, [&](std::int64_t piece, std::int64_t row, std::int64_t begin, std::int64_t end) {
    partial[static_cast<std::size_t>(piece)] =
        kernel({g + begin, at + begin, code + begin, end - begin, map.step, map.zero_point, range.unit,
                1.0f / scales[row], range.low, range.high, to + begin});
  });
  float* out = of_scale.span().data();
  for (std::int64_t row = 0; row < rows; ++row) {
    double sum = 0;
    for (std::int64_t i = 0; i < pieces; ++i) sum += partial[static_cast<std::size_t>(row * pieces + i)];
    out[row] += static_cast<float>(sum * factor);
  }
  return dx;
}

/// The mean of f(index) over each slice of the first axis, or over everything where `rows` is 1: [rows].
template <class F>
Tensor<float> row_means(const Tensor<float>& x, std::int64_t rows, const F& f) {
  const std::int64_t length = detail::row_length("row_means", x, rows), pieces = chunk_count(length, kElementwiseChunk);
  std::vector<double, PoolAllocator<double>> partial(static_cast<std::size_t>(rows * pieces));
  detail::row_pieces(rows, length, [&](std::int64_t piece, std::int64_t, std::int64_t begin, std::int64_t end) {
    double sum = 0;
    for (std::int64_t i = begin; i < end; ++i) sum += f(i);
    partial[static_cast<std::size_t>(piece)] = sum;
  });
  Tensor<float> out({rows});
  for (std::int64_t row = 0; row < rows; ++row) {
    double sum = 0;
    for (std::int64_t i = 0; i < pieces; ++i) sum += partial[static_cast<std::size_t>(row * pieces + i)];
    out.data()[row] = length > 0 ? static_cast<float>(sum / static_cast<double>(length)) : 0.0f;
  }
  return out;
}

/// mean |x| of each slice of the first axis, or of everything where `rows` is 1: [rows].
inline Tensor<float> mean_abs(const Tensor<float>& x, std::int64_t rows) {
  const Tensor<float> dense = x.contiguous();
  const float* from = dense.data();
  return row_means(dense, rows, [from](std::int64_t i) { return std::abs(static_cast<double>(from[i])); });
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
