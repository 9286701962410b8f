#include "spnet/autograd/norm.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "gradients.hpp"
#include "spnet/autograd/activation.hpp"
#include "spnet/autograd/arithmetic.hpp"

using namespace spnet;

TEST_CASE("autograd: batch norm and its fusions pass gradient checks") {
  for (const Shape& shape : {Shape{6, 3}, Shape{2, 3, 4, 5}, Shape{3, 3, 3, 1}}) {
    const std::int64_t c = shape.back();
    const Inputs inputs{leaf(shape, 1, 2, 3), leaf({c}, 2), leaf({c}, 3), leaf(shape, 4)};
    for (const bool training : {true, false}) {
      const BatchNormOptions options{.training = training};
      const auto mean = testing::random_normal<double>({c}, 5), var = Tensor<double>::full({c}, 1.5);
      CHECK_GRADIENTS([&](const Inputs& v) { return batch_norm(v[0], v[1], v[2], mean.clone(), var.clone(), options); }, inputs);
      CHECK_GRADIENTS([&](const Inputs& v) { return batch_norm_relu(v[0], v[1], v[2], mean.clone(), var.clone(), options); },
                      inputs);
      CHECK_GRADIENTS(
          [&](const Inputs& v) { return batch_norm_add_relu(v[0], v[3], v[1], v[2], mean.clone(), var.clone(), options); },
          inputs);
    }
  }
}

TEST_CASE("autograd: batch norm of a strided input passes gradient checks") {
  Variable<double> x(testing::random_normal<double>({3, 4, 5}, 6).permute({2, 0, 1}), true);
  Variable<double> r(testing::random_normal<double>({4, 5, 3}, 7).permute({1, 2, 0}), true);
  CHECK_GRADIENTS([](const Inputs& v) { return batch_norm_add_relu(v[0], v[3], v[1], v[2], {}, {}); },
                  Inputs{x, leaf({4}, 8), leaf({4}, 9), r});
}

TEST_CASE("autograd: fused batch norms equal their parts") {
  const auto x = leaf<float>({4, 5, 5, 19}, 10, 2, 1), r = leaf<float>({4, 5, 5, 19}, 11);
  const auto gamma = leaf<float>({19}, 12), beta = leaf<float>({19}, 13);
  const auto seed = testing::random_normal<float>(x.shape(), 14);
  const auto run = [&](auto function) {
    std::vector<Tensor<float>> out;
    for (auto v : {x, gamma, beta, r}) v.zero_grad();
    const auto y = function();
    y.backward(seed);
    out.push_back(y.value());
    for (auto v : {x, gamma, beta, r})
      if (v.grad().defined()) out.push_back(v.grad());
    return out;
  };
  const auto compare = [](const std::vector<Tensor<float>>& a, const std::vector<Tensor<float>>& b) {
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      const auto same = testing::allclose(a[i], b[i], 1e-5, 1e-5);
      CHECK_MESSAGE(same.ok, same.message);
    }
  };
  compare(run([&] { return batch_norm_relu(x, gamma, beta, {}, {}); }), run([&] { return relu(batch_norm(x, gamma, beta, {}, {})); }));
  compare(run([&] { return batch_norm_add_relu(x, r, gamma, beta, {}, {}); }),
          run([&] { return relu(batch_norm(x, gamma, beta, {}, {}) + r); }));
}

TEST_CASE("autograd: batch norm updates running statistics as PyTorch does") {
  const auto x = Variable<float>(Tensor<float>::from({4, 1}, {1, 2, 3, 6}));
  const auto gamma = Variable<float>(Tensor<float>::ones({1})), beta = Variable<float>(Tensor<float>::zeros({1}));
  Tensor<float> mean = Tensor<float>::zeros({1}), var = Tensor<float>::ones({1});
  const auto y = batch_norm(x, gamma, beta, mean, var, {.momentum = 0.1});
  CHECK(mean(0) == doctest::Approx(0.3));
  CHECK(var(0) == doctest::Approx(0.9 + 0.1 * 14.0 / 3));  // unbiased
  CHECK(y.value()(3, 0) == doctest::Approx(3 / std::sqrt(3.5 + 1e-5)));  // biased
  const auto z = batch_norm(x, gamma, beta, mean, var, {.training = false});
  CHECK(z.value()(0, 0) == doctest::Approx((1 - 0.3) / std::sqrt(0.9 + 1.4 / 3 + 1e-5)));
  CHECK(mean(0) == doctest::Approx(0.3));
}

TEST_CASE("autograd: batch norm in float agrees with double, also far from zero") {
  for (const double offset : {0.0, 1000.0, -30000.0}) {
    for (const std::int64_t channels : {1, 7, 10, 16, 37, 64}) {
      const auto seed = testing::random_normal<float>({33, 9, 5, channels}, 15);
      const auto xf = leaf<float>(seed.shape(), 16, 1, offset);
      const auto gf = leaf<float>({channels}, 17), bf = leaf<float>({channels}, 18);
      const Variable<double> xd(xf.value().to<double>(), true), gd(gf.value().to<double>(), true), bd(bf.value().to<double>(), true);
      Tensor<float> mf = Tensor<float>::zeros({channels}), vf = Tensor<float>::zeros({channels});
      Tensor<double> md = mf.to<double>(), vd = vf.to<double>();
      const auto yf = batch_norm(xf, gf, bf, mf, vf, {.momentum = 1});
      const auto yd = batch_norm(xd, gd, bd, md, vd, {.momentum = 1});
      const double ulps = 1e-6 * std::max(1.0, std::abs(offset));
      const auto close = [&](const auto& a, const auto& b, double rtol, double atol) {
        const auto same = testing::allclose(a, b, rtol, atol);
        CHECK_MESSAGE(same.ok, offset, " ", channels, " ", same.message);
      };
      close(mf, md, 1e-6, 1e-6);
      close(vf, vd, 1e-5, 0);
      close(yf.value(), yd.value(), 1e-5, ulps);
      yf.backward(seed);
      yd.backward(seed.to<double>());
      close(gf.grad(), gd.grad(), 1e-4, 1e-3);
      close(bf.grad(), bd.grad(), 1e-4, 1e-3);
      close(xf.grad(), xd.grad(), 1e-4, 1e-5);
    }
  }
}

TEST_CASE("autograd: batch norm has the same bits for any number of threads") {
  const auto x = leaf<float>({40, 16, 16, 16}, 19), r = leaf<float>({40, 16, 16, 16}, 20);
  const auto gamma = leaf<float>({16}, 21), beta = leaf<float>({16}, 22);
  const auto seed = testing::random_normal<float>(x.shape(), 23);
  std::vector<std::vector<Tensor<float>>> results;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    for (auto v : {x, r, gamma, beta}) v.zero_grad();
    Tensor<float> mean = Tensor<float>::zeros({16}), var = Tensor<float>::zeros({16});
    const auto y = batch_norm_add_relu(x, r, gamma, beta, mean, var);
    y.backward(seed);
    results.push_back({y.value(), x.grad(), r.grad(), gamma.grad(), beta.grad(), mean, var});
  }
  set_num_threads(0);
  for (std::size_t i = 0; i < results[0].size(); ++i) {
    CHECK(testing::bit_equal(results[0][i], results[1][i]));
    CHECK(testing::bit_equal(results[0][i], results[2][i]));
  }
}

TEST_CASE("autograd: batch norm names what does not fit") {
  const auto x = leaf<float>({2, 3}, 24), gamma = leaf<float>({3}, 25), beta = leaf<float>({3}, 26);
  CHECK_THROWS_WITH_AS(batch_norm(x, leaf<float>({4}, 1), beta, {}, {}),
                       "batch_norm: gamma [4] given, input [2,3] expects [3]", ShapeError);
  CHECK_THROWS_AS(batch_norm(x, gamma, beta, {}, {}, {.training = false}), ShapeError);
  CHECK_THROWS_WITH_AS(batch_norm(leaf<float>({1, 3}, 1), gamma, beta, {}, {}),
                       "batch_norm: input [1,3] has one value for each channel, which has no variance; training expects more",
                       ValueError);
  CHECK_THROWS_WITH_AS(batch_norm(x, gamma, beta, {}, {}, {.epsilon = 0}), "batch_norm: epsilon 0 given, expected > 0", ValueError);
  CHECK_THROWS_WITH_AS(batch_norm_add_relu(x, gamma, gamma, beta, {}, {}),
                       "batch_norm_add_relu: residual [3] given, input is [2,3]", ShapeError);
  CHECK_THROWS_AS(batch_norm(leaf<float>({0, 3}, 1), gamma, beta, {}, {}), ShapeError);
}
