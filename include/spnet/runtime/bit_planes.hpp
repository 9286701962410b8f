// Codes as bit planes, and back.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "spnet/core/parallel.hpp"
#include "spnet/kernels/integer.hpp"
#include "spnet/runtime/graph.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

/// Bytes of one plane of `count` elements.
constexpr std::int64_t plane_bytes(std::int64_t count) { return (count + 7) / 8; }

/// The `planes` lowest bits of every code, the highest plane first: see Planes.
inline std::vector<std::byte> pack_planes(std::span<const std::uint8_t> codes, int planes) {
  const auto count = static_cast<std::int64_t>(codes.size()), length = plane_bytes(count), whole = count / 8;
  std::vector<std::byte> out(static_cast<std::size_t>(planes * length));
  for (int p = 0; p < planes; ++p) {
    std::byte* const to = out.data() + p * length;
    const int bit = planes - 1 - p;
    for (std::int64_t i = 0; i < whole; ++i) to[i] = std::byte{kernels::pack_bits(codes.data() + 8 * i, bit)};
    for (std::int64_t i = 8 * whole; i < count; ++i)
      to[whole] |= std::byte(static_cast<unsigned>(codes[static_cast<std::size_t>(i)]) >> bit % 8 & 1u) << i % 8;
  }
  return out;
}

namespace detail {

// The bits of every byte, as eight bytes of 0 or 1.
inline const std::array<std::uint64_t, 256>& spread_bits() {
  static const std::array<std::uint64_t, 256> table = [] {
    std::array<std::uint64_t, 256> out{};
    for (std::size_t byte = 0; byte < 256; ++byte) {
      std::array<std::uint8_t, 8> bits{};
      for (std::size_t i = 0; i < 8; ++i) bits[i] = byte >> i & 1;
      std::memcpy(&out[byte], bits.data(), 8);
    }
    return out;
  }();
  return table;
}

struct AsTheyAre {
  std::uint8_t operator()(std::uint8_t t) const { return t; }
};

// map(t) of the `planes` highest bits t of every element.
template <int kPlanes, class Map>
void unpack_prefix(const std::byte* from, std::int64_t count, std::uint8_t* to, const Map& map) {
  const std::int64_t length = plane_bytes(count);
  const std::array<std::uint64_t, 256>& spread = spread_bits();
  parallel_ranges(length, 4096, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      std::uint64_t eight = 0;
      for (int p = 0; p < kPlanes; ++p) eight = eight << 1 | spread[std::to_integer<std::size_t>(from[p * length + i])];
      if constexpr (!std::is_same_v<Map, AsTheyAre>) {
        std::array<std::uint8_t, 8> codes;
        std::memcpy(codes.data(), &eight, 8);
        for (std::uint8_t& code : codes) code = map(code);
        std::memcpy(&eight, codes.data(), 8);
      }
      if (8 * i + 8 <= count) {
        std::memcpy(to + 8 * i, &eight, 8);
      } else {
        std::memcpy(to + 8 * i, &eight, static_cast<std::size_t>(count - 8 * i));
      }
    }
  });
}
template <class Map>
void unpack_prefix(const std::byte* from, int planes, std::int64_t count, std::uint8_t* to, const Map& map) {
  switch (planes) {
    case 1:
      return unpack_prefix<1>(from, count, to, map);
    case 2:
      return unpack_prefix<2>(from, count, to, map);
    case 3:
      return unpack_prefix<3>(from, count, to, map);
    case 4:
      return unpack_prefix<4>(from, count, to, map);
    case 5:
      return unpack_prefix<5>(from, count, to, map);
    case 6:
      return unpack_prefix<6>(from, count, to, map);
    case 7:
      return unpack_prefix<7>(from, count, to, map);
    default:
      return unpack_prefix<8>(from, count, to, map);
  }
}

}  // namespace detail

/// How many of `stored` planes the codes at `bits` need, by `derivation`.
inline int planes_needed(Derivation derivation, int bits, int stored) {
  switch (derivation) {
    case Derivation::kStored:
      return stored;
    case Derivation::kRounded:
      return bits + 1;
    case Derivation::kFloor:
      return bits;
    case Derivation::kSign:
      return 1;
  }
  return stored;
}

/// The codes of `shape` that follow from `planes` by `derivation`, at `bits`; larger ones than `most`, which only a
/// damaged file has, become `most`.
inline Tensor<std::uint8_t> unpack_codes(const Planes& planes, Derivation derivation, int bits, const Shape& shape,
                                         int most) {
  Tensor<std::uint8_t> codes(shape);
  const std::byte* const from = planes.bytes.span.data();
  const int needed = planes_needed(derivation, bits, planes.count);
  const auto unpack = [&](const auto& map) { detail::unpack_prefix(from, needed, codes.size(), codes.data(), map); };
  if (derivation == Derivation::kRounded) {
    unpack([most](std::uint8_t t) { return static_cast<std::uint8_t>(std::min((t + 1) >> 1, most)); });
  } else if (derivation == Derivation::kFloor) {
    unpack([most](std::uint8_t t) { return static_cast<std::uint8_t>(std::min(t - (t != 0), most)); });
  } else if (most < (1 << needed) - 1) {
    unpack([most](std::uint8_t t) { return static_cast<std::uint8_t>(std::min<int>(t, most)); });
  } else {
    unpack(detail::AsTheyAre{});
  }
  return codes;
}

/// The codes of `weight` at `bits`, one of its widths, and what they stand for.
inline Quantized unpack_weight(const Weight& weight, int bits) {
  const WeightCodes& codes = weight.codes.at(bits);
  const auto* affine = std::get_if<AffineCodes>(&codes.map);
  return {unpack_codes(weight.planes[codes.planes], codes.derivation, bits, weight.shape, affine ? affine->qmax : 255),
          codes.map};
}

/// The floats of `weight`, which has such.
inline Tensor<float> float_weight(const Weight& weight) {
  Tensor<float> out(weight.shape);
  std::memcpy(out.data(), weight.floats.span.data(), static_cast<std::size_t>(out.size()) * sizeof(float));
  return out;
}

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
