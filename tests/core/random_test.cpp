#include "spnet/core/random.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <vector>

using namespace spnet;

TEST_CASE("core: philox matches the published vectors") {
  using Block = std::array<std::uint32_t, 4>;
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  constexpr std::uint32_t kOnes = 0xffffffff;
  CHECK(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}) == Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("core: random numbers depend on seed, stream and position alone") {
  const Random random(7, 3);
  Random walking(7, 3);
  std::vector<std::uint32_t> words;
  for (std::uint64_t i = 0; i < 100; ++i) {
    CHECK(walking.position() == i);
    words.push_back(walking.bits());
    CHECK(words.back() == random.bits_at(i));
  }
  Random resumed(7, 3, 40);
  CHECK(resumed.bits() == words[40]);
  resumed.seek(12);
  CHECK(resumed.bits() == words[12]);
  CHECK(resumed.position() == 13);
  CHECK(resumed.seed() == 7);
  CHECK(resumed.stream() == 3);
}

TEST_CASE("core: seeds and streams use all of their 64 bits") {
  std::set<std::uint32_t> first;
  for (std::uint64_t value : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 31, std::uint64_t{1} << 32, std::uint64_t{1} << 63}) {
    first.insert(Random(value, 5).bits());
    first.insert(Random(5, value).bits());
    if (value >= 4) first.insert(Random(5, 5).bits_at(value));
  }
  CHECK(first.size() == 13);
}

TEST_CASE("core: uniform numbers fill [0, 1) evenly") {
  Random random(1);
  double sum = 0, squares = 0;
  float low = 1, high = 0;
  constexpr int kCount = 20000;
  for (int i = 0; i < kCount; ++i) {
    const float u = random.uniform();
    sum += u;
    squares += double{u} * u;
    low = std::min(low, u);
    high = std::max(high, u);
  }
  CHECK(low >= 0.0f);
  CHECK(high < 1.0f);
  CHECK(sum / kCount == doctest::Approx(0.5).epsilon(0.02));
  CHECK(squares / kCount == doctest::Approx(1.0 / 3).epsilon(0.02));
  for (int i = 0; i < 100; ++i) {
    const float u = random.uniform(-2.0f, 3.0f);
    CHECK(u >= -2.0f);
    CHECK(u <= 3.0f);
  }
}

TEST_CASE("core: normal numbers have mean 0, variance 1 and no infinities") {
  Random random(2, 9);
  double sum = 0, squares = 0, fourth = 0;
  constexpr int kCount = 40000;
  int odd = 0;
  for (int i = 0; i < kCount; ++i) {
    const double z = random.normal();
    if (!std::isfinite(z)) ++odd;
    sum += z;
    squares += z * z;
    fourth += z * z * z * z;
  }
  CHECK(odd == 0);
  CHECK(random.position() == 2 * kCount);
  CHECK(std::abs(sum / kCount) < 0.02);
  CHECK(squares / kCount == doctest::Approx(1.0).epsilon(0.03));
  CHECK(fourth / kCount == doctest::Approx(3.0).epsilon(0.08));
}

TEST_CASE("core: below stays under its bound and reaches every value") {
  Random random(3);
  std::array<int, 10> counts{};
  for (int i = 0; i < 10000; ++i) {
    const std::uint32_t value = random.below(10);
    REQUIRE(value < 10);
    ++counts[value];
  }
  for (int count : counts) {
    CHECK(count > 850);
    CHECK(count < 1150);
  }
  CHECK(random.below(1) == 0);
  CHECK(random.below(0xFFFFFFFFu) < 0xFFFFFFFFu);
}
