#include "spnet/kernels/elementwise.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <vector>

#include "spnet/kernels/dispatch.hpp"
#include "spnet/kernels/reference_elementwise.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;
using kernels::GradientMask;

namespace {

constexpr std::array<std::array<std::int64_t, 2>, 9> kSizes{
    {{1, 1}, {3, 5}, {70, 16}, {300, 64}, {129, 80}, {65, 37}, {7, 131}, {2, 512}, {1000, 3}}};

Tensor<float> normal(std::int64_t rows, std::int64_t channels, std::uint64_t seed, double scale = 1, double offset = 0) {
  return testing::random_normal<float>({rows, channels}, seed, scale, offset);
}

void check_close(const Tensor<float>& a, const Tensor<float>& b, double rtol, double atol) {
  const auto same = testing::allclose(a, b, rtol, atol);
  CHECK_MESSAGE(same.ok, same.message);
}

template <class F>
void for_every_table(const F& f) {
  for (const kernels::KernelTable* table : kernels::available()) {
    INFO(std::string(table->name));
    for (const auto& size : kSizes) {
      const std::int64_t rows = size[0], channels = size[1];
      CAPTURE(rows);
      CAPTURE(channels);
      f(table->elementwise, rows, channels);
    }
  }
}

}  // namespace

TEST_CASE("kernels: moments agree with the reference, far from zero and with an outlier first") {
  for_every_table([](const kernels::ElementwiseKernels& k, std::int64_t rows, std::int64_t channels) {
    for (const double offset : {0.0, 1000.0}) {
      auto x = normal(rows, channels, 1, 1, offset);
      if (offset != 0) x.data()[0] = -5e4f;
      std::vector<double> mean(static_cast<std::size_t>(channels), 7), squares = mean, mean_ref = mean, squares_ref = mean;
      k.moments({x.data(), rows, channels, mean.data(), squares.data()});
      kernels::reference::moments<float>({x.data(), rows, channels, mean_ref.data(), squares_ref.data()});
      for (std::size_t c = 0; c < mean.size(); ++c) {
        CHECK(mean[c] == doctest::Approx(mean_ref[c]).epsilon(1e-6));
        CHECK(squares[c] == doctest::Approx(squares_ref[c]).epsilon(2e-6));
      }
    }
  });
}

TEST_CASE("kernels: normalize has the bits of the reference on every instruction set") {
  for_every_table([](const kernels::ElementwiseKernels& k, std::int64_t rows, std::int64_t channels) {
    auto x = normal(rows, channels, 2);
    const auto residual = normal(rows, channels, 3), scale = normal(1, channels, 4), shift = normal(1, channels, 5);
    x.data()[x.size() / 2] = std::numeric_limits<float>::quiet_NaN();
    x.data()[0] = -std::numeric_limits<float>::infinity();
    for (const bool added : {false, true}) {
      for (const bool relu : {false, true}) {
        Tensor<float> y(x.shape()), expected(x.shape());
        k.of_values.normalize({x.data(), added ? residual.data() : nullptr, scale.data(), shift.data(), relu, y.data(), rows, channels});
        kernels::reference::normalize<float, float>(
            {x.data(), added ? residual.data() : nullptr, scale.data(), shift.data(), relu, expected.data(), rows, channels});
        for (std::int64_t i = 0; i < y.size(); ++i) {
          const bool same = std::isnan(expected.data()[i]) ? std::isnan(y.data()[i]) : y.data()[i] == expected.data()[i];
          if (!same) CHECK_MESSAGE(same, "element ", i, ": ", y.data()[i], ", expected ", expected.data()[i]);
        }
      }
    }
  });
}

TEST_CASE("kernels: normalize of a part of the channels writes that part alone") {
  for_every_table([](const kernels::ElementwiseKernels& k, std::int64_t rows, std::int64_t channels) {
    const std::int64_t x_step = channels + 3, y_step = channels + 5;
    const auto x = normal(rows, x_step, 2), residual = normal(rows, y_step, 3);
    const auto scale = normal(1, channels, 4), shift = normal(1, channels, 5);
    Tensor<float> y = Tensor<float>::full({rows, y_step}, 7.0f);
    Tensor<std::uint8_t> codes = Tensor<std::uint8_t>::full({rows, y_step}, 77);
    const kernels::NormalizeArgs<float> args{x.data(), residual.data(), scale.data(), shift.data(), true,
                                             y.data(), rows,            channels,     x_step,       y_step};
    CHECK(k.of_values.normalize_codes({args, false, 15, 0, 15, codes.data()}));
    Tensor<float> plain = Tensor<float>::full({rows, y_step}, 7.0f);
    auto without_codes = args;
    without_codes.y = plain.data();
    k.of_values.normalize(without_codes);
    CHECK(testing::bit_equal(plain, y));
    for (std::int64_t r = 0; r < rows; ++r) {
      Tensor<float> row({channels});
      Tensor<std::uint8_t> row_codes({channels});
      kernels::reference::normalize_codes<float, float>({{x.data() + r * x_step, residual.data() + r * y_step, scale.data(),
                                                          shift.data(), true, row.data(), 1, channels},
                                                         false, 15, 0, 15, row_codes.data()});
      CHECK(std::equal(row.span().begin(), row.span().end(), y.data() + r * y_step));
      CHECK(std::equal(row_codes.span().begin(), row_codes.span().end(), codes.data() + r * y_step));
      for (std::int64_t i = channels; i < y_step; ++i) CHECK((y(r, i) == 7.0f && codes(r, i) == 77));
    }
  });
}

TEST_CASE("kernels: sums and gradients of a normalisation agree with the reference") {
  for_every_table([](const kernels::ElementwiseKernels& k, std::int64_t rows, std::int64_t channels) {
    const auto g = normal(rows, channels, 6), x = normal(rows, channels, 7), y = normal(rows, channels, 8);
    const auto mean = normal(1, channels, 9), scale = normal(1, channels, 10), shift = normal(1, channels, 11);
    const auto slope = normal(1, channels, 12), offset = normal(1, channels, 13), gain = normal(1, channels, 16);
    for (const auto& [mask, most] : {std::pair{GradientMask::kNone, 1.0f}, std::pair{GradientMask::kInput, 1.0f},
                                     std::pair{GradientMask::kInput, std::numeric_limits<float>::infinity()},
                                     std::pair{GradientMask::kOutput, 1.0f}}) {
      CAPTURE(static_cast<int>(mask));
      Tensor<float> masked = Tensor<float>::zeros(x.shape()), masked_ref = masked.clone();
      Tensor<double> sums = Tensor<double>::full({2, channels}, 3), sums_ref = sums.clone();
      k.of_values.normalize_sums({g.data(), x.data(), y.data(), masked.data(), mean.data(), scale.data(), shift.data(), mask, most,
                        rows, channels, sums.data()});
      kernels::reference::normalize_sums<float, float>({g.data(), x.data(), y.data(), masked_ref.data(), mean.data(), scale.data(),
                                                 shift.data(), mask, most, rows, channels, sums_ref.data()});
      CHECK(testing::bit_equal(masked, masked_ref));
      const auto same = testing::allclose(sums, sums_ref, 1e-5, 1e-4);
      CHECK_MESSAGE(same.ok, same.message);
      if (mask == GradientMask::kOutput) continue;
      Tensor<float> dx = g.clone(), expected(x.shape());  // dx over the gradient
      k.of_values.normalize_gradient({dx.data(), x.data(), gain.data(), mean.data(), scale.data(), shift.data(), slope.data(),
                                      offset.data(), mask, most, dx.data(), rows, channels});
      kernels::reference::normalize_gradient<float, float>({g.data(), x.data(), gain.data(), mean.data(), scale.data(), shift.data(),
                                                     slope.data(), offset.data(), mask, most, expected.data(), rows, channels});
      check_close(dx, expected, 1e-5, 1e-5);
    }
  });
}

TEST_CASE("kernels: the gradient of a scale behind a normalisation agrees with the reference") {
  for_every_table([](const kernels::ElementwiseKernels& k, std::int64_t rows, std::int64_t channels) {
    const auto x = normal(rows, channels, 2, 3), g = normal(rows, channels, 3);
    const auto mean = normal(1, channels, 4), scale = normal(1, channels, 5), shift = normal(1, channels, 6);
    for (const auto& [factor, high] : {std::pair{0.7f, 1.0f}, std::pair{20.0f, 255.0f}}) {
      CAPTURE(high);
      double of_scale = 7, expected = 7;
      Tensor<double> sums({2, channels}), sums_ref({2, channels}), plain({2, channels});
      kernels::NormalizeSumsArgs<float> args{g.data(),     x.data(), nullptr,    nullptr,
                                             mean.data(),  scale.data(), shift.data(), GradientMask::kInput,
                                             high / factor, rows,     channels,   sums.data(),
                                             factor,       high,     &of_scale};
      k.of_values.normalize_sums(args);
      args.factor = 0;
      args.sums = plain.data();
      k.of_values.normalize_sums(args);
      CHECK(testing::bit_equal(sums, plain));
      args.factor = factor;
      args.sums = sums_ref.data();
      args.of_scale = &expected;
      kernels::reference::normalize_sums<float, float>(args);
      CHECK(of_scale == doctest::Approx(expected).epsilon(1e-4));
    }
  });
}

TEST_CASE("kernels: codes of a normalisation have the bits of the reference on every instruction set") {
  for_every_table([](const kernels::ElementwiseKernels& k, std::int64_t rows, std::int64_t channels) {
    const auto x = normal(rows, channels, 2, 3), residual = normal(rows, channels, 3);
    const auto scale = normal(1, channels, 4), shift = normal(1, channels, 5);
    for (const bool added : {false, true}) {
      for (const bool relu : {false, true}) {
        for (const bool sign : {false, true}) {
          Tensor<float> y(x.shape()), y_ref(x.shape());
          Tensor<std::uint8_t> codes(x.shape()), expected(x.shape()), alone(x.shape());
          const kernels::NormalizeArgs<float> n{x.data(),     added ? residual.data() : nullptr,
                                                scale.data(), shift.data(),
                                                relu,         y.data(),
                                                rows,         channels};
          auto without = n, reference = n;
          without.y = nullptr;
          reference.y = y_ref.data();
          CHECK(k.of_values.normalize_codes({n, sign, 15, 0, 15, codes.data()}));
          CHECK(k.of_values.normalize_codes({without, sign, 15, 0, 15, alone.data()}));
          CHECK(kernels::reference::normalize_codes<float, float>({reference, sign, 15, 0, 15, expected.data()}));
          CHECK(testing::bit_equal(y, y_ref));
          CHECK(testing::bit_equal(codes, expected));
          CHECK(testing::bit_equal(alone, expected));
          // Instead of the codes what they stand for, in the place of x, and beside them.
          Tensor<float> values = x.clone(), beside(x.shape()), values_ref(x.shape());
          const kernels::NormalizeCodesArgs<float> decoded{without, sign, 15, 0, 15, nullptr, nullptr, 2, 7, 0.37f};
          auto in_place = decoded, both = decoded, of_reference = decoded;
          in_place.normalize.x = in_place.values = values.data();
          both.codes = codes.data();
          both.values = beside.data();
          of_reference.values = values_ref.data();
          std::fill_n(codes.data(), codes.size(), std::uint8_t{99});
          CHECK(k.of_values.normalize_codes(in_place));
          CHECK(k.of_values.normalize_codes(both));
          CHECK(kernels::reference::normalize_codes<float, float>(of_reference));
          CHECK(testing::bit_equal(values, values_ref));
          CHECK(testing::bit_equal(beside, values_ref));
          CHECK(testing::bit_equal(codes, expected));
        }
      }
    }
    auto bad = x.clone();
    bad.data()[bad.size() - 1] = std::numeric_limits<float>::quiet_NaN();
    Tensor<std::uint8_t> codes(x.shape());
    CHECK_FALSE(k.of_values.normalize_codes(
        {{bad.data(), nullptr, scale.data(), shift.data(), true, nullptr, rows, channels}, false, 15, 0, 15, codes.data()}));
  });
}

TEST_CASE("kernels: normalising int32 sums is normalising their floats") {
  for_every_table([](const kernels::ElementwiseKernels& k, std::int64_t rows, std::int64_t channels) {
    const auto values = normal(rows, channels, 2, 1000), g = normal(rows, channels, 3);
    Tensor<std::int32_t> sums(values.shape());
    Tensor<float> x(values.shape());
    for (std::int64_t i = 0; i < x.size(); ++i)
      x.data()[i] = static_cast<float>(sums.data()[i] = static_cast<std::int32_t>(values.data()[i]));
    const auto mean = normal(1, channels, 9), scale = normal(1, channels, 10), shift = normal(1, channels, 11);
    const auto slope = normal(1, channels, 12), offset = normal(1, channels, 13), gain = normal(1, channels, 16);
    const auto run = [&](const auto& f, const auto* in, Tensor<float>& y, Tensor<float>& dx, Tensor<double>& totals) {
      f.normalize({in, nullptr, scale.data(), shift.data(), true, y.data(), rows, channels});
      f.normalize_sums({g.data(), in, nullptr, nullptr, mean.data(), scale.data(), shift.data(), GradientMask::kInput, 1.0f,
                        rows, channels, totals.data()});
      f.normalize_gradient({g.data(), in, gain.data(), mean.data(), scale.data(), shift.data(), slope.data(), offset.data(),
                            GradientMask::kInput, 1.0f, dx.data(), rows, channels});
    };
    Tensor<float> y(x.shape()), y_ref(x.shape()), dx(x.shape()), dx_ref(x.shape());
    Tensor<double> totals({2, channels}), totals_ref({2, channels});
    run(k.of_sums, sums.data(), y, dx, totals);
    run(k.of_values, x.data(), y_ref, dx_ref, totals_ref);
    CHECK(testing::bit_equal(y, y_ref));
    CHECK(testing::bit_equal(dx, dx_ref));
    CHECK(testing::bit_equal(totals, totals_ref));
  });
}

TEST_CASE("kernels: add, relu and its gradient have the bits of the reference") {
  for_every_table([](const kernels::ElementwiseKernels& k, std::int64_t rows, std::int64_t channels) {
    const auto a = normal(rows, channels, 14), b = normal(rows, channels, 15);
    Tensor<float> sum = a.clone(), sum_ref = a.clone(), y(a.shape()), y_ref(a.shape()), dx(a.shape()), dx_ref(a.shape());
    k.add(sum.data(), b.data(), a.size());
    kernels::reference::add(sum_ref.data(), b.data(), a.size());
    CHECK(testing::bit_equal(sum, sum_ref));
    Tensor<float> most = b.clone(), most_ref = b.clone();
    k.maximum(most.data(), a.data(), a.size());
    kernels::reference::maximum(most_ref.data(), a.data(), a.size());
    CHECK(testing::bit_equal(most, most_ref));
    k.relu(a.data(), y.data(), a.size());
    kernels::reference::relu(a.data(), y_ref.data(), a.size());
    CHECK(testing::bit_equal(y, y_ref));
    k.relu_gradient(b.data(), y.data(), dx.data(), a.size());
    kernels::reference::relu_gradient(b.data(), y.data(), dx_ref.data(), a.size());
    CHECK(testing::bit_equal(dx, dx_ref));
  });
}

TEST_CASE("kernels: element-wise tails write nothing beyond their end") {
  for (const kernels::KernelTable* table : kernels::available()) {
    INFO(std::string(table->name));
    for (std::int64_t count = 0; count < 40; ++count) {
      std::vector<float> x(64, 2), y(64, 9);
      table->elementwise.relu(x.data(), y.data(), count);
      table->elementwise.add(y.data(), x.data(), count);
      for (std::int64_t i = 0; i < 64; ++i) CHECK(y[static_cast<std::size_t>(i)] == (i < count ? 4 : 9));
    }
  }
}
