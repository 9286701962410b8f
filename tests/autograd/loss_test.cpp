#include "spnet/autograd/loss.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "gradients.hpp"
#include "spnet/autograd/arithmetic.hpp"
#include "spnet/autograd/softmax.hpp"

using namespace spnet;

namespace {
const Tensor<std::int32_t> kLabels = Tensor<std::int32_t>::from({4}, {0, 6, 3, 3});
}  // namespace

TEST_CASE("autograd: softmax and log-softmax pass gradient checks") {
  const Inputs x{leaf({3, 2, 7}, 1)};
  CHECK_GRADIENTS([](const Inputs& v) { return softmax(v[0]); }, x);
  CHECK_GRADIENTS([](const Inputs& v) { return log_softmax(v[0]); }, x);
  const Inputs strided{Variable<double>(testing::random_normal<double>({7, 3}, 2).transpose(0, 1), true)};
  CHECK_GRADIENTS([](const Inputs& v) { return softmax(v[0]) * log_softmax(v[0]); }, strided);
}

TEST_CASE("autograd: losses pass gradient checks") {
  const Inputs x{leaf({4, 7}, 3, 2)};
  CHECK_GRADIENTS([](const Inputs& v) { return cross_entropy(v[0], kLabels); }, x);
  CHECK_GRADIENTS([](const Inputs& v) { return cross_entropy(v[0], kLabels, {.label_smoothing = 0.1}) * 3.0; }, x);
  const auto teacher_logits = testing::random_normal<double>({4, 7}, 4);
  const auto teacher = ops::softmax(teacher_logits, 3);
  const auto raw = testing::random_normal<double>({4, 7}, 5);  // rows that do not sum to 1
  CHECK_GRADIENTS([&](const Inputs& v) { return soft_cross_entropy(v[0], teacher, {.temperature = 3}); }, x);
  CHECK_GRADIENTS([&](const Inputs& v) { return soft_cross_entropy(v[0], raw); }, x);
  CHECK_GRADIENTS([&](const Inputs& v) { return kl_divergence(v[0], teacher, {.temperature = 3}); }, x);
  CHECK_GRADIENTS([&](const Inputs& v) { return kl_divergence_from_logits(v[0], teacher_logits, {.temperature = 2}); }, x);
  CHECK_GRADIENTS([](const Inputs& v) { return mse(v[0], v[1]); }, Inputs{leaf({3, 5}, 6), leaf({3, 5}, 7)});
}

TEST_CASE("autograd: losses have the values of their definitions") {
  const auto x = leaf({4, 7}, 8, 3);
  const auto logp = log_softmax(x).value();
  double plain = 0, smooth = 0;
  for (std::int64_t n = 0; n < 4; ++n) {
    plain -= logp(n, kLabels(n)) / 4;
    double all = 0;
    for (std::int64_t k = 0; k < 7; ++k) all += logp(n, k) / 7;
    smooth -= (0.9 * logp(n, kLabels(n)) + 0.1 * all) / 4;
  }
  CHECK(cross_entropy(x, kLabels).item() == doctest::Approx(plain).epsilon(1e-12));
  CHECK(cross_entropy(x, kLabels, {.label_smoothing = 0.1}).item() == doctest::Approx(smooth).epsilon(1e-12));
  CHECK(soft_cross_entropy(x, ops::smoothed_one_hot<double>(kLabels, 7)).item() == doctest::Approx(plain).epsilon(1e-12));
  // A student that has reached its teacher: no divergence, no gradient, but the teacher's entropy as cross-entropy.
  const auto same = kl_divergence_from_logits(x, x.value(), {.temperature = 4});
  CHECK(std::abs(same.item()) < 1e-12);
  same.backward();
  for (double g : x.grad().span()) CHECK(std::abs(g) < 1e-12);
  CHECK(mse(Variable<double>(Tensor<double>::from({2}, {1, 5})), Variable<double>(Tensor<double>::from({2}, {3, 4}))).item() == 2.5);
}

TEST_CASE("autograd: losses do not overflow and agree in float and double") {
  const auto x = Tensor<float>::from({2, 3}, {1000, -1000, 999, -20000, -20001, -20000});
  const auto labels = Tensor<std::int32_t>::from({2}, {0, 1});
  const Variable<float> xf(x, true);
  const Variable<double> xd(x.to<double>(), true);
  const auto lf = cross_entropy(xf, labels);
  const auto ld = cross_entropy(xd, labels);
  CHECK(lf.item() == doctest::Approx(ld.item()).epsilon(1e-6));
  lf.backward();
  ld.backward();
  const auto close = testing::allclose(xf.grad(), xd.grad(), 1e-5, 1e-7);
  CHECK_MESSAGE(close.ok, close.message);
  CHECK(testing::allclose(ops::sum(ops::softmax(x), {1}), Tensor<float>::ones({2}), 1e-6, 0).ok);
}

TEST_CASE("autograd: losses name bad labels, shapes and options") {
  const Variable<float> x(Tensor<float>::zeros({2, 3}));
  const auto bad = [](std::int32_t a, std::int32_t b) { return Tensor<std::int32_t>::from({2}, {a, b}); };
  CHECK_THROWS_WITH_AS(cross_entropy(x, bad(0, 3)), "cross_entropy: label 3 at index 1, expected 0 to 2", ValueError);
  CHECK_THROWS_WITH_AS(cross_entropy(x, bad(-1, 0)), "cross_entropy: label -1 at index 0, expected 0 to 2", ValueError);
  CHECK_THROWS_WITH_AS(cross_entropy(x, Tensor<std::int32_t>::from({3}, {0, 0, 0})),
                       "cross_entropy: labels [3] given, logits [2,3] expect [2]", ShapeError);
  CHECK_THROWS_WITH_AS(cross_entropy(x, bad(0, 0), {.label_smoothing = 2}),
                       "cross_entropy: label smoothing 2 given, expected 0 to 1", ValueError);
  CHECK_THROWS_WITH_AS(soft_cross_entropy(x, Tensor<float>::zeros({2, 2})),
                       "soft_cross_entropy: target [2,2] given, logits are [2,3]", ShapeError);
  CHECK_THROWS_WITH_AS(kl_divergence(x, Tensor<float>::zeros({2, 3}), {.temperature = 0}),
                       "kl_divergence: temperature 0 given, expected > 0", ValueError);
  CHECK_THROWS_AS(kl_divergence_from_logits(x, Tensor<float>::zeros({2, 3}), {.temperature = -1}), ValueError);
  CHECK_THROWS_WITH_AS(mse(x, Variable<float>(Tensor<float>::zeros({3}))), "mse: target [3] given, input is [2,3]", ShapeError);
}
