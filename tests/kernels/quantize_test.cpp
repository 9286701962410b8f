#include "spnet/kernels/quantize.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/kernels/reference_quantize.hpp"

using namespace spnet;

namespace {

// Random values with the awkward ones between them: ties, both zeros, borders, denormals, large.
std::vector<float> samples(std::size_t count, std::uint64_t seed) {
  const float awkward[] = {0.0f, -0.0f, 0.5f, -0.5f, 1.5f, 2.5f, 1.0f, -1.0f, 1.0f / 6, 0.5f / 255, 1e-42f, 3e38f, -3e38f};
  Random random(seed);
  std::vector<float> out(count);
  for (std::size_t i = 0; i < count; ++i)
    out[i] = i % 7 == 3 ? awkward[(i / 7) % std::size(awkward)] : 0.8f * random.normal();
  return out;
}

const std::int64_t kCounts[] = {0, 1, 3, 15, 16, 17, 31, 64, 1000};

}  // namespace

TEST_CASE("kernels: codes and decoded values are bit-equal to the reference on every instruction set") {
  const auto& oracle = kernels::reference::kQuantize;
  for (const kernels::KernelTable* table : kernels::available()) {
    CAPTURE(table->name);
    const auto& k = table->quantize;
    for (const std::int64_t count : kCounts) {
      const auto size = static_cast<std::size_t>(count);
      const std::vector<float> x = samples(size, 5);
      std::vector<std::uint8_t> got(size + 1, 99), expected(size + 1, 99);
      const kernels::UniformCodesArgs ranges[] = {{x.data(), count, 3.0f, 0.0f, 3.0f, nullptr},
                                                  {x.data(), count, 255.0f, 0.0f, 255.0f, nullptr},
                                                  {x.data(), count, 77.3f, -128.0f, 127.0f, nullptr},
                                                  {x.data(), count, 1.0f, -2.0f, 1.0f, nullptr}};
      for (kernels::UniformCodesArgs a : ranges) {
        a.codes = expected.data();
        CHECK(oracle.uniform_codes(a));
        a.codes = got.data();
        CHECK(k.uniform_codes(a));
        CHECK(got == expected);
      }
      for (const bool zero_is_positive : {false, true}) {
        CHECK(oracle.sign_codes(x.data(), count, zero_is_positive, expected.data()));
        CHECK(k.sign_codes(x.data(), count, zero_is_positive, got.data()));
        CHECK(got == expected);
      }
      for (const float levels : {3.0f, 15.0f, 255.0f}) {
        oracle.centered_codes({x.data(), count, 1.7f, levels, expected.data()});
        k.centered_codes({x.data(), count, 1.7f, levels, got.data()});
        CHECK(got == expected);
      }
      std::vector<float> values(size + 1, 7), expected_values(size + 1, 7);
      oracle.decode({expected.data(), count, 2, 255, 1.0f / 255, expected_values.data()});
      k.decode({expected.data(), count, 2, 255, 1.0f / 255, values.data()});
      CHECK(values == expected_values);
      const std::vector<float> gradient = samples(size, 6);
      oracle.clamp_gradient({gradient.data(), x.data(), 0.0f, 1.0f, expected_values.data(), count});
      k.clamp_gradient({gradient.data(), x.data(), 0.0f, 1.0f, values.data(), count});
      CHECK(values == expected_values);
    }
  }
}

TEST_CASE("kernels: tanh has the same bits on every instruction set, within 3e-7 of the exact value") {
  std::vector<float> x = samples(4096, 7);
  for (std::size_t i = 0; i < 2048; ++i) x[i] = (static_cast<float>(i) - 1024) / 90;
  const auto count = static_cast<std::int64_t>(x.size());
  std::vector<float> first(x.size()), y(x.size());
  CHECK(kernels::available().back()->quantize.tanh(x.data(), first.data(), count));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::tanh(static_cast<double>(x[i]));
    CHECK(std::abs(first[i] - exact) <= 3e-7 * std::abs(exact));
    CHECK(std::abs(first[i]) <= 1.0f);
  }
  for (const kernels::KernelTable* table : kernels::available()) {
    CAPTURE(table->name);
    CHECK(table->quantize.tanh(x.data(), y.data(), count));
    CHECK(std::memcmp(first.data(), y.data(), x.size() * sizeof(float)) == 0);
    // In place, and as a tail.
    y = x;
    CHECK(table->quantize.tanh(y.data(), y.data(), count - 5));
    CHECK(std::memcmp(first.data(), y.data(), (x.size() - 5) * sizeof(float)) == 0);
  }
}

TEST_CASE("kernels: a NaN or an infinity anywhere is reported by every instruction set") {
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
                       std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
  for (const kernels::KernelTable* table : kernels::available()) {
    CAPTURE(table->name);
    for (std::size_t at = 0; at < 39; ++at) {
      for (const float value : bad) {
        std::vector<float> x(39, 0.25f), y(39);
        std::vector<std::uint8_t> codes(39);
        x[at] = value;
        CHECK_FALSE(table->quantize.uniform_codes({x.data(), 39, 3.0f, 0.0f, 3.0f, codes.data()}));
        CHECK_FALSE(table->quantize.sign_codes(x.data(), 39, false, codes.data()));
        CHECK_FALSE(table->quantize.tanh(x.data(), y.data(), 39));
      }
    }
  }
}
