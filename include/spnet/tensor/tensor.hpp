// Tensor<T>: a strided view of shared, pooled memory.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <type_traits>

#include "spnet/core/bf16.hpp"
#include "spnet/core/error.hpp"
#include "spnet/core/memory.hpp"
#include "spnet/core/shape.hpp"

namespace spnet {
inline namespace v0 {

template <class T>
concept Element = std::is_trivially_copyable_v<T> && (std::is_arithmetic_v<T> || std::same_as<T, bf16>);

/// A strided view of shared memory. Copies and views share the elements, as in PyTorch; `clone()` makes new ones.
/// Image tensors are NHWC, convolution weights [O, kH, kW, C/groups]. A default-constructed tensor is undefined.
template <Element T>
class Tensor {
 public:
  using value_type = T;

  Tensor() = default;
  /// New row-major tensor with uninitialised elements; throws ShapeError on a negative size.
  explicit Tensor(const Shape& shape) : shape_(shape), strides_(contiguous_strides(shape)) {
    size_ = element_count(shape);
    check<ShapeError>(size_ <= static_cast<std::int64_t>((std::uint64_t{1} << 46) / sizeof(T)), "Tensor: ", shape,
                      " is too large");
    buffer_ = Buffer(static_cast<std::size_t>(size_) * sizeof(T));
    data_ = static_cast<T*>(buffer_.data());
  }

  /// Row-major view of `buffer` from byte `offset` on, a multiple of the element's size; throws ShapeError where it
  /// ends before the elements do.
  Tensor(const Buffer& buffer, std::size_t offset, const Shape& shape)
      : buffer_(buffer), shape_(shape), strides_(contiguous_strides(shape)), size_(element_count(shape)) {
    check<ShapeError>(offset % sizeof(T) == 0 && offset <= buffer.size_bytes() &&
                          static_cast<std::size_t>(size_) <= (buffer.size_bytes() - offset) / sizeof(T),
                      "Tensor: ", shape, " from byte ", offset, " on does not fit a buffer of ", buffer.size_bytes(),
                      " bytes");
    data_ = reinterpret_cast<T*>(static_cast<std::byte*>(buffer.data()) + offset);
  }

  /// New tensors of one value; they throw as the constructor.
  static Tensor full(const Shape& shape, T value) {
    Tensor out(shape);
    std::fill_n(out.data_, out.size_, value);
    return out;
  }
  static Tensor zeros(const Shape& shape) { return full(shape, T{}); }
  static Tensor ones(const Shape& shape)
    requires std::is_arithmetic_v<T>
  {
    return full(shape, T{1});
  }
  /// Copies `values`, row-major; throws ShapeError unless their number is that of `shape`.
  static Tensor from(const Shape& shape, std::span<const T> values) {
    Tensor out(shape);
    check<ShapeError>(static_cast<std::int64_t>(values.size()) == out.size_, "Tensor::from: ", values.size(),
                      " values given, shape ", shape, " expects ", out.size_);
    std::copy(values.begin(), values.end(), out.data_);
    return out;
  }
  static Tensor from(const Shape& shape, std::initializer_list<T> values) {
    return from(shape, std::span<const T>(values.begin(), values.size()));
  }
  /// Shape [].
  static Tensor scalar(T value) { return full({}, value); }

  bool defined() const { return static_cast<bool>(buffer_); }
  const Shape& shape() const { return shape_; }
  const Strides& strides() const { return strides_; }
  /// Size along `axis`; negative counts from the end.
  std::int64_t dim(int axis) const { return shape_[axis]; }
  int rank() const { return shape_.rank(); }
  std::int64_t size() const { return size_; }
  /// First element; elements are adjacent only where `is_contiguous()`.
  T* data() { return data_; }
  const T* data() const { return data_; }
  bool is_contiguous() const {
    if (size_ == 0) return true;
    std::int64_t step = 1;
    for (int i = rank() - 1; i >= 0; --i) {
      if (shape_[i] != 1 && strides_[i] != step) return false;
      step *= shape_[i];
    }
    return true;
  }
  /// True where nothing else shares the memory, so that it may be written in place.
  bool unique() const { return buffer_.unique(); }

  /// The elements of a contiguous tensor; throws ShapeError otherwise.
  std::span<T> span() {
    require_contiguous("Tensor::span");
    return {data_, static_cast<std::size_t>(size_)};
  }
  std::span<const T> span() const {
    require_contiguous("Tensor::span");
    return {data_, static_cast<std::size_t>(size_)};
  }

  /// Element at `indices`; throws ShapeError where their number or a value is out of range.
  template <std::convertible_to<std::int64_t>... Index>
  T& operator()(Index... indices) {
    return data_[offset_of({static_cast<std::int64_t>(indices)...})];
  }
  template <std::convertible_to<std::int64_t>... Index>
  const T& operator()(Index... indices) const {
    return data_[offset_of({static_cast<std::int64_t>(indices)...})];
  }
  /// The one element of a tensor of size 1; throws ShapeError otherwise.
  T item() const {
    check<ShapeError>(size_ == 1, "Tensor::item: shape ", shape_, " given, expected one element");
    return *data_;
  }

  /// New row-major tensor with the same elements.
  Tensor clone() const {
    Tensor out(shape_);
    copy_to(out.data_);
    return out;
  }
  /// This tensor where it is already row-major, a clone otherwise.
  Tensor contiguous() const { return is_contiguous() ? *this : clone(); }
  /// Writes the elements, row-major, to `out`.
  void copy_to(T* out) const {
    if (is_contiguous()) {
      std::copy_n(data_, size_, out);
      return;
    }
    for_each_offset([&](std::int64_t offset) { *out++ = data_[offset]; });
  }
  /// Overwrites the elements with those of `source`, which may share memory with this one. Throws ShapeError on another shape.
  void copy_from(const Tensor& source) {
    check<ShapeError>(shape_ == source.shape_, "Tensor::copy_from: ", source.shape_, " given, expected ", shape_);
    const bool may_overlap = source.buffer_.data() == buffer_.data();
    const Tensor dense = may_overlap ? source.clone() : source.contiguous();
    const T* in = dense.data_;
    for_each_offset([&](std::int64_t offset) { data_[offset] = *in++; });
  }
  /// Sets every element, through views too.
  void fill(T value) {
    for_each_offset([&](std::int64_t offset) { data_[offset] = value; });
  }
  /// Elements converted by static_cast (bf16 by way of float).
  template <Element U>
  Tensor<U> to() const {
    Tensor<U> out(shape_);
    U* next = out.data();
    using Through = std::conditional_t<std::same_as<T, bf16>, float, T>;
    for_each_offset([&](std::int64_t offset) { *next++ = static_cast<U>(static_cast<Through>(data_[offset])); });
    return out;
  }

  /// Same elements under another shape, one size of which may be −1 (inferred); copies only where strides demand it.
  /// Throws ShapeError unless the number of elements stays the same.
  Tensor reshape(Shape shape) const {
    const auto inferred = std::find(shape.begin(), shape.end(), -1);
    if (inferred != shape.end()) {
      const Shape given = shape;
      const int axis = static_cast<int>(inferred - shape.begin());
      shape[axis] = 1;
      check<ShapeError>(std::count(shape.begin(), shape.end(), -1) == 0, "Tensor::reshape: two sizes of −1 in ", given);
      const std::int64_t known = element_count(shape);
      check<ShapeError>(known > 0 && size_ % known == 0, "Tensor::reshape: ", shape_, " does not divide into ", given);
      shape[axis] = size_ / known;
    }
    check<ShapeError>(element_count(shape) == size_, "Tensor::reshape: ", shape, " given for ", size_, " elements");
    Tensor out = contiguous();
    out.shape_ = shape;
    out.strides_ = contiguous_strides(shape);
    return out;
  }
  /// View with axes in the order `axes`. In all views a negative axis counts from the end, and an axis, a range or a shape
  /// that does not fit is a ShapeError.
  Tensor permute(std::initializer_list<int> axes) const {
    return permute(std::span<const int>(axes.begin(), axes.size()));
  }
  Tensor permute(std::span<const int> axes) const {
    check<ShapeError>(static_cast<int>(axes.size()) == rank(), "Tensor::permute: ", axes.size(), " axes given, rank is ",
                      rank());
    Tensor out = *this;
    unsigned seen = 0;
    int i = 0;
    for (int axis : axes) {
      const int from = shape_.index(axis);
      check<ShapeError>(!(seen >> from & 1u), "Tensor::permute: axis ", axis, " is named twice");
      seen |= 1u << from;
      out.shape_[i] = shape_[from];
      out.strides_[i++] = strides_[from];
    }
    return out;
  }
  /// View with two axes exchanged.
  Tensor transpose(int a, int b) const {
    Tensor out = *this;
    std::swap(out.shape_[a], out.shape_[b]);
    std::swap(out.strides_[a], out.strides_[b]);
    return out;
  }
  /// View of `length` entries from `begin` along `axis`.
  Tensor narrow(int axis, std::int64_t begin, std::int64_t length) const {
    check<ShapeError>(begin >= 0 && length >= 0 && begin <= dim(axis) - length, "Tensor::narrow: ", length,
                      " entries from ", begin, " on axis ", axis, " of shape ", shape_);
    Tensor out = *this;
    out.data_ += begin * strides_[axis];
    out.shape_[axis] = length;
    out.size_ = element_count(out.shape_);
    return out;
  }
  /// View of entry `i` along `axis`, one rank lower.
  Tensor select(int axis, std::int64_t i) const {
    Tensor out = narrow(axis, i, 1);
    const int at = shape_.index(axis);
    out.shape_.erase(at);
    out.strides_.erase(at);
    return out;
  }
  /// View broadcast to `shape` (NumPy's rule, strides of 0); not to be written through.
  Tensor expand(const Shape& shape) const {
    check<ShapeError>(broadcast_shapes(shape_, shape, "Tensor::expand") == shape, "Tensor::expand: ", shape_,
                      " does not expand to ", shape);
    Tensor out = *this;
    out.shape_ = shape;
    out.strides_ = shape;
    for (int i = 1; i <= shape.rank(); ++i)
      out.strides_[-i] = i <= rank() && shape_[-i] != 1 ? strides_[-i] : 0;
    out.size_ = element_count(shape);
    return out;
  }
  /// View with an axis of size 1 inserted before `axis` (0..rank).
  Tensor unsqueeze(int axis) const {
    Tensor out = *this;
    out.shape_.insert(axis, 1);
    out.strides_.insert(axis, 1);
    return out;
  }

  /// Calls `visit(offset)` for every element in row-major order; offsets are relative to `data()`.
  template <class Visit>
  void for_each_offset(const Visit& visit) const {
    if (size_ == 0) return;
    if (is_contiguous()) {
      for (std::int64_t i = 0; i < size_; ++i) visit(i);
      return;
    }
    std::array<std::int64_t, kMaxRank> index{};
    const int last = rank() - 1;
    std::int64_t offset = 0;
    for (;;) {
      for (std::int64_t i = 0; i < shape_[last]; ++i) visit(offset + i * strides_[last]);
      int axis = last - 1;
      for (; axis >= 0; --axis) {
        auto& at = index[static_cast<std::size_t>(axis)];
        offset += strides_[axis];
        if (++at < shape_[axis]) break;
        offset -= at * strides_[axis];
        at = 0;
      }
      if (axis < 0) return;
    }
  }

 private:
  void require_contiguous(const char* op) const {
    check<ShapeError>(is_contiguous(), op, ": strides ", strides_, " of shape ", shape_, " are not contiguous");
  }
  std::int64_t offset_of(std::initializer_list<std::int64_t> indices) const {
    check<ShapeError>(defined(), "Tensor: an undefined tensor has no elements");
    check<ShapeError>(static_cast<int>(indices.size()) == rank(), "Tensor: ", indices.size(), " indices given, shape ",
                      shape_);
    std::int64_t offset = 0;
    int axis = 0;
    for (std::int64_t i : indices) {
      check<ShapeError>(i >= 0 && i < shape_[axis], "Tensor: index ", i, " on axis ", axis, " of shape ", shape_);
      offset += i * strides_[axis++];
    }
    return offset;
  }

  Buffer buffer_;
  T* data_ = nullptr;
  Shape shape_;
  Strides strides_;
  std::int64_t size_ = 0;
};

}  // namespace v0
}  // namespace spnet
