#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "spnet/core/memory.hpp"
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

void check_float_panels(void (*pack)(const kernels::PackFloatsArgs&), std::int64_t lanes) {
  Random random(7);
  for (int round = 0; round < 200; ++round) {
    kernels::PackFloatsArgs a{};
    a.width = lanes * (1 + random.below(3));
    a.outputs = 1 + random.below(static_cast<std::uint32_t>(a.width));
    a.channels = 1 + random.below(100);
    a.row = a.channels + random.below(5);
    a.step = 1 + static_cast<std::int32_t>(random.below(2));
    a.zero_point = static_cast<std::int32_t>(random.below(300));
    a.scale_step = random.below(2);
    a.scaled = random.below(2) == 1;
    a.factor = a.scaled ? static_cast<float>(random.normal()) : 0.0f;  // else nothing may come of it
    // No weight after the last may be read: sanitizers watch the vectors' ends.
    const std::int64_t count = (a.outputs - 1) * a.row + a.channels;
    const auto codes = random_bytes<std::uint8_t>(random, count);
    std::vector<float> floats, scales;
    for (std::int64_t i = 0; i < count; ++i)
      floats.push_back(random.below(9) ? static_cast<float>(random.normal()) : -0.0f);
    for (std::int64_t o = 0; o <= (a.outputs - 1) * a.scale_step; ++o)
      scales.push_back(0.01f + static_cast<float>(random.uniform()));
    a.scales = scales.data();
    if (random.below(2)) {
      a.floats = floats.data();
    } else {
      a.codes = codes.data();
    }
    // From a multiple of 64 bytes on.
    std::vector<float, PoolAllocator<float>> panel(static_cast<std::size_t>(a.channels * a.width) + 1, 77.0f);
    a.panel = panel.data();
    a.stream = random.below(2);
    pack(a);
    kernels::fence_streams();
    std::int64_t wrong = 0;
    for (std::int64_t c = 0; c < a.channels; ++c) {
      for (std::int64_t o = 0; o < a.width; ++o) {
        float expected = 0;
        if (o < a.outputs) {
          const auto at = static_cast<std::size_t>(o * a.row + c);
          expected = a.floats ? floats[at]
                              : static_cast<float>(a.step * codes[at] - a.zero_point) *
                                    scales[static_cast<std::size_t>(o * a.scale_step)];
          if (a.scaled) expected = a.factor * expected + 0.0f;
        }
        const float got = panel[static_cast<std::size_t>(c * a.width + o)];
        wrong += std::memcmp(&got, &expected, sizeof got) != 0;
      }
    }
    INFO(a.width, " wide, ", a.outputs, " outputs, ", a.channels, " channels of ", a.floats ? "floats" : "codes");
    REQUIRE(wrong == 0);
    REQUIRE(panel.back() == 77.0f);
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

TEST_CASE("kernels: panels of floats hold what floats and codes stand for, scaled where asked, bit for bit") {
  for (const kernels::KernelTable* table : kernels::available()) {
    INFO(std::string(table->name));
    check_float_panels(table->codes.pack_floats, table->conv.lanes);
  }
  check_float_panels([](const kernels::PackFloatsArgs& a) { kernels::body::pack_floats<WideUnits>(a); },
                     WideUnits::kLanes);
}
