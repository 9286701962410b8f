// Sums over axes. Partial sums are taken in double over fixed chunks and combined in order.
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "spnet/core/parallel.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

namespace detail {

// out[c] = Σ over rows of x[r][c].
template <class T>
void column_sums(const T* x, std::int64_t rows, std::int64_t columns, T* out) {
  const std::int64_t step = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(columns, 1));
  const std::int64_t chunks = chunk_count(rows, step);
  std::vector<double, PoolAllocator<double>> sums(static_cast<std::size_t>(std::max<std::int64_t>(chunks, 1) * columns));
  parallel_for(chunks, [&](std::int64_t chunk) {
    double* partial = sums.data() + chunk * columns;
    for (std::int64_t r = chunk * step, end = std::min(rows, r + step); r < end; ++r)
      for (std::int64_t c = 0; c < columns; ++c) partial[c] += static_cast<double>(x[r * columns + c]);
  });
  for (std::int64_t chunk = 1; chunk < chunks; ++chunk)
    for (std::int64_t c = 0; c < columns; ++c)
      sums[static_cast<std::size_t>(c)] += sums[static_cast<std::size_t>(chunk * columns + c)];
  for (std::int64_t c = 0; c < columns; ++c) out[c] = static_cast<T>(sums[static_cast<std::size_t>(c)]);
}

// Σ of `count` adjacent elements; four lanes, so that the additions overlap.
template <class T>
double sum_of(const T* x, std::int64_t count) {
  std::array<double, 4> lane{};
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4)
    for (std::size_t j = 0; j < 4; ++j) lane[j] += static_cast<double>(x[i + static_cast<std::int64_t>(j)]);
  for (; i < count; ++i) lane[0] += static_cast<double>(x[i]);
  return (lane[0] + lane[1]) + (lane[2] + lane[3]);
}

// out[r] = Σ over columns of x[r][c].
template <class T>
void row_sums(const T* x, std::int64_t rows, std::int64_t columns, T* out) {
  constexpr std::int64_t kLong = 65536;
  if (columns <= kLong) {
    const std::int64_t step = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(columns, 1));
    parallel_ranges(rows, step, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) out[r] = static_cast<T>(sum_of(x + r * columns, columns));
    });
    return;
  }
  const std::int64_t chunks = chunk_count(columns, kLong);
  std::vector<double, PoolAllocator<double>> partial(static_cast<std::size_t>(chunks));
  for (std::int64_t r = 0; r < rows; ++r) {
    parallel_ranges(columns, kLong, [&](std::int64_t begin, std::int64_t end) {
      partial[static_cast<std::size_t>(begin / kLong)] = sum_of(x + r * columns + begin, end - begin);
    });
    double sum = 0;
    for (double p : partial) sum += p;
    out[r] = static_cast<T>(sum);
  }
}

}  // namespace detail

/// Sum over `axes` (negative counts from the end), which go away, or stay with size 1 where `keep_axes`.
/// Throws ShapeError on an axis outside the rank or named twice.
template <class T>
Tensor<T> sum(const Tensor<T>& x, const Dims& axes, bool keep_axes = false) {
  std::array<bool, kMaxRank> gone{};
  for (std::int64_t axis : axes) {
    const auto at = static_cast<std::size_t>(x.shape().index(static_cast<int>(axis)));
    check<ShapeError>(!gone[at], "sum: axis ", axis, " is named twice");
    gone[at] = true;
  }
  Shape kept, out_shape;
  std::array<int, kMaxRank> order{};
  int next = 0;
  bool leading = true;  // only the first axes go: columns are summed in place
  for (int i = 0; i < x.rank(); ++i) {
    if (gone[static_cast<std::size_t>(i)]) {
      leading = leading && kept.empty();
      if (keep_axes) out_shape.push_back(1);
      continue;
    }
    order[static_cast<std::size_t>(next++)] = i;
    kept.push_back(x.dim(i));
    out_shape.push_back(x.dim(i));
  }
  Tensor<T> out(out_shape);
  if (x.size() == 0) {
    out.fill(T{});
    return out;
  }
  const std::int64_t count = x.size() / out.size();
  if (leading && !kept.empty()) {
    const Tensor<T> dense = x.contiguous();
    detail::column_sums(dense.data(), count, out.size(), out.data());
    return out;
  }
  for (int i = 0; i < x.rank(); ++i)
    if (gone[static_cast<std::size_t>(i)]) order[static_cast<std::size_t>(next++)] = i;
  const Tensor<T> dense = x.permute(std::span<const int>(order.data(), static_cast<std::size_t>(x.rank()))).contiguous();
  detail::row_sums(dense.data(), out.size(), count, out.data());
  return out;
}

/// Sum of all elements, of shape [].
template <class T>
Tensor<T> sum(const Tensor<T>& x) {
  const Tensor<T> dense = x.contiguous();
  Tensor<T> out{Shape{}};
  detail::row_sums(dense.data(), 1, x.size(), out.data());
  return out;
}

/// The adjoint of broadcasting: sums `x` down to `shape`, which broadcasts to its shape. Returns `x` where nothing is to do.
template <class T>
Tensor<T> sum_to(const Tensor<T>& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  Dims axes;
  for (int i = 0; i < x.rank(); ++i) {
    const int at = i - (x.rank() - shape.rank());
    if (at < 0 || (shape[at] == 1 && x.dim(i) != 1)) axes.push_back(i);
  }
  return sum(x, axes).reshape(shape);
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
