// Codes as bit planes, and back.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
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

/// How many of `stored` planes the codes at `bits` need, by `derivation`.
inline int planes_needed(Derivation derivation, int bits, int stored) {
  switch (derivation) {
    case Derivation::kStored:
      return stored;
    case Derivation::kRounded:
      return bits + 1;
    case Derivation::kFloor:
    case Derivation::kPrefix:
      return bits;
  }
  return stored;
}

/// Writes the `count` codes from number `begin` on, a multiple of 8, that follow from `planes` of `size` elements by
/// `derivation`, at `bits`; larger ones than `most`, which only a damaged file has, become `most`.
inline void unpack_range(const Planes& planes, std::int64_t size, Derivation derivation, int bits, int most,
                         std::int64_t begin, std::int64_t count, std::uint8_t* codes) {
  const auto code = derivation == Derivation::kRounded ? kernels::PrefixCode::kRounded
                    : derivation == Derivation::kFloor ? kernels::PrefixCode::kLowered
                                                       : kernels::PrefixCode::kAsIs;
  kernels::active().codes.unpack_planes({planes.bytes.span.data() + begin / 8, plane_bytes(size),
                                         planes_needed(derivation, bits, planes.count), count, code,
                                         static_cast<std::uint8_t>(most), codes});
}

/// All of them, of `shape`.
inline Tensor<std::uint8_t> unpack_codes(const Planes& planes, Derivation derivation, int bits, const Shape& shape,
                                         int most) {
  constexpr std::int64_t kRange = 1 << 15;
  Tensor<std::uint8_t> codes(shape);
  parallel_ranges(codes.size(), kRange, [&](std::int64_t begin, std::int64_t end) {
    unpack_range(planes, codes.size(), derivation, bits, most, begin, end - begin, codes.data() + begin);
  });
  return codes;
}

/// The largest code that has a meaning.
inline int largest_code(const CodeMap& map) {
  if (const auto* lut = std::get_if<LutCodes>(&map)) return static_cast<int>(lut->table.size()) - 1;
  return std::get<AffineCodes>(map).qmax;
}

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
