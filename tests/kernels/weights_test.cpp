#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/kernels/integer.hpp"
#include "spnet/kernels/weights_body.hpp"

using namespace spnet;
using kernels::PrefixCode;

namespace {

template <class T>
std::vector<T> random_bytes(Random& random, std::int64_t count) {
  std::vector<T> bytes(static_cast<std::size_t>(count));
  for (T& byte : bytes) byte = static_cast<T>(random.below(256));
  return bytes;
}

// The widest vectors, which a compiler takes apart where the machine has none.
struct WideUnits {
  static constexpr int kLanes = 16;
  typedef std::int32_t Vector __attribute__((vector_size(64)));
};

std::uint8_t expected_code(const kernels::UnpackPlanesArgs& a, std::int64_t i) {
  int t = 0;
  for (std::int64_t p = 0; p < a.plane_count; ++p)
    t = 2 * t + (std::to_integer<int>(a.planes[p * a.plane_step + i / 8]) >> i % 8 & 1);
  if (a.code == PrefixCode::kRounded) t = (t + 1) / 2;
  if (a.code == PrefixCode::kLowered) t = std::max(t - 1, 0);
  return static_cast<std::uint8_t>(std::min<int>(t, a.most));
}

// The elements as the contract has them, one at a time.
template <class Element>
std::vector<std::byte> expected_panel(const kernels::PackWeightsArgs& a) {
  constexpr std::int64_t kUnit = 4 / sizeof(Element);
  std::vector<std::byte> panel(static_cast<std::size_t>(a.padded * a.width) * sizeof(Element));
  for (std::int64_t c = 0; c < a.channels; ++c) {
    for (std::int64_t o = 0; o < a.outputs; ++o) {
      const auto element = static_cast<Element>(a.step * a.codes[o * a.code_step + c] - a.shift);
      const std::int64_t at = (c / kUnit * a.width + o) * kUnit + c % kUnit;
      std::memcpy(panel.data() + static_cast<std::size_t>(at) * sizeof(Element), &element, sizeof element);
    }
  }
  return panel;
}

template <class Element>
void check_panels(void (*pack)(const kernels::PackWeightsArgs&), std::int64_t lanes) {
  Random random(5);
  for (int round = 0; round < 200; ++round) {
    kernels::PackWeightsArgs a{};
    a.width = lanes * (1 + random.below(3));
    a.outputs = 1 + random.below(static_cast<std::uint32_t>(a.width));
    a.channels = 1 + random.below(200);
    a.padded = (a.channels + 3) / 4 * 4;
    a.code_step = a.channels + random.below(5);
    a.step = static_cast<int>(random.below(5)) - 1;
    a.shift = static_cast<int>(random.below(300)) - 20;
    const auto codes = random_bytes<std::uint8_t>(random, a.outputs * a.code_step);
    const auto expected = expected_panel<Element>((a.codes = codes.data(), a));
    std::vector<std::byte> panel(expected.size() + 1, std::byte{0xab});
    a.panel = panel.data();
    pack(a);
    INFO(a.width, " wide, ", a.outputs, " outputs, ", a.channels, " channels, step ", a.step, ", shift ", a.shift);
    REQUIRE(std::equal(expected.begin(), expected.end(), panel.begin()));
    REQUIRE(panel.back() == std::byte{0xab});
  }
}

void check_unpacking(void (*unpack_planes)(const kernels::UnpackPlanesArgs&)) {
  Random random(3);
  for (int round = 0; round < 400; ++round) {
    kernels::UnpackPlanesArgs a{};
    a.plane_count = 1 + random.below(8);
    a.count = 1 + random.below(300);
    a.plane_step = (a.count + 7) / 8 + random.below(3);
    a.code = static_cast<PrefixCode>(random.below(3));
    a.most = static_cast<std::uint8_t>(random.below(2) ? 255 : random.below(256));
    // No byte after the last plane may be read: sanitizers watch the vector's end.
    const auto planes = random_bytes<std::byte>(random, (a.plane_count - 1) * a.plane_step + (a.count + 7) / 8);
    std::vector<std::uint8_t> codes(static_cast<std::size_t>(a.count) + 1, 0xab);
    a.planes = planes.data();
    a.codes = codes.data();
    unpack_planes(a);
    std::int64_t wrong = 0;
    for (std::int64_t i = 0; i < a.count; ++i) wrong += codes[static_cast<std::size_t>(i)] != expected_code(a, i);
    INFO(a.plane_count, " planes of ", a.count, ", at most ", int{a.most});
    REQUIRE(wrong == 0);
    REQUIRE(codes.back() == 0xab);
  }
}

}  // namespace

TEST_CASE("kernels: codes follow from bit planes as from single bits") {
  for (const kernels::KernelTable* table : kernels::available()) {
    INFO(std::string(table->name));
    check_unpacking(table->codes.unpack_planes);
  }
  check_unpacking([](const kernels::UnpackPlanesArgs& a) { kernels::body::unpack_planes<WideUnits>(a); });
}

TEST_CASE("kernels: weights are packed as [unit][output], with zeros beside them") {
  for (const kernels::KernelTable* table : kernels::available()) {
    INFO(std::string(table->name));
    check_panels<std::int8_t>(table->codes.pack_bytes, table->codes.small.lanes);
    check_panels<std::int16_t>(table->codes.pack_words, table->codes.small.lanes);
  }
  check_panels<std::int8_t>(kernels::body::pack_weights<WideUnits, std::int8_t>, WideUnits::kLanes);
  check_panels<std::int16_t>(kernels::body::pack_weights<WideUnits, std::int16_t>, WideUnits::kLanes);
}
