#include "spnet/kernels/bf16.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "portable_bf16.hpp"
#include "spnet/core/random.hpp"

using namespace spnet;
using kernels::Bf16Kernels;

namespace {

std::vector<const Bf16Kernels*> all_kernels() {
  std::vector<const Bf16Kernels*> all{&portable::kKernels};
  for (const kernels::KernelTable* table : kernels::available())
    if (table->bf16.product) all.push_back(&table->bf16);
  return all;
}

float value_of(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

}  // namespace

TEST_CASE("kernels: bf16 functions are all there, or none") {
  for (const kernels::KernelTable* table : kernels::available()) {
    const Bf16Kernels& k = table->bf16;
    CHECK((k.split != nullptr) == (k.product != nullptr));
    CHECK((k.interleave != nullptr) == (k.product != nullptr));
    CHECK((k.transpose != nullptr) == (k.product != nullptr));
    if (k.product) CHECK(k.panel % k.lanes == 0);
  }
}

TEST_CASE("kernels: floats become sums of two bf16") {
  constexpr std::uint16_t kUntouched = 0x1234;
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const float largest = std::numeric_limits<float>::max();
  Random random(1);
  for (const std::int64_t channels : {1, 2, 3, 15, 16, 17, 31, 32, 33, 48, 70}) {
    for (const std::int64_t pixels : {1, 2, 5, 31, 32, 33, 65}) {
      const std::int64_t x_step = channels + (pixels % 2) * 3;
      std::vector<float> x(static_cast<std::size_t>(pixels * x_step));
      for (float& v : x) v = random.uniform(-4.0f, 4.0f);
      x[0] = inf, x.back() = largest, x[x.size() / 2] = nan, x[x.size() / 3] = 1.0f + 0x1p-8f;
      const std::int64_t even = (channels + 1) / 2 * 2;
      for (const bool has_low : {true, false}) {
        // As the plain loops write, nothing else.
        const auto written = [&](void (*convert)(const kernels::Bf16SplitArgs&), std::int64_t step, std::int64_t size) {
          std::vector<std::uint16_t> to(static_cast<std::size_t>(2 * size), kUntouched);
          convert({x.data(), x_step, pixels, channels, to.data(), has_low ? to.data() + size : nullptr, step});
          for (std::uint16_t& bits : to)
            if (std::isnan(value_of(bits))) bits = 0x7FC0;
          return to;
        };
        for (const Bf16Kernels* k : all_kernels()) {
          INFO(k->name, ' ', channels, " channels of ", pixels, " pixels");
          CHECK(written(k->split, even, pixels * even) == written(portable::split, even, pixels * even));
          CHECK(written(k->split, even + 6, pixels * (even + 6)) ==
                written(portable::split, even + 6, pixels * (even + 6)));
        }
      }
    }
  }
}

TEST_CASE("kernels: bf16 are put in pairs and transposed") {
  constexpr std::uint16_t kUntouched = 0x1234;
  for (const std::int64_t channels : {1, 2, 15, 16, 17, 33, 48}) {
    for (const std::int64_t pixels : {1, 2, 5, 31, 32, 33, 65}) {
      const std::int64_t x_step = channels + (pixels % 2) * 3, width = (channels + 15) / 16 * 16;
      std::vector<std::uint16_t> x(static_cast<std::size_t>(pixels * x_step));
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<std::uint16_t>(i + 1);
      // As the plain loops write, nothing else.
      const auto written = [&](void (*order)(const kernels::Bf16OrderArgs&), std::int64_t step, std::int64_t size,
                               bool leads) {
        std::vector<std::uint16_t> to(static_cast<std::size_t>(size), kUntouched);
        order({x.data(), x_step, pixels + leads, channels, to.data(), step, leads});
        return to;
      };
      for (const Bf16Kernels* k : all_kernels()) {
        INFO(k->name, ' ', channels, " channels of ", pixels, " pixels");
        for (const bool leads : {false, true})
          CHECK(written(k->interleave, width, (pixels + 3) * width, leads) ==
                written(portable::interleave, width, (pixels + 3) * width, leads));
        CHECK(written(k->transpose, pixels + 3, channels * (pixels + 3), false) ==
              written(portable::transpose, pixels + 3, channels * (pixels + 3), false));
      }
    }
  }
}

TEST_CASE("kernels: the two parts of a float leave its last bits, and never turn infinity into NaN") {
  const float inf = std::numeric_limits<float>::infinity();
  for (const Bf16Kernels* k : all_kernels()) {
    INFO(std::string(k->name));
    const float x[] = {1.0f + 0x1p-8f, -3.14159274f, 1e30f, 255.0f, inf, -inf, std::numeric_limits<float>::max(), 0.0f};
    std::uint16_t high[8], low[8];
    k->split({x, 8, 1, 8, high, low, 8});
    for (int i = 0; i < 4; ++i)
      CHECK(std::abs(x[i] - value_of(high[i]) - value_of(low[i])) <= 0x1p-17f * std::abs(x[i]));
    CHECK(value_of(high[0]) == 1.0f);
    CHECK(value_of(low[3]) == 0.0f);
    for (int i = 4; i < 8; ++i) CHECK(low[i] == 0);
    CHECK(value_of(high[4]) == inf);
    CHECK(value_of(high[5]) == -inf);
  }
}

TEST_CASE("kernels: bf16 products agree with plain loops") {
  Random random(2);
  const auto halves = [&](std::int64_t count) {
    std::vector<std::uint16_t> v(static_cast<std::size_t>(count));
    for (auto& bits : v) bits = bf16(random.uniform(-1.0f, 1.0f)).bits;
    return v;
  };
  for (const Bf16Kernels* k : all_kernels()) {
    for (int round = 0; round < 200; ++round) {
      const std::int64_t pixels = 1 + random.below(40),
                         outputs = 1 + random.below(static_cast<std::uint32_t>(k->panel));
      const std::int64_t width = (outputs + k->lanes - 1) / k->lanes * k->lanes;
      std::vector<kernels::Segment> segments(random.below(4));
      std::int64_t rows = 0;
      for (auto& s : segments) {
        s = {static_cast<std::int64_t>(random.below(30)), 2 * static_cast<std::int64_t>(random.below(20)), rows};
        rows += s.channels;
      }
      if (segments.size() > 2) segments[2].weights = 0, segments[2].channels = segments[0].channels;
      const std::int64_t x_step = 1 + random.below(50), y_step = outputs + random.below(3);
      // Lines one after the other, with or without something between them, or beside each other.
      kernels::Lines lines{1 + random.below(4), random.below(2) ? (pixels + random.below(4)) * x_step : random.below(5),
                           pixels * y_step + random.below(3)};
      const auto x = halves(pixels * x_step + lines.count * lines.x + 70), w = halves(rows * width);
      const bool accumulate = random.below(2) == 1;
      std::vector<float> y(static_cast<std::size_t>(lines.count * lines.y), 0.5f);
      k->product({x.data(), x_step, pixels, segments.data(), static_cast<std::int64_t>(segments.size()), w.data(),
                  width, outputs, y.data(), y_step, accumulate, lines});
      double worst = 0;
      for (std::int64_t line = 0; line < lines.count; ++line) {
        const auto value_at = [&](std::int64_t p, std::int64_t o) {
          return y[static_cast<std::size_t>(line * lines.y + p * y_step + o)];
        };
        for (std::int64_t p = 0; p < pixels; ++p) {
          for (std::int64_t o = 0; o < y_step; ++o) {
            double sum = o >= outputs || accumulate ? 0.5 : 0.0;
            for (const kernels::Segment& s : segments)
              for (std::int64_t c = 0; o < outputs && c < s.channels; ++c)
                sum += static_cast<double>(
                           value_of(x[static_cast<std::size_t>(line * lines.x + p * x_step + s.offset + c)])) *
                       value_of(w[static_cast<std::size_t>(((s.weights + c) / 2 * width + o) * 2 + c % 2)]);
            worst = std::max(worst, std::abs(sum - value_at(p, o)));
          }
        }
        for (std::int64_t i = pixels * y_step; i < lines.y; ++i) CHECK(value_at(0, i) == 0.5f);
      }
      INFO(k->name, ' ', pixels, " pixels, ", outputs, " outputs, ", segments.size(), " segments");
      CHECK(worst <= 1e-5);
    }
  }
}
