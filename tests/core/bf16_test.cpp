#include "spnet/core/bf16.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>
#include <limits>

using spnet::bf16;

namespace {
float round_trip(float value) { return static_cast<float>(bf16(value)); }
}  // namespace

TEST_CASE("core: bf16 keeps what fits in eight significand bits") {
  for (float value : {0.0f, 1.0f, -1.0f, 1.5f, 255.0f, -0.0078125f, 0x1p-126f, 0x1.FEp127f})
    CHECK(round_trip(value) == value);
  CHECK(std::signbit(round_trip(-0.0f)));
}

TEST_CASE("core: bf16 rounds to nearest, ties to even") {
  CHECK(round_trip(1.0f + 0x1p-8f) == 1.0f);                          // tie, 1.0 is even
  CHECK(round_trip(1.0f + 3 * 0x1p-8f) == 1.0f + 2 * 0x1p-7f);        // tie, the upper one is even
  CHECK(round_trip(1.0f + 0x1p-8f + 0x1p-20f) == 1.0f + 0x1p-7f);     // just above a tie
  CHECK(round_trip(-1.0f - 0x1p-8f - 0x1p-20f) == -1.0f - 0x1p-7f);
  CHECK(round_trip(0x1p-149f) == 0.0f);                               // far below the smallest bf16
}

TEST_CASE("core: bf16 keeps infinities and NaN, overflows to infinity") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(round_trip(infinity) == infinity);
  CHECK(round_trip(-infinity) == -infinity);
  CHECK(round_trip(std::numeric_limits<float>::max()) == infinity);
  CHECK(std::isnan(round_trip(std::numeric_limits<float>::quiet_NaN())));
  // A NaN whose payload sits only in the lower half must not turn into infinity.
  CHECK(std::isnan(round_trip(std::bit_cast<float>(0x7F800001u))));
  CHECK(std::isnan(round_trip(std::bit_cast<float>(0xFFFFFFFFu))));
}

TEST_CASE("core: every bf16 pattern survives float and back") {
  int changed = 0;
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    bf16 value;
    value.bits = static_cast<std::uint16_t>(bits);
    const float wide = static_cast<float>(value);
    const bf16 back(wide);
    if (std::isnan(wide) ? !std::isnan(static_cast<float>(back)) : back.bits != value.bits) ++changed;
  }
  CHECK(changed == 0);
}
