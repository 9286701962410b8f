#include "spnet/ops/sums.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "spnet/core/random.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/batch_norm.hpp"

using namespace spnet;

namespace {

// Around `mean`, at most `deviation` away.
Sums random_sums(const Shape& shape, std::int32_t mean, std::uint32_t deviation) {
  Sums s{Tensor<std::int32_t>(shape), Tensor<float>::full({shape[-1]}, 0.25f)};
  Random random(1);
  for (auto& v : s.sums.span())
    v = mean + static_cast<std::int32_t>(random.below(2 * deviation + 1)) - static_cast<std::int32_t>(deviation);
  return s;
}

}  // namespace

TEST_CASE("ops: moments of integer sums are exact, whatever the mean, and the bound that is known") {
  constexpr std::int32_t kMean = 2'000'000'000;
  Sums s = random_sums({23, 29, 3, 5}, kMean, 1000);
  const std::int64_t rows = s.sums.size() / 5;
  for (const std::int64_t largest :
       {std::int64_t{kMean} + 1000, std::int64_t{std::numeric_limits<std::int32_t>::max()}}) {
    s.largest = largest;
    for (const auto* table : kernels::available()) {
      kernels::force(table->name);
      const auto moments = ops::channel_moments(s);
      for (std::int64_t c = 0; c < 5; ++c) {
        // Of the deviations from kMean, which are small enough for plain sums.
        double sum = 0, squares = 0;
        for (std::int64_t r = 0; r < rows; ++r) {
          const double d = s.sums.data()[r * 5 + c] - kMean;
          sum += d;
          squares += d * d;
        }
        const double count = static_cast<double>(rows), mean = sum / count;
        CHECK(moments.mean(c) == doctest::Approx(0.25 * (kMean + mean)).epsilon(1e-15));
        CHECK(moments.variance(c) == doctest::Approx(0.0625 * (squares / count - mean * mean)).epsilon(1e-12));
      }
    }
  }
  kernels::force("");
}

TEST_CASE("ops: the totals that came with sums are not counted again") {
  Sums s = random_sums({4, 2}, 0, 9);
  s.totals = {{100, 10}, {200, -10}};
  CHECK(ops::channel_moments(s).mean(0) == 0.25 * 10 / 4);
  CHECK(ops::channel_moments(s).mean(1) == 0.25 * -10 / 4);
}
