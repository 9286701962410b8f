#include "spnet/autograd/conv.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "gradients.hpp"

using namespace spnet;

namespace {
struct Case {
  Shape x, w;
  Conv2dOptions options;
};
const std::vector<Case> kCases = {{{2, 5, 6, 3}, {4, 3, 3, 3}, {.padding = 1}},
                                  {{1, 7, 7, 2}, {3, 3, 3, 2}, {.stride = 2, .padding = 1}},
                                  {{1, 7, 6, 2}, {2, 3, 2, 2}, {.stride = {2, 1}, .padding = {1, 0}, .dilation = {2, 1}}},
                                  {{2, 4, 4, 4}, {6, 3, 3, 2}, {.padding = 1, .groups = 2}},
                                  {{2, 5, 5, 3}, {3, 3, 3, 1}, {.stride = 2, .padding = 1, .groups = 3}},
                                  {{2, 4, 4, 5}, {3, 1, 1, 5}, {.stride = 2}}};
}  // namespace

TEST_CASE("autograd: conv2d passes gradient checks") {
  for (const auto& c : kCases) {
    CAPTURE(c.w);
    const Inputs inputs{leaf(c.x, 1), leaf(c.w, 2), leaf({c.w[0]}, 3)};
    CHECK_GRADIENTS([&](const Inputs& v) { return conv2d(v[0], v[1], c.options); }, inputs);
    CHECK_GRADIENTS([&](const Inputs& v) { return conv2d(v[0], v[1], v[2], c.options); }, inputs);
  }
  const Variable<double> strided(testing::random_normal<double>({2, 3, 5, 6}, 4).permute({0, 2, 3, 1}), true);
  CHECK_GRADIENTS([](const Inputs& v) { return conv2d(v[0], v[1]); }, Inputs{strided, leaf({2, 3, 3, 3}, 5)});
}

TEST_CASE("autograd: conv2d in float agrees with double") {
  for (const auto& c : kCases) {
    CAPTURE(c.w);
    const auto xf = leaf<float>(c.x, 6), wf = leaf<float>(c.w, 7);
    const auto xd = leaf<double>(c.x, 6), wd = leaf<double>(c.w, 7);
    const auto yf = conv2d(xf, wf, c.options);
    const auto yd = conv2d(xd, wd, c.options);
    const auto seed = testing::random_normal<double>(yd.shape(), 8);
    yf.backward(seed.to<float>());
    yd.backward(seed);
    for (const auto& same : {testing::allclose(yf.value(), yd.value(), 1e-5, 1e-4), testing::allclose(xf.grad(), xd.grad(), 1e-5, 1e-4),
                             testing::allclose(wf.grad(), wd.grad(), 1e-5, 1e-4)})
      CHECK_MESSAGE(same.ok, same.message);
  }
}

TEST_CASE("autograd: linear passes gradient checks") {
  const Inputs inputs{leaf({3, 5}, 9), leaf({4, 5}, 10), leaf({4}, 11)};
  CHECK_GRADIENTS([](const Inputs& v) { return linear(v[0], v[1]); }, inputs);
  CHECK_GRADIENTS([](const Inputs& v) { return linear(v[0], v[1], v[2]); }, inputs);
  const auto y = linear(Variable<float>(Tensor<float>::from({1, 2}, {1, 2})), Variable<float>(Tensor<float>::from({2, 2}, {1, 1, 0, 3})),
                        Variable<float>(Tensor<float>::from({2}, {10, 20})));
  CHECK(testing::bit_equal(y.value(), Tensor<float>::from({1, 2}, {13, 26})));
}

TEST_CASE("autograd: products name what does not fit") {
  const auto x = leaf<float>({1, 4, 4, 3}, 1), w = leaf<float>({16, 3, 3, 4}, 2);
  CHECK_THROWS_WITH_AS(conv2d(x, w), doctest::Contains("conv2d: input has 3 channels, weight [16,3,3,4] expects 4"), ShapeError);
  CHECK_THROWS_WITH_AS(conv2d(x, w, leaf<float>({3}, 3)),
                       "conv2d: bias [3] given, weight [16,3,3,4] expects one for each output channel", ShapeError);
  CHECK_THROWS_WITH_AS(linear(leaf<float>({2, 3}, 4), leaf<float>({4, 5}, 5)),
                       "linear: input [2,3] given, weight [4,5] [out,in] expects [N,in]", ShapeError);
  CHECK_THROWS_WITH_AS(linear(leaf<float>({2, 5}, 4), leaf<float>({4, 5}, 5), leaf<float>({5}, 6)),
                       "linear: bias [5] given, weight [4,5] [out,in] expects one for each output", ShapeError);
}
