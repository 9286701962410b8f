#include "spnet/ops/batch_norm.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "../kernels/portable_bf16.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {
// Every instruction set in turn.
template <class F>
void for_every_table(const F& f) {
  for (const kernels::KernelTable* table : kernels::available()) {
    INFO(std::string(table->name));
    kernels::force(table->name);
    f();
  }
  kernels::force("");
}
}  // namespace

TEST_CASE("ops: chunks cover every element once, whatever the channels") {
  for (const std::int64_t channels : {1, 3, 10, 16, 31, 64, 80, 100, 513, 1001}) {
    for (const std::int64_t rows : {1, 2, 63, 64, 1000, 4099}) {
      const ops::detail::ChannelChunks chunks(rows, channels);
      std::int64_t at = 0;
      for (std::int64_t i = 0; i < chunks.count; ++i) {
        CHECK(chunks[i].at == at);
        CHECK(chunks[i].rows > 0);
        CHECK(chunks[i].channels == channels * chunks[i].repeat);
        at += chunks[i].rows * chunks[i].channels;
      }
      CHECK(at == rows * channels);
    }
  }
}

TEST_CASE("ops: channel moments agree with double for every width, far from zero") {
  for (const std::int64_t channels : {1, 3, 10, 16, 37, 64, 130, 513}) {
    CAPTURE(channels);
    const auto x = testing::random_normal<float>({37, 29, channels}, 1, 1, 1000);
    const auto exact = ops::channel_moments(x.to<double>());
    for_every_table([&] {
      const auto moments = ops::channel_moments(x);
      for (std::int64_t c = 0; c < channels; ++c) {
        CHECK(moments.mean(c) == doctest::Approx(exact.mean(c)).epsilon(1e-9));
        CHECK(moments.variance(c) == doctest::Approx(exact.variance(c)).epsilon(1e-5));
      }
    });
  }
}

TEST_CASE("ops: constant channels have no variance") {
  const auto moments = ops::channel_moments(Tensor<float>::full({5000, 3}, 1234.567f));
  for (std::int64_t c = 0; c < 3; ++c) {
    CHECK(moments.mean(c) == doctest::Approx(1234.567f).epsilon(1e-12));
    CHECK(moments.variance(c) >= 0);
    CHECK(moments.variance(c) < 1e-12);
  }
}

TEST_CASE("ops: normalize has the same bits on every instruction set, alone and inside a batch") {
  for (const std::int64_t channels : {1, 10, 16, 37, 64, 513}) {
    CAPTURE(channels);
    const auto x = testing::random_normal<float>({9, 7, 3, channels}, 2),
               r = testing::random_normal<float>(x.shape(), 3);
    const ops::ChannelAffine<float> affine{testing::random_normal<float>({channels}, 4),
                                           testing::random_normal<float>({channels}, 5)};
    std::vector<Tensor<float>> results;
    for_every_table([&] { results.push_back(ops::normalize(x, affine, r, true)); });
    for (const auto& y : results) CHECK(testing::bit_equal(y, results[0]));
    for (std::int64_t n = 0; n < 9; ++n) {
      const auto one = ops::normalize(x.narrow(0, n, 1), affine, r.narrow(0, n, 1), true);
      CHECK(testing::bit_equal(one, results[0].narrow(0, n, 1)));
    }
  }
}

TEST_CASE("ops: folding needs no batch and is exact in double") {
  const auto gamma = Tensor<double>::from({2}, {2, -1}), beta = Tensor<double>::from({2}, {0.5, 3});
  const auto mean = Tensor<double>::from({2}, {1, 10}), var = Tensor<double>::from({2}, {3, 0});
  const auto affine = ops::fold_batch_norm(gamma, beta, mean, var, 1.0);
  CHECK(testing::bit_equal(affine.scale, Tensor<double>::from({2}, {1, -1})));
  CHECK(testing::bit_equal(affine.shift, Tensor<double>::from({2}, {-0.5, 13})));
  CHECK(ops::normalize(Tensor<double>::zeros({0, 2}), affine).shape() == Shape{0, 2});
}

TEST_CASE("ops: a normalisation's gradient is rounded to bf16 where it is asked for as such") {
  using kernels::GradientMask;
  std::vector<const kernels::KernelTable*> tables{&portable::table()};
  tables.insert(tables.end(), kernels::available().begin(), kernels::available().end());
  const auto check_rounded = [](const auto& context, const Tensor<float>& g) {
    const auto values = ops::normalize_backward(g, context, ops::NormalizedGradient::kValues);
    const auto rounded = ops::normalize_backward(g, context, ops::NormalizedGradient::kBf16);
    CHECK(!rounded.x.defined());
    REQUIRE(rounded.x_bf16.shape() == g.shape());
    std::int64_t differ = 0;
    for (std::int64_t i = 0; i < g.size(); ++i)
      differ += rounded.x_bf16.data()[i].bits != bf16(values.x.data()[i]).bits;
    CHECK(differ == 0);
    CHECK(testing::bit_equal(rounded.gamma, values.gamma));
    CHECK(rounded.scale == values.scale);
    CHECK(rounded.residual.defined() == values.residual.defined());
    if (values.residual.defined()) CHECK(testing::bit_equal(rounded.residual, values.residual));
  };
  for (const std::int64_t channels : {1, 3, 16, 37, 130, 3001}) {
    const Shape shape{7, 5, channels};
    const auto x = testing::random_normal<float>(shape, 1, 100), g = testing::random_normal<float>(shape, 2);
    const auto moments = ops::channel_moments(x);
    const auto gamma = testing::random_normal<float>({channels}, 3),
               beta = testing::random_normal<float>({channels}, 4);
    for (const kernels::KernelTable* table : tables) {
      INFO(std::string(table->name), ' ', channels, " channels");
      const portable::Setting setting(*table, ops::Float32Precision::kHighest);
      for (const GradientMask mask : {GradientMask::kNone, GradientMask::kInput, GradientMask::kOutput}) {
        const auto context_of = [&]<class X>(const ops::NormalizeInput<float, X>& input) {
          return ops::NormalizeContext<float, X>{
              .input = input,
              .y = testing::random_normal<float>(shape, 5),
              .affine = ops::fold_batch_norm(gamma, beta, moments.mean, moments.variance, 1e-5),
              .mean = moments.mean,
              .variance = moments.variance,
              .epsilon = 1e-5,
              .mask = mask,
              .clip = {.most = 0.75f, .factor = 20.0f, .high = 15.0f},
              .training = true};
        };
        check_rounded(context_of(ops::NormalizeInput<float>{x, {}}), g);
        check_rounded(context_of(ops::NormalizeSums{x.to<std::int32_t>(), Tensor<float>::ones({channels})}), g);
      }
    }
  }
  const Tensor<double> one = Tensor<double>::ones({2, 1});
  const ops::NormalizeContext<double> of_double{.input = {one, {}},
                                                .y = {},
                                                .affine = {Tensor<double>::ones({1}), Tensor<double>::ones({1})},
                                                .mean = Tensor<double>::ones({1}),
                                                .variance = Tensor<double>::ones({1}),
                                                .epsilon = 1e-5,
                                                .mask = GradientMask::kNone,
                                                .training = true};
  CHECK_THROWS_AS(ops::normalize_backward(one, of_double, ops::NormalizedGradient::kBf16), ValueError);
}
