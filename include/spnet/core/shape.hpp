// Shapes and strides of up to eight dimensions, held inline: no shape ever touches the heap.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <ostream>
#include <span>

#include "spnet/core/error.hpp"

namespace spnet {
inline namespace v0 {

inline constexpr int kMaxRank = 8;

/// A list of at most kMaxRank integers: the sizes or the strides (in elements) of a tensor.
class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<std::int64_t> values) : Dims(std::span(values.begin(), values.size())) {}
  explicit Dims(std::span<const std::int64_t> values) : rank_(static_cast<int>(values.size())) {
    check<ShapeError>(values.size() <= kMaxRank, "Dims: ", values.size(), " dimensions, at most ", kMaxRank);
    std::copy(values.begin(), values.end(), values_.begin());
  }

  int rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  /// Element `i`; negative counts from the end, as in PyTorch. Throws ShapeError outside the rank.
  std::int64_t operator[](int i) const { return values_[static_cast<std::size_t>(index(i))]; }
  std::int64_t& operator[](int i) { return values_[static_cast<std::size_t>(index(i))]; }
  const std::int64_t* begin() const { return values_.data(); }
  const std::int64_t* end() const { return values_.data() + rank_; }
  std::int64_t back() const { return (*this)[-1]; }

  void push_back(std::int64_t value) {
    check<ShapeError>(rank_ < kMaxRank, "Dims: more than ", kMaxRank, " dimensions");
    values_[static_cast<std::size_t>(rank_++)] = value;
  }
  void erase(int i) {
    const int at = index(i);
    std::copy(values_.begin() + at + 1, values_.begin() + rank_, values_.begin() + at);
    --rank_;
  }
  void insert(int i, std::int64_t value) {
    check<ShapeError>(rank_ < kMaxRank && i >= 0 && i <= rank_, "Dims: cannot insert at ", i, " of ", rank_);
    std::copy_backward(values_.begin() + i, values_.begin() + rank_, values_.begin() + rank_ + 1);
    values_[static_cast<std::size_t>(i)] = value;
    ++rank_;
  }

  friend bool operator==(const Dims& a, const Dims& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }
  friend std::ostream& operator<<(std::ostream& out, const Dims& dims) {
    out << '[';
    for (int i = 0; i < dims.rank_; ++i) out << (i ? "," : "") << dims.values_[static_cast<std::size_t>(i)];
    return out << ']';
  }

  /// Maps a possibly negative axis into [0, rank).
  int index(int i) const {
    check<ShapeError>(i >= -rank_ && i < rank_, "Dims: axis ", i, " of a rank-", rank_, " shape");
    return i < 0 ? i + rank_ : i;
  }

 private:
  std::array<std::int64_t, kMaxRank> values_{};
  int rank_ = 0;
};

using Shape = Dims;
using Strides = Dims;

/// Product of the sizes; 1 for a scalar. Throws ShapeError on a negative size or where the product passes 2^63 − 1.
inline std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (std::int64_t size : shape) {
    check<ShapeError>(size >= 0, "shape: negative size in ", shape);
    if (__builtin_mul_overflow(count, size, &count)) throw ShapeError(message("shape: ", shape, " has too many elements"));
  }
  return count;
}

/// Row-major strides, in elements; throws ShapeError where one passes 2^63 − 1.
inline Strides contiguous_strides(const Shape& shape) {
  Strides strides = shape;
  std::int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = step;
    if (__builtin_mul_overflow(step, std::max<std::int64_t>(shape[i], 1), &step))
      throw ShapeError(message("shape: ", shape, " has too many elements"));
  }
  return strides;
}

/// The shape two operands broadcast to (NumPy's rule); throws ShapeError, naming `op`, where they do not fit.
inline Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op) {
  Shape out = a.rank() >= b.rank() ? a : b;
  for (int i = 1; i <= out.rank(); ++i) {
    const std::int64_t x = i <= a.rank() ? a[-i] : 1;
    const std::int64_t y = i <= b.rank() ? b[-i] : 1;
    check<ShapeError>(x == y || x == 1 || y == 1, op, ": shapes ", a, " and ", b, " do not broadcast");
    out[-i] = x == 1 ? y : x;
  }
  return out;
}

}  // namespace v0
}  // namespace spnet
