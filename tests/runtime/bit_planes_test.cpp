#include "spnet/runtime/bit_planes.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/ops/quantize_nested.hpp"

using namespace spnet;
using runtime::Derivation;

namespace {

runtime::Planes planes_of(const std::vector<std::uint8_t>& codes, int count) {
  const auto owner = std::make_shared<const std::vector<std::byte>>(runtime::pack_planes(codes, count));
  return {count, {owner, *owner}};
}

}  // namespace

TEST_CASE("bit_planes: planes hold codes of every width, the highest bit first, without padding") {
  for (const std::int64_t size : {1, 7, 8, 9, 64, 4099}) {
    for (int bits = 1; bits <= 8; ++bits) {
      Random random(static_cast<std::uint64_t>(size + bits));
      std::vector<std::uint8_t> codes(static_cast<std::size_t>(size));
      for (auto& code : codes) code = static_cast<std::uint8_t>(random.below(1U << bits));
      const runtime::Planes planes = planes_of(codes, bits);
      CHECK(std::ssize(planes.bytes.span) == bits * ((size + 7) / 8));
      for (std::int64_t i = 0; i < size; ++i) {
        const auto first = std::to_integer<unsigned>(planes.bytes.span[static_cast<std::size_t>(i / 8)]);
        CHECK((first >> i % 8 & 1U) == (codes[static_cast<std::size_t>(i)] >> (bits - 1) & 1U));
      }
      const auto back = runtime::unpack_codes(planes, Derivation::kStored, bits, {size}, 255);
      CHECK(std::ranges::equal(back.span(), codes));
      // Codes that only a damaged file has.
      const auto most = static_cast<std::uint8_t>((1 << bits) - 2);
      for (const std::uint8_t code : runtime::unpack_codes(planes, Derivation::kStored, bits, {size}, most).span())
        CHECK(code <= most);
    }
  }
}

TEST_CASE("bit_planes: narrower codes follow from the widest as the nested quantizers say") {
  std::vector<std::uint8_t> masters(256);
  for (std::size_t i = 0; i < 256; ++i) masters[i] = static_cast<std::uint8_t>(i);
  const runtime::Planes planes = planes_of(masters, 8);
  for (int bits = 2; bits <= 7; ++bits) {
    const auto rounded = runtime::unpack_codes(planes, Derivation::kRounded, bits, {256}, (1 << bits) - 1);
    const auto floored = runtime::unpack_codes(planes, Derivation::kFloor, bits, {256}, (1 << bits) - 2);
    for (int i = 0; i < 256; ++i) {
      CHECK(rounded(i) - (1 << (bits - 1)) == ops::double_rounded(i - 128, bits));
      CHECK(floored(i) - ((1 << (bits - 1)) - 1) == ops::floor_nested(i - 128, bits));
    }
  }
  const auto signs = runtime::unpack_codes(planes, Derivation::kPrefix, 1, {256}, 1);
  for (int i = 0; i < 256; ++i) CHECK(signs(i) == (i >= 128));
}
