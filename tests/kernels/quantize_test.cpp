#include "spnet/kernels/quantize.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/kernels/reference_quantize.hpp"

using namespace spnet;

namespace {

// Random values with the awkward ones between them: ties, both zeros, borders, denormals, large.
std::vector<float> samples(std::size_t count, std::uint64_t seed) {
  const float awkward[] = {0.0f,  -0.0f,    0.5f,       -0.5f,  1.5f,  2.5f,  1.0f,
                           -1.0f, 1.0f / 6, 0.5f / 255, 1e-42f, 3e38f, -3e38f};
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
    INFO(std::string(table->name));
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
      oracle.clamp_gradient({gradient.data(), x.data(), -1.0f, 0.5f, expected_values.data(), count, true});
      k.clamp_gradient({gradient.data(), x.data(), -1.0f, 0.5f, values.data(), count, true});
      CHECK(values == expected_values);
    }
  }
}

TEST_CASE("kernels: scale gradients and extremes agree with the reference on every instruction set") {
  for (const kernels::KernelTable* table : kernels::available()) {
    INFO(std::string(table->name));
    for (const std::int64_t count : {1, 15, 16, 40, 1000, 3001}) {
      const auto size = static_cast<std::size_t>(count);
      std::vector<float> x(size), gradient(size), dx(size), expected_dx(size);
      std::vector<std::uint8_t> codes(size);
      Random random(9);
      for (auto& v : x) v = random.normal();
      for (auto& v : gradient) v = random.normal();
      x[0] = -0.0f;
      table->quantize.uniform_codes({x.data(), count, 3.3f, -8.0f, 7.0f, codes.data()});
      kernels::ScaleGradientArgs a{gradient.data(), x.data(), codes.data(), count, 1, 8, 1.0f, 3.3f,
                                   -8.0f,           7.0f,     nullptr};
      a.dx = expected_dx.data();
      const double expected = kernels::reference::scale_gradient(a);
      a.dx = dx.data();
      CHECK(table->quantize.scale_gradient(a) == doctest::Approx(expected).epsilon(1e-5));
      CHECK(dx == expected_dx);
      // A range that some elements attain, from either side.
      kernels::CenteredGradientArgs c{gradient.data(), x.data(), count, 0.7f, 0.9f, 0.4f, nullptr};
      for (std::size_t i = 2; i < size; i += 9) x[i] = i % 2 ? 0.7f : -0.7f;
      double products, attained, expected_products, expected_attained;
      table->quantize.centered_sums(c, &products, &attained);
      kernels::reference::centered_sums(c, &expected_products, &expected_attained);
      CHECK(products == doctest::Approx(expected_products).epsilon(1e-5));
      CHECK(attained == expected_attained);
      c.dx = expected_dx.data();
      kernels::reference::centered_gradient(c);
      c.dx = dx.data();
      table->quantize.centered_gradient(c);
      for (std::size_t i = 0; i < size; ++i) CHECK(dx[i] == doctest::Approx(expected_dx[i]).epsilon(1e-5));
      for (const bool absolute : {false, true}) {
        float low, high, expected_low, expected_high;
        table->quantize.extremes(x.data(), count, absolute, &low, &high);
        kernels::reference::extremes(x.data(), count, absolute, &expected_low, &expected_high);
        CHECK(low == expected_low);
        CHECK(high == expected_high);
      }
    }
  }
}

TEST_CASE("kernels: log2 and its codes have the same bits on every instruction set") {
  std::vector<float> x(5000), first(5000), y(5000);
  Random random(10);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::exp2(40 * random.uniform() - 20);
  x[0] = 1.0f;
  x[1] = 2.0f;
  x[2] = std::sqrt(2.0f);
  x[3] = std::sqrt(0.5f);
  x[4] = 1e-38f * 2;
  x[5] = 3e38f;
  kernels::available().back()->quantize.log2(x.data(), first.data(), 5000);
  CHECK(first[0] == 0.0f);
  CHECK(first[1] == 1.0f);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::log2(static_cast<double>(x[i]));
    CHECK(std::abs(first[i] - exact) <= 2e-7 + 1e-7 * std::abs(exact));
  }
  std::vector<float> mixed = samples(5003, 11);
  std::vector<std::uint8_t> codes(5003), first_codes(5003), plain(5003);
  for (const kernels::KernelTable* table : kernels::available()) {
    INFO(std::string(table->name));
    table->quantize.log2(x.data(), y.data(), 5000);
    CHECK(std::memcmp(first.data(), y.data(), 5000 * sizeof(float)) == 0);
    for (const bool two_sided : {false, true}) {
      kernels::LogCodesArgs a{mixed.data(), 5003, two_sided, 0.03f, -5.0f, 7.0f / 6, 7.0f, nullptr};
      a.codes = first_codes.data();
      CHECK(kernels::available().back()->quantize.log_codes(a));
      a.codes = codes.data();
      CHECK(table->quantize.log_codes(a));
      CHECK(codes == first_codes);
      a.codes = plain.data();
      CHECK(kernels::reference::log_codes(a));
      int differ = 0;  // at ties only, where log2's last bit decides
      for (std::size_t i = 0; i < codes.size(); ++i) differ += codes[i] != plain[i];
      CHECK(differ <= 2);
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
    INFO(std::string(table->name));
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
    INFO(std::string(table->name));
    for (std::size_t at = 0; at < 39; ++at) {
      for (const float value : bad) {
        std::vector<float> x(39, 0.25f), y(39);
        std::vector<std::uint8_t> codes(39);
        x[at] = value;
        CHECK_FALSE(table->quantize.uniform_codes({x.data(), 39, 3.0f, 0.0f, 3.0f, codes.data()}));
        CHECK_FALSE(table->quantize.sign_codes(x.data(), 39, false, codes.data()));
        CHECK_FALSE(table->quantize.tanh(x.data(), y.data(), 39));
        CHECK_FALSE(table->quantize.log_codes({x.data(), 39, true, 0.03f, -5.0f, 1.0f, 3.0f, codes.data()}));
      }
    }
  }
}
