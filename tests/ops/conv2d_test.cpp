#include "spnet/ops/conv2d.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "spnet/core/parallel.hpp"
#include "spnet/core/random.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/elementwise.hpp"

using namespace spnet;

namespace {

struct Case {
  Shape x, w;
  ops::Conv2dOptions options;
};

Tensor<float> random_tensor(const Shape& shape, std::uint64_t stream) {
  Tensor<float> t(shape);
  Random random(7, stream);
  for (float& v : t.span()) v = random.uniform(-1.0f, 1.0f);
  return t;
}

// Relative to the largest value, in units of float's rounding over a sum of `terms`.
void check_close(const Tensor<float>& got, const Tensor<double>& expected, double terms, const char* what) {
  CAPTURE(what);
  REQUIRE(got.shape() == expected.shape());
  double worst = 0.0, largest = 0.0;
  for (std::int64_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(got.data()[i]) - expected.data()[i]);
    worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
    largest = std::max(largest, std::abs(expected.data()[i]));
  }
  CHECK(worst <= 6e-8 * (4.0 + 4.0 * std::sqrt(terms)) * std::max(largest, 0.25));
}

bool same_bits(const Tensor<float>& a, const Tensor<float>& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * 4) == 0;
}

void check_case(const Case& t) {
  CAPTURE(message(t.x, t.w, " stride ", t.options.stride.h, 'x', t.options.stride.w, " padding ", t.options.padding.h,
                  'x', t.options.padding.w, " dilation ", t.options.dilation.h, 'x', t.options.dilation.w, " groups ",
                  t.options.groups));
  const Tensor<float> x = random_tensor(t.x, 1), w = random_tensor(t.w, 2);
  const Tensor<double> x64 = x.to<double>(), w64 = w.to<double>();
  const Tensor<double> y64 = ops::conv2d(x64, w64, t.options);
  const Tensor<float> grad = random_tensor(y64.shape(), 3);
  const Tensor<double> grad64 = grad.to<double>();
  const Tensor<double> dx64 = ops::conv2d_backward_data(grad64, w64, t.x, t.options);
  const Tensor<double> dw64 = ops::conv2d_backward_weight(grad64, x64, t.w, t.options);
  for (const kernels::KernelTable* table : kernels::available()) {
    INFO(std::string(table->name));
    kernels::force(table->name);
    Tensor<float> results[2][3];
    for (int threads = 1; threads <= 2; ++threads) {
      set_num_threads(threads);
      auto& r = results[threads - 1];
      r[0] = ops::conv2d(x, w, t.options);
      r[1] = ops::conv2d_backward_data(grad, w, t.x, t.options);
      r[2] = ops::conv2d_backward_weight(grad, x, t.w, t.options);
    }
    set_num_threads(0);
    const double terms = static_cast<double>(t.w[1] * t.w[2] * t.w[3]);
    check_close(results[0][0], y64, terms, "forward");
    check_close(results[0][1], dx64, terms * static_cast<double>(t.w[0]) / static_cast<double>(std::max<std::int64_t>(t.w[3], 1)), "backward data");
    check_close(results[0][2], dw64, static_cast<double>(y64.size()), "backward weight");
    for (int i = 0; i < 3; ++i) CHECK(same_bits(results[0][i], results[1][i]));
  }
  kernels::force("");
}

std::string error_text(const Case& t) {
  try {
    ops::conv2d(Tensor<float>::zeros(t.x), Tensor<float>::zeros(t.w), t.options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("ops: conv2d and its gradients agree with float64 loops") {
  const std::vector<Case> cases = {
      {{2, 8, 8, 16}, {16, 3, 3, 16}, {.padding = 1}},
      {{3, 9, 7, 3}, {16, 3, 3, 3}, {.padding = 1}},
      {{2, 8, 8, 32}, {64, 3, 3, 32}, {.stride = 2, .padding = 1}},
      {{2, 9, 11, 20}, {37, 3, 3, 20}, {.stride = 2, .padding = 1}},
      {{1, 10, 13, 5}, {7, 3, 3, 5}, {.stride = 3, .padding = 2}},
      {{1, 17, 19, 33}, {50, 3, 3, 33}, {.padding = 1}},
      {{2, 6, 6, 16}, {32, 1, 1, 16}, {.stride = 2}},
      {{2, 5, 7, 24}, {96, 1, 1, 24}, {}},
      {{1, 5, 7, 200}, {24, 1, 1, 200}, {}},
      {{2, 5, 5, 10}, {12, 1, 1, 10}, {.padding = 1}},
      {{1, 23, 25, 3}, {20, 7, 7, 3}, {.stride = 2, .padding = 3}},
      {{1, 12, 12, 9}, {11, 3, 3, 9}, {.padding = 2, .dilation = 2}},
      {{1, 12, 12, 3}, {11, 3, 3, 3}, {.padding = 2, .dilation = 2}},
      {{1, 13, 11, 4}, {6, 3, 2, 4}, {.stride = {2, 3}, .padding = {1, 0}, .dilation = {1, 3}}},
      {{1, 13, 15, 6}, {6, 3, 3, 6}, {.stride = 2, .padding = 3, .dilation = 3}},
      {{2, 7, 7, 12}, {18, 3, 3, 4}, {.padding = 1, .groups = 3}},
      {{2, 7, 7, 64}, {64, 3, 3, 32}, {.stride = 2, .padding = 1, .groups = 2}},
      {{2, 7, 7, 4}, {8, 3, 3, 1}, {.padding = 1, .groups = 4}},
      {{2, 7, 7, 4}, {8, 1, 1, 1}, {.groups = 4}},
      {{2, 9, 9, 32}, {32, 3, 3, 1}, {.padding = 1, .groups = 32}},
      {{2, 9, 10, 19}, {19, 3, 3, 1}, {.stride = 2, .padding = 1, .groups = 19}},
      {{1, 11, 9, 40}, {40, 5, 5, 1}, {.stride = 2, .padding = 4, .dilation = 2, .groups = 40}},
      {{1, 9, 9, 7}, {7, 1, 4, 1}, {.padding = 2, .groups = 7}},
      {{3, 1, 1, 64}, {10, 1, 1, 64}, {}},
      {{1, 2, 2, 512}, {64, 3, 3, 512}, {.padding = 1}},
      {{1, 2, 3, 1}, {1, 2, 3, 1}, {}},
      {{1, 3, 3, 2}, {3, 1, 1, 2}, {.stride = 5}},
      {{1, 8, 8, 2}, {3, 2, 2, 2}, {.stride = 4}},
      {{1, 4, 4, 16}, {16, 3, 3, 16}, {.padding = 5}},
      {{2, 16, 16, 16}, {16, 3, 3, 16}, {.padding = 1}},
      {{3, 15, 13, 32}, {48, 3, 3, 32}, {.padding = 1}},
      {{2, 20, 17, 64}, {32, 3, 3, 32}, {.padding = {2, 0}, .groups = 2}},
      {{2, 9, 8, 150}, {150, 3, 3, 1}, {.padding = 1, .groups = 150}},
      {{1, 9, 8, 144}, {144, 3, 2, 1}, {.stride = 2, .padding = 1, .groups = 144}},
      {{30, 4, 5, 48}, {16, 3, 3, 48}, {.padding = 1}},
      {{1, 70, 90, 16}, {16, 3, 3, 16}, {.padding = 1}},
      {{1, 66, 65, 32}, {8, 3, 3, 32}, {.stride = 2, .padding = 1}},
      {{1, 4, 4, 96}, {320, 3, 3, 96}, {.padding = 1}},
      {{19, 4, 4, 20}, {24, 3, 3, 20}, {.padding = 1}},
      {{21, 6, 6, 16}, {16, 3, 3, 16}, {.stride = 2, .padding = 1}},
  };
  for (const Case& t : cases) check_case(t);
}

TEST_CASE("ops: conv2d of images of few pixels agrees with float64 loops") {
  for (std::int64_t h = 1; h <= 3; ++h)
    for (std::int64_t w = 1; w <= 3; ++w)
      for (std::int64_t kernel : {1, 3, 5})
        for (const ops::Pair stride : {ops::Pair(1), ops::Pair(2), ops::Pair(1, 2), ops::Pair(2, 1), ops::Pair(4)})
          check_case({{3, h, w, 4}, {5, kernel, kernel, 4}, {.stride = stride, .padding = kernel / 2}});
}

TEST_CASE("ops: conv2d of many random shapes agrees with float64 loops") {
  Random random(11);
  for (int i = 0; i < 60; ++i) {
    const bool depthwise = random.below(5) == 0;
    const std::int64_t groups = depthwise ? 1 + random.below(40) : 1 + random.below(3);
    const std::int64_t c = depthwise ? 1 : 1 + random.below(37), o = depthwise ? 1 : 1 + random.below(70);
    const std::int64_t kh = 1 + random.below(4), kw = 1 + random.below(4);
    const ops::Pair stride(1 + random.below(3), 1 + random.below(3)), padding(random.below(4), random.below(4));
    const ops::Pair dilation(1 + random.below(3), 1 + random.below(3));
    const std::int64_t h = dilation.h * (kh - 1) + 1 + random.below(12), w = dilation.w * (kw - 1) + 1 + random.below(20);
    check_case({{1 + random.below(3), h, w, c * groups},
                {o * groups, kh, kw, c},
                {stride, padding, dilation, groups}});
  }
}

TEST_CASE("ops: an image's convolution does not depend on its batch") {
  const Tensor<float> x = random_tensor({5, 8, 8, 16}, 1), w = random_tensor({24, 3, 3, 16}, 2);
  const ops::Conv2dOptions options{.padding = 1};
  const Tensor<float> all = ops::conv2d(x, w, options);
  for (int i = 0; i < 5; ++i)
    CHECK(same_bits(ops::conv2d(x.narrow(0, i, 1).clone(), w, options), all.narrow(0, i, 1).clone()));
}

TEST_CASE("ops: conv2d takes views") {
  const Tensor<float> nchw = random_tensor({2, 5, 6, 7}, 1), w = random_tensor({4, 3, 3, 5}, 2);
  const Tensor<float> view = nchw.permute({0, 2, 3, 1});
  CHECK(same_bits(ops::conv2d(view, w), ops::conv2d(view.clone(), w)));
}

TEST_CASE("ops: conv2d of nothing is nothing, and its weight gradient zero") {
  CHECK(ops::conv2d(Tensor<float>({0, 8, 8, 3}), Tensor<float>::ones({4, 3, 3, 3})).shape() == Shape{0, 6, 6, 4});
  CHECK(ops::conv2d(Tensor<float>({1, 8, 8, 3}), Tensor<float>({0, 3, 3, 3})).shape() == Shape{1, 6, 6, 0});
  const Tensor<float> no_channels = ops::conv2d(Tensor<float>({1, 4, 4, 0}), Tensor<float>({2, 3, 3, 0}));
  REQUIRE(no_channels.shape() == Shape{1, 2, 2, 2});
  for (float v : no_channels.span()) CHECK(v == 0.0f);
  const Tensor<float> dw =
      ops::conv2d_backward_weight(Tensor<float>({0, 6, 6, 4}), Tensor<float>({0, 8, 8, 3}), {4, 3, 3, 3});
  for (float v : dw.span()) CHECK(v == 0.0f);
  const Tensor<float> dx = ops::conv2d_backward_data(Tensor<float>({2, 6, 6, 0}), Tensor<float>({0, 3, 3, 3}), {2, 8, 8, 3});
  for (float v : dx.span()) CHECK(v == 0.0f);
}

TEST_CASE("ops: conv2d names what does not fit") {
  CHECK(error_text({{1, 8, 8, 3}, {16, 3, 3, 4}, {}}) == "conv2d: input has 3 channels, weight [16,3,3,4] expects 4");
  CHECK(error_text({{1, 8, 8, 6}, {16, 3, 3, 4}, {.groups = 2}}) ==
        "conv2d: input has 6 channels in 2 groups, weight [16,3,3,4] expects 8");
  CHECK(error_text({{1, 8, 8, 3}, {16, 3, 3, 3}, {.groups = 2}}) ==
        "conv2d: 2 groups do not divide 3 input and 16 output channels");
  CHECK(error_text({{8, 8, 3}, {16, 3, 3, 3}, {}}) == "conv2d: input [8,8,3] given, expected [N,H,W,C]");
  CHECK(error_text({{1, 8, 8, 3}, {16, 3, 3}, {}}) == "conv2d: weight [16,3,3] given, expected [O,kH,kW,C/groups]");
  CHECK(error_text({{1, 3, 8, 3}, {16, 5, 5, 3}, {}}) ==
        "conv2d: kernel 5x5 with dilation 1x1 does not fit input [1,3,8,3] with padding 0x0");
  CHECK(error_text({{1, 8, 8, 3}, {16, 3, 3, 3}, {.stride = 0}}) == "conv2d: stride 0x0 given, expected at least 1");
  CHECK(error_text({{1, 8, 8, 3}, {16, 3, 3, 3}, {.padding = {0, -1}}}) ==
        "conv2d: padding 0x-1 given, expected at least 0");
  CHECK(error_text({{1, 8, 8, 3}, {16, 3, 3, 3}, {.dilation = 0}}) == "conv2d: dilation 0x0 given, expected at least 1");
  CHECK(error_text({{1, 8, 8, 3}, {16, 3, 3, 3}, {.groups = 0}}) == "conv2d: 0 groups given, expected at least 1");
  CHECK(error_text({{1, 8, 8, 3}, {16, 0, 3, 3}, {}}) == "conv2d: weight [16,0,3,3] has an empty kernel");
  CHECK_THROWS_WITH_AS(
      ops::conv2d_backward_data(Tensor<float>::zeros({1, 8, 8, 4}), Tensor<float>::zeros({4, 3, 3, 3}), {1, 8, 8, 3}),
      "conv2d_backward_data: gradient [1,8,8,4] given, expected [1,6,6,4]", ShapeError);
  CHECK_THROWS_WITH_AS(
      ops::conv2d_backward_weight(Tensor<float>::zeros({1, 8, 8, 4}), Tensor<float>::zeros({1, 8, 8, 3}), {4, 3, 3, 3}),
      "conv2d_backward_weight: gradient [1,8,8,4] given, expected [1,6,6,4]", ShapeError);
}

TEST_CASE("ops: a convolution packed once gives the bits of conv2d, from several threads") {
  for (const Case& t : {Case{{2, 9, 8, 16}, {24, 3, 3, 16}, {.padding = 1}}, Case{{2, 20, 16, 32}, {16, 3, 3, 32}, {.padding = 1}},
                        Case{{1, 6, 5, 40}, {17, 1, 1, 40}, {}}, Case{{2, 9, 9, 20}, {20, 3, 3, 1}, {.stride = 2, .groups = 20}},
                        Case{{2, 7, 7, 12}, {18, 3, 3, 4}, {.padding = 1, .groups = 3}}}) {
    const Tensor<float> w = random_tensor(t.w, 2), x = random_tensor(t.x, 1), other = random_tensor(t.x, 3);
    const ops::PackedConv2d packed(t.x, w, t.options);
    const Tensor<float> expected[] = {ops::conv2d(x, w, t.options), ops::conv2d(other, w, t.options)};
    bool same[2] = {};
    parallel_for(2, [&](std::int64_t i) { same[i] = same_bits(packed(i == 0 ? x : other), expected[i]); });
    CHECK(same[0]);
    CHECK(same[1]);
    // Who consumes the outputs is shown each of them once, when it is complete.
    Tensor<float> negated(expected[0].shape());
    const std::int64_t channels = negated.dim(3);
    const auto negate = [&](const ops::detail::OutputBlock& b) {
      for (std::int64_t i = b.pixel; i < b.pixel + b.pixels; ++i)
        for (std::int64_t c = b.channel; c < b.channel + b.channels; ++c)
          negated.data()[i * channels + c] = -negated.data()[i * channels + c];
    };
    packed(x.data(), negated.data(), negate);
    CHECK(same_bits(ops::affine(negated, -1), expected[0]));
  }
  const auto name = [](const Shape& x, const Shape& w, const ops::Conv2dOptions& options) {
    return ops::PackedConv2d(x, Tensor<float>::ones(w), options).kernel_name();
  };
  const std::string isa = kernels::active().name;
  CHECK(name({2, 16, 16, 16}, {16, 3, 3, 16}, {.padding = 1}) == isa + " winograd");
  CHECK(name({2, 4, 4, 16}, {16, 3, 3, 16}, {.padding = 1}) == isa + " direct");
  ops::allows_winograd() = false;
  CHECK(name({2, 16, 16, 16}, {16, 3, 3, 16}, {.padding = 1}) == isa + " direct");
  ops::allows_winograd() = true;
  CHECK(name({2, 16, 16, 3}, {16, 3, 3, 3}, {.padding = 1}) == isa + " padded copy");
  CHECK(name({2, 4, 4, 16}, {16, 1, 1, 16}, {}) == isa + " pointwise");
  CHECK(name({2, 4, 4, 16}, {16, 3, 3, 1}, {.groups = 16}) == isa + " depthwise");
  CHECK(ops::conv2d_backward_data_kernel({2, 16, 16, 16}, {16, 3, 3, 16}, {.padding = 1}) == isa + " winograd");
  CHECK(ops::conv2d_backward_weight_kernel({2, 16, 16, 16}, {16, 3, 3, 16}, {.padding = 1}) == isa + " winograd");
  CHECK(ops::conv2d_backward_data_kernel({2, 4, 4, 16}, {16, 1, 1, 16}) == isa + " pointwise");
  CHECK(ops::conv2d_backward_weight_kernel({2, 4, 4, 16}, {16, 1, 1, 16}) == isa + " direct");
  CHECK(ops::conv2d_backward_data_kernel({2, 4, 4, 16}, {16, 3, 3, 1}, {.groups = 16}) == isa + " depthwise");
  CHECK(ops::conv2d_backward_weight_kernel({2, 4, 4, 16}, {16, 3, 3, 1}, {.groups = 16}) == isa + " depthwise");
  const ops::PackedConv2d packed({2, 4, 4, 3}, Tensor<float>::ones({5, 3, 3, 3}), {.padding = 1});
  CHECK_THROWS_WITH_AS(packed(Tensor<float>::ones({1, 4, 4, 3})), doctest::Contains("packed for [2,4,4,3]"), ShapeError);
  CHECK_THROWS_AS(ops::PackedConv2d({2, 4, 4, 3}, Tensor<float>::ones({5, 3, 3, 4})), ShapeError);
  CHECK(ops::PackedConv2d({0, 4, 4, 3}, Tensor<float>::ones({5, 3, 3, 3}))(Tensor<float>({0, 4, 4, 3})).shape() == Shape{0, 2, 2, 5});
}

TEST_CASE("ops: a pointwise convolution that is too large for caches is that of its parts") {
  const Tensor<float> x = random_tensor({4, 256, 129, 16}, 1), w = random_tensor({32, 1, 1, 16}, 2);
  for (const kernels::KernelTable* table : kernels::available()) {
    INFO(std::string(table->name));
    kernels::force(table->name);
    const Tensor<float> y = ops::conv2d(x, w);
    for (std::int64_t n = 0; n < 4; ++n)
      CHECK(same_bits(y.narrow(0, n, 1).clone(), ops::conv2d(x.narrow(0, n, 1).clone(), w)));
  }
  kernels::force("");
}
