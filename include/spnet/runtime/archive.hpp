// Little-endian bytes from values and values from bytes that nobody vouches for. One description of a structure serves
// both, so that writing and reading cannot drift apart: `describe(archive, structure)`, found beside the structure.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/core/shape.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

static_assert(std::endian::native == std::endian::little, "packed files are little-endian");

/// What both have in common: how structures are made of numbers. Numbers are as wide as their type; bool is a byte; an
/// enum is its number; what has a length has it before it, as u32; an optional has a byte before it, a variant its
/// index.
template <class Derived>
class Archive {
 public:
  template <class T>
  requires(std::is_arithmetic_v<T> || std::is_enum_v<T>) void operator()(T& value) {
    self().bytes(&value, sizeof value);
  }
  void operator()(bool& value) {
    auto byte = static_cast<std::uint8_t>(value);
    (*this)(byte);
    self().require(byte <= 1, "a truth value of ", int{byte});
    value = byte != 0;
  }
  void operator()(Shape& shape) {
    auto rank = static_cast<std::uint32_t>(shape.rank());
    (*this)(rank);
    self().require(rank <= kMaxRank, rank, " dimensions, at most ", kMaxRank);
    if (shape.rank() != static_cast<int>(rank)) {
      shape = {};
      for (std::uint32_t i = 0; i < rank; ++i) shape.push_back(0);
    }
    for (int i = 0; i < shape.rank(); ++i) (*this)(shape[i]);
  }
  /// Whether it is defined, its shape and its elements.
  void operator()(Tensor<float>& tensor) {
    bool defined = tensor.defined();
    (*this)(defined);
    if (!defined) return;
    Shape shape = tensor.shape();
    (*this)(shape);
    tensor = self().sized(tensor, shape);
    self().bytes(tensor.data(), static_cast<std::size_t>(tensor.size()) * sizeof(float));
  }
  void operator()(std::string& text) {
    resize(text, 1);
    self().bytes(text.data(), text.size());
  }
  template <class T>
  void operator()(std::vector<T>& values) {
    resize(values, sizeof(T));
    for (T& value : values) (*this)(value);
  }
  template <class T>
  void operator()(std::map<int, T>& values) {
    auto count = static_cast<std::uint32_t>(values.size());
    (*this)(count);
    self().expect(count, sizeof(T));
    if constexpr (Derived::is_writing()) {
      for (auto& [key, value] : values) {
        int written = key;
        (*this)(written);
        (*this)(value);
      }
    } else {
      for (std::uint32_t i = 0; i < count; ++i) {
        std::pair<int, T> entry;
        (*this)(entry.first);
        (*this)(entry.second);
        const bool is_new = values.insert(entry).second;
        self().require(is_new, "two entries for ", entry.first);
      }
    }
  }
  template <class T>
  void operator()(std::optional<T>& value) {
    bool has_value = value.has_value();
    (*this)(has_value);
    if (has_value && !value) value.emplace();
    if (value) (*this)(*value);
  }
  template <class... T>
  void operator()(std::variant<T...>& value) {
    auto index = static_cast<std::uint8_t>(value.index());
    (*this)(index);
    self().require(index < sizeof...(T), "kind ", int{index}, " of ", sizeof...(T));
    if (index != value.index()) emplace<0>(value, index);
    std::visit([&](auto& alternative) { (*this)(alternative); }, value);
  }
  template <class T>
  requires std::is_class_v<T>
  void operator()(T& structure) { describe(self(), structure); }

 private:
  Derived& self() { return static_cast<Derived&>(*this); }
  template <class Container>
  void resize(Container& values, std::size_t element_bytes) {
    auto count = static_cast<std::uint32_t>(values.size());
    (*this)(count);
    self().expect(count, element_bytes);
    values.resize(count);
  }
  template <std::size_t kIndex, class Variant>
  static void emplace(Variant& value, std::size_t index) {
    if constexpr (kIndex < std::variant_size_v<Variant>) {
      if (index == kIndex) {
        value.template emplace<kIndex>();
      } else {
        emplace<kIndex + 1>(value, index);
      }
    }
  }
};

/// Base of what writes; `Derived` says how data are laid out.
template <class Derived>
class Writer : public Archive<Derived> {
 public:
  static constexpr bool is_writing() { return true; }
  void bytes(const void* from, std::size_t count) {
    const auto* const begin = static_cast<const std::byte*>(from);
    out_.insert(out_.end(), begin, begin + count);
  }
  Tensor<float> sized(const Tensor<float>& tensor, const Shape&) { return tensor.contiguous(); }
  void expect(std::uint32_t, std::size_t) {}
  template <class... Args>
  void require(bool condition, const Args&... args) {
    check<ValueError>(condition, "pack: ", args...);
  }
  std::vector<std::byte> take() { return std::move(out_); }

 private:
  std::vector<std::byte> out_;
};

/// Throws FileError, naming `source`, where the bytes end too early or say what cannot be. What it allocates is bounded
/// by `budget`, whatever the bytes say.
template <class Derived>
class Reader : public Archive<Derived> {
 public:
  Reader(std::string source, std::span<const std::byte> from, std::size_t budget)
      : source_(std::move(source)), from_(from), budget_(budget) {}
  static constexpr bool is_writing() { return false; }
  void bytes(void* to, std::size_t count) {
    require(count <= from_.size() - at_, "ends too early");
    if (count > 0) std::memcpy(to, from_.data() + at_, count);
    at_ += count;
  }
  Tensor<float> sized(const Tensor<float>&, const Shape& shape) {
    std::uint64_t count = 1;
    for (const std::int64_t size : shape) {
      require(size >= 0 && size <= std::int64_t{1} << 31, "a tensor of shape ", shape);
      count *= static_cast<std::uint64_t>(size);
      require(count <= std::uint64_t{1} << 31, "a tensor of shape ", shape);
    }
    require(count <= (from_.size() - at_) / sizeof(float), "ends too early");
    spend(count * sizeof(float) + 256);
    return Tensor<float>(shape);
  }
  // Before `count` elements are made, which take a byte each, at least.
  void expect(std::uint32_t count, std::size_t element_bytes) {
    require(count <= from_.size() - at_, "ends too early");
    spend(count * (element_bytes + 16));
  }
  template <class... Args>
  void require(bool condition, const Args&... args) {
    check<FileError>(condition, source_, ": at byte ", at_, " of its graph: ", args...);
  }
  bool is_done() const { return at_ == from_.size(); }

 private:
  void spend(std::size_t bytes) {
    require(bytes <= budget_, "more than its memory is worth");
    budget_ -= bytes;
  }
  std::string source_;
  std::span<const std::byte> from_;
  std::size_t at_ = 0, budget_;
};

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
