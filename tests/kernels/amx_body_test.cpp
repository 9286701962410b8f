#include "spnet/kernels/amx_body.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <iterator>
#include <vector>

#include "emulated_tiles.hpp"
#include "spnet/core/bf16.hpp"
#include "spnet/core/random.hpp"

using namespace spnet;

TEST_CASE("kernels: products of bf16 agree with plain loops on emulated tiles" * doctest::test_suite("portable")) {
  Random random(3);
  // Integers, so that sums are exact in every order.
  const auto integers = [&](std::int64_t count) {
    std::vector<std::uint16_t> v(static_cast<std::size_t>(count));
    for (auto& bits : v) bits = bf16(static_cast<float>(random.below(33)) - 16.0f).bits;
    return v;
  };
  const auto value = [](const std::vector<std::uint16_t>& v, std::int64_t i) {
    bf16 x{};
    x.bits = v[static_cast<std::size_t>(i)];
    return static_cast<double>(static_cast<float>(x));
  };
  int on_tiles = 0, joined = 0;
  for (int round = 0; round < 200; ++round) {
    const std::int64_t pixels = 1 + random.below(70), width = 16 * (1 + random.below(4));
    const std::int64_t outputs = random.below(2) ? width : 1 + random.below(static_cast<std::uint32_t>(width));
    const std::int64_t channels = 2 * (1 + random.below(70));
    std::vector<kernels::Segment> segments(1 + random.below(5));
    std::int64_t rows = 0;
    for (auto& s : segments) {
      s = {random.below(30), channels % 32 + 32 * (channels % 32 == 0 ? 1 + random.below(3) : random.below(3)), rows};
      rows += s.channels;
    }
    if (segments.size() > 2) segments[1] = {5, segments[0].channels, segments[0].weights};
    const std::int64_t x_step = 1 + random.below(50), y_step = outputs + random.below(3);
    // Lines one after the other, with or without something between them, or beside each other.
    const kernels::Lines lines{1 + random.below(6),
                               random.below(2) ? (pixels + random.below(4)) * x_step : random.below(5),
                               pixels * y_step + random.below(3)};
    const auto x = integers((pixels - 1) * x_step + lines.count * lines.x + 30 + 128), w = integers(rows * width);
    const bool accumulate = random.below(2) == 1;
    std::vector<float> y(static_cast<std::size_t>(lines.count * lines.y), 0.5f);
    if (!emulated::bf16_product({x.data(), x_step, pixels, segments.data(), std::ssize(segments), w.data(), width,
                                 outputs, y.data(), y_step, accumulate, lines}))
      continue;
    ++on_tiles;
    joined += lines.count > 1 && lines.x >= pixels * x_step && pixels < 16;
    std::int64_t wrong = 0;
    for (std::int64_t line = 0; line < lines.count; ++line) {
      for (std::int64_t i = 0; i < lines.y; ++i) {
        const std::int64_t p = i / y_step, o = i % y_step;
        const bool is_output = p < pixels && o < outputs;
        double sum = !is_output || accumulate ? 0.5 : 0.0;
        for (const kernels::Segment& s : segments) {
          for (std::int64_t c = 0; is_output && c < s.channels; ++c)
            sum += value(x, line * lines.x + p * x_step + s.offset + c) *
                   value(w, ((s.weights + c) / 2 * width + o) * 2 + c % 2);
        }
        wrong += sum != static_cast<double>(y[static_cast<std::size_t>(line * lines.y + i)]);
      }
    }
    INFO(lines.count, " lines of ", pixels, " pixels, ", outputs, " outputs, ", segments.size(), " segments of ",
         channels % 32, " + 32·n");
    CHECK(wrong == 0);
  }
  CHECK(on_tiles > 100);
  CHECK(joined > 10);
  emulated::Tiles::release();
}
