#include "spnet/kernels/integer.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/kernels/dispatch.hpp"

using namespace spnet;

TEST_CASE("kernels: totals are exact, up to the last that fits") {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  for (const kernels::KernelTable* table : kernels::available()) {
    INFO(std::string(table->name));
    for (const std::int64_t channels : {1, 3, 4, 15, 16, 37, 64, 131}) {
      for (const std::int64_t pixels : {0, 1, 2, 63}) {
        CAPTURE(channels);
        CAPTURE(pixels);
        const std::int64_t step = channels + 5, largest = pixels > 0 ? kMost / pixels : kMost;
        std::vector<std::int32_t> y(static_cast<std::size_t>(step * pixels));
        Random random(static_cast<std::uint64_t>(channels * 64 + pixels));
        for (auto& v : y) {
          const auto magnitude = static_cast<std::int32_t>(largest - random.below(3));
          v = random.below(4) == 0 ? -magnitude : magnitude;
        }
        if (pixels == 1) y[0] = std::numeric_limits<std::int32_t>::min();
        std::vector<std::int64_t> sums(static_cast<std::size_t>(channels), 7), sums_ref(sums.size(), 0);
        std::vector<std::uint64_t> squares(sums.size(), 7), squares_ref(sums.size(), 0);
        for (std::int64_t p = 0; p < pixels; ++p) {
          for (std::size_t c = 0; c < sums.size(); ++c) {
            const std::int64_t v = y[static_cast<std::size_t>(p * step) + c];
            sums_ref[c] += v;
            squares_ref[c] += static_cast<std::uint64_t>(v * v);
          }
        }
        table->codes.totals({y.data(), step, pixels, channels, sums.data(), squares.data()});
        CHECK(sums == sums_ref);
        CHECK(squares == squares_ref);
      }
    }
  }
}
