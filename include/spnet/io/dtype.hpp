// Element types of tensor files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "spnet/core/bf16.hpp"

namespace spnet {
inline namespace v0 {
namespace io {

/// Element types of the safetensors format that spnet reads. F16 has no tensor type here, see `TensorFile::get_float`.
enum class DType { kF64, kF32, kF16, kBF16, kI64, kU64, kI32, kU32, kI16, kU16, kI8, kU8, kBool };

namespace detail {

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  int bytes;
};
inline constexpr std::array<DTypeInfo, 13> kDTypes{{{DType::kF64, "F64", 8},
                                                    {DType::kF32, "F32", 4},
                                                    {DType::kF16, "F16", 2},
                                                    {DType::kBF16, "BF16", 2},
                                                    {DType::kI64, "I64", 8},
                                                    {DType::kU64, "U64", 8},
                                                    {DType::kI32, "I32", 4},
                                                    {DType::kU32, "U32", 4},
                                                    {DType::kI16, "I16", 2},
                                                    {DType::kU16, "U16", 2},
                                                    {DType::kI8, "I8", 1},
                                                    {DType::kU8, "U8", 1},
                                                    {DType::kBool, "BOOL", 1}}};

}  // namespace detail

/// The format's name of `dtype`.
inline std::string_view dtype_name(DType dtype) { return detail::kDTypes[static_cast<std::size_t>(dtype)].name; }
/// Bytes of one element.
inline int dtype_bytes(DType dtype) { return detail::kDTypes[static_cast<std::size_t>(dtype)].bytes; }

/// The format's element type of `T`.
template <class T>
constexpr DType dtype_of() {
  using Types = std::tuple<double, float, void, bf16, std::int64_t, std::uint64_t, std::int32_t, std::uint32_t,
                           std::int16_t, std::uint16_t, std::int8_t, std::uint8_t, bool>;
  constexpr int index = []<std::size_t... I>(std::index_sequence<I...>) {
    int found = -1;
    ((std::is_same_v<T, std::tuple_element_t<I, Types>> ? void(found = static_cast<int>(I)) : void()), ...);
    return found;
  }
  (std::make_index_sequence<std::tuple_size_v<Types>>());
  static_assert(index >= 0, "safetensors has no element type for T");
  return static_cast<DType>(index);
}

}  // namespace io
}  // namespace v0
}  // namespace spnet
