#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "../kernels/portable_bf16.hpp"
#include "spnet/ops/conv2d.hpp"
#include "spnet/ops/conv2d_codes.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;
using ops::Float32Precision;
using portable::Setting;

namespace {

std::vector<const kernels::KernelTable*> tables_with_bf16() {
  std::vector<const kernels::KernelTable*> tables{&portable::table()};
  for (const kernels::KernelTable* table : kernels::available())
    if (table->bf16.product) tables.push_back(table);
  return tables;
}

struct Bf16Case {
  Shape x, w;
  ops::Conv2dOptions options;
};

// ‖actual − expected‖ / ‖expected‖.
double error_norm(const Tensor<float>& actual, const Tensor<double>& expected) {
  REQUIRE(actual.shape() == expected.shape());
  double error = 0, norm = 0;
  for (std::int64_t i = 0; i < actual.size(); ++i) {
    const double delta = static_cast<double>(actual.data()[i]) - expected.data()[i];
    error += delta * delta;
    norm += expected.data()[i] * expected.data()[i];
  }
  return norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
}

const std::vector<Bf16Case>& bf16_cases() {
  static const std::vector<Bf16Case> all = {
      {{2, 8, 8, 16}, {16, 3, 3, 16}, {.padding = 1}},
      {{3, 9, 7, 3}, {16, 3, 3, 3}, {.padding = 1}},
      {{2, 8, 8, 32}, {64, 3, 3, 32}, {.stride = 2, .padding = 1}},
      {{2, 9, 11, 21}, {37, 3, 3, 21}, {.stride = 2, .padding = 1}},
      {{1, 10, 13, 5}, {7, 3, 3, 5}, {.stride = 3, .padding = 2}},
      {{1, 17, 19, 33}, {50, 3, 3, 33}, {.padding = 1}},
      {{2, 7, 6, 17}, {32, 1, 1, 17}, {.stride = 2}},
      {{2, 5, 7, 24}, {96, 1, 1, 24}, {}},
      {{1, 5, 7, 200}, {24, 1, 1, 200}, {}},
      {{2, 5, 5, 18}, {12, 1, 1, 18}, {.padding = 1}},
      {{1, 23, 25, 3}, {20, 7, 7, 3}, {.stride = 2, .padding = 3}},
      {{1, 12, 12, 19}, {11, 3, 3, 19}, {.padding = 2, .dilation = 2}},
      {{1, 13, 11, 16}, {6, 3, 2, 16}, {.stride = {2, 3}, .padding = {1, 0}, .dilation = {1, 3}}},
      {{1, 13, 15, 26}, {6, 3, 3, 26}, {.stride = 2, .padding = 3, .dilation = 3}},
      {{2, 7, 7, 54}, {18, 3, 3, 18}, {.padding = 1, .groups = 3}},
      {{2, 7, 7, 12}, {18, 3, 3, 4}, {.padding = 1, .groups = 3}},
      {{2, 7, 7, 64}, {64, 3, 3, 32}, {.stride = 2, .padding = 1, .groups = 2}},
      {{2, 9, 9, 32}, {32, 3, 3, 1}, {.padding = 1, .groups = 32}},
      {{3, 1, 1, 64}, {10, 1, 1, 64}, {}},
      {{1, 2, 2, 512}, {64, 3, 3, 512}, {.padding = 1}},
      {{1, 4, 5, 1}, {4, 2, 3, 1}, {}},
      {{1, 3, 3, 20}, {3, 1, 1, 20}, {.stride = 5}},
      {{1, 8, 8, 20}, {3, 2, 2, 20}, {.stride = 4}},
      {{1, 4, 4, 16}, {16, 3, 3, 16}, {.padding = 5}},
      {{2, 16, 16, 16}, {16, 3, 3, 16}, {.padding = 1}},
      {{30, 4, 5, 48}, {16, 3, 3, 48}, {.padding = 1}},
      {{1, 50, 70, 16}, {16, 3, 3, 16}, {.padding = 1}},
      {{1, 4, 4, 96}, {320, 3, 3, 96}, {.padding = 1}},
      {{19, 4, 4, 20}, {24, 3, 3, 20}, {.padding = 1}},
      {{5, 2, 2, 17}, {9, 5, 5, 17}, {.stride = {1, 2}, .padding = 2}},
  };
  return all;
}

std::string bf16_case_name(const Bf16Case& t) {
  return message(t.x, t.w, " stride ", t.options.stride.h, 'x', t.options.stride.w, " padding ", t.options.padding.h,
                 " groups ", t.options.groups);
}

// The largest error that a precision may leave.
double error_limit(Float32Precision precision) { return precision == Float32Precision::kMedium ? 6e-3 : 1e-5; }

constexpr Float32Precision kFast[] = {Float32Precision::kHigh, Float32Precision::kMedium};

}  // namespace

TEST_SUITE_BEGIN("portable");

TEST_CASE("ops: convolutions of bf16 parts agree with float64 loops") {
  for (const Bf16Case& t : bf16_cases()) {
    INFO(bf16_case_name(t));
    const Tensor<float> x = testing::random_normal<float>(t.x, 1), w = testing::random_normal<float>(t.w, 2);
    const Tensor<double> x64 = x.to<double>(), w64 = w.to<double>();
    const Tensor<double> y64 = ops::conv2d(x64, w64, t.options);
    const Tensor<float> grad = testing::random_normal<float>(y64.shape(), 3);
    const Tensor<double> grad64 = grad.to<double>();
    const Tensor<double> dx64 = ops::conv2d_backward_data(grad64, w64, t.x, t.options);
    const Tensor<double> dw64 = ops::conv2d_backward_weight(grad64, x64, t.w, t.options);
    for (const kernels::KernelTable* table : tables_with_bf16()) {
      for (const Float32Precision precision : kFast) {
        INFO(std::string(table->name));
        const Setting setting(*table, precision);
        const double errors[] = {error_norm(ops::conv2d(x, w, t.options), y64),
                                 error_norm(ops::conv2d_backward_data(grad, w, t.x, t.options), dx64),
                                 error_norm(ops::conv2d_backward_weight(grad, x, t.w, t.options), dw64)};
        for (const double error : errors) CHECK(error <= error_limit(precision));
      }
    }
  }
}

TEST_CASE("ops: codes times bf16 parts of floats agree with float64 loops") {
  const auto map = [](int step, int zero_point, int bits) {
    return AffineCodes{.scale = Tensor<float>::full({1}, 0.75f),
                       .step = step,
                       .zero_point = zero_point,
                       .qmin = 0,
                       .qmax = (1 << bits) - 1};
  };
  // Of 8 bits; the last map's integers take more.
  const AffineCodes maps[] = {map(1, 0, 3), map(2, 255, 8), map(3, 77, 8)};
  for (const Bf16Case& t : bf16_cases()) {
    INFO(bf16_case_name(t));
    for (const AffineCodes& codes : maps) {
      Quantized x{Tensor<std::uint8_t>(t.x), codes};
      Random random(1);
      for (auto& code : x.codes.span())
        code = static_cast<std::uint8_t>(random.below(static_cast<std::uint32_t>(codes.qmax) + 1));
      const Tensor<float> w = testing::random_normal<float>(t.w, 2);
      const Tensor<double> x64 = ops::decode(x).to<double>(), y64 = ops::conv2d(x64, w.to<double>(), t.options);
      const Tensor<float> grad = testing::random_normal<float>(y64.shape(), 3);
      const Tensor<double> dw64 = ops::conv2d_backward_weight(grad.to<double>(), x64, t.w, t.options);
      for (const kernels::KernelTable* table : tables_with_bf16()) {
        for (const Float32Precision precision : kFast) {
          INFO(table->name, " codes to ", codes.qmax);
          const Setting setting(*table, precision);
          const double errors[] = {error_norm(ops::conv2d(x, w, t.options), y64),
                                   error_norm(ops::conv2d_backward_weight(grad, x, t.w, t.options), dw64)};
          for (const double error : errors) CHECK(error <= error_limit(precision));
        }
      }
    }
  }
}

TEST_CASE("ops: gradients with respect to the input of codes agree with float64 loops") {
  for (const Bf16Case& t : bf16_cases()) {
    INFO(bf16_case_name(t));
    for (const bool one_scale : {false, true}) {
      Tensor<float> scale({one_scale ? 1 : t.w[0]});
      for (float& value : scale.span()) value = 0.3f + 0.1f * static_cast<float>(&value - scale.data());
      Quantized w{Tensor<std::uint8_t>(t.w), AffineCodes{.scale = scale,
                                                         .step = 2,
                                                         .zero_point = 255,
                                                         .qmin = 0,
                                                         .qmax = 255,
                                                         .channel_axis = one_scale ? -1 : 0}};
      Random random(4);
      for (auto& code : w.codes.span()) code = static_cast<std::uint8_t>(random.below(256));
      const Tensor<double> w64 = ops::decode(w).to<double>();
      const Shape y_shape = ops::conv2d(Tensor<float>(t.x), ops::decode(w), t.options).shape();
      const Tensor<float> grad = testing::random_normal<float>(y_shape, 3);
      const Tensor<double> dx64 = ops::conv2d_backward_data(grad.to<double>(), w64, t.x, t.options);
      for (const kernels::KernelTable* table : tables_with_bf16()) {
        for (const Float32Precision precision : {Float32Precision::kHighest, kFast[0], kFast[1]}) {
          INFO(table->name, " one scale: ", one_scale);
          const Setting setting(*table, precision);
          CHECK(error_norm(ops::conv2d_backward_data(grad, w, t.x, t.options), dx64) <= error_limit(precision));
        }
      }
    }
  }
}

TEST_CASE("ops: gradients of bf16 are taken as the floats that they are") {
  const auto codes_of = [](const Shape& shape, AffineCodes map) {
    Tensor<std::uint8_t> codes(shape);
    for (std::int64_t i = 0; i < codes.size(); ++i) codes.data()[i] = static_cast<std::uint8_t>(i * 7 % 16);
    return Quantized{codes, std::move(map)};
  };
  for (const Bf16Case& t : bf16_cases()) {
    INFO(bf16_case_name(t));
    const Tensor<float> x = testing::random_normal<float>(t.x, 1), w = testing::random_normal<float>(t.w, 2);
    const Quantized x_codes = codes_of(t.x, {.scale = Tensor<float>::full({1}, 0.75f), .qmin = 0, .qmax = 15});
    AffineCodes w_map{.scale = Tensor<float>::full({1}, 0.3f), .step = 2, .zero_point = 15, .qmin = 0, .qmax = 15};
    const Quantized w_codes = codes_of(t.w, w_map);
    w_map.scale = testing::random_normal<float>({t.w[0]}, 4, 0.01, 0.3);
    w_map.channel_axis = 0;
    const Quantized w_of_scales = codes_of(t.w, w_map);
    const Tensor<bf16> grad = testing::random_normal<float>(ops::conv2d(x, w, t.options).shape(), 3).to<bf16>();
    const Tensor<float> values = grad.to<float>();
    const auto same_of_input = [&](const auto& weights) {
      return testing::bit_equal(ops::conv2d_backward_data(grad, weights, t.x, t.options),
                                ops::conv2d_backward_data(values, weights, t.x, t.options));
    };
    const auto same_of_weight = [&](const auto& input) {
      return testing::bit_equal(ops::conv2d_backward_weight(grad, input, t.w, t.options),
                                ops::conv2d_backward_weight(values, input, t.w, t.options));
    };
    const auto reads = [&](const auto& weights) { return ops::conv2d_reads_bf16_gradient(t.x, weights, t.options); };
    for (const kernels::KernelTable* table : tables_with_bf16()) {
      for (const auto precision : {Float32Precision::kHighest, Float32Precision::kHigh, Float32Precision::kMedium}) {
        INFO(std::string(table->name));
        const Setting setting(*table, precision);
        CHECK(same_of_input(w));
        CHECK(same_of_input(w_codes));
        CHECK(same_of_input(w_of_scales));
        CHECK(same_of_weight(x));
        CHECK(same_of_weight(x_codes));
        if (precision != Float32Precision::kMedium) CHECK(!reads(t.w));
      }
      // They are read as such where floats would be rounded to them: not in depthwise convolutions, nor of few channels.
      const Setting setting(*table, Float32Precision::kMedium);
      if (t.w[3] >= 16 && t.options.padding.h <= 1) CHECK(reads(t.w));
      if (t.w[3] < 16) CHECK(!reads(t.w));
      CHECK(reads(w_codes) == reads(t.w));
      if (t.w[0] > 1) CHECK(!reads(w_of_scales));
    }
  }
  CHECK_THROWS_AS(ops::conv2d_backward_data(Tensor<bf16>({1, 2, 2, 3}), Tensor<float>({4, 3, 3, 5}), {1, 4, 4, 5}),
                  ShapeError);
}

TEST_CASE("ops: convolutions of bf16 parts have the same bits for any number of threads") {
  for (const Bf16Case& t : {Bf16Case{{5, 9, 9, 32}, {48, 3, 3, 32}, {.padding = 1}},
                            Bf16Case{{40, 8, 8, 16}, {16, 3, 3, 16}, {.stride = 2, .padding = 1}},
                            Bf16Case{{1, 30, 31, 16}, {80, 1, 1, 16}, {}}}) {
    const Tensor<float> x = testing::random_normal<float>(t.x, 1), w = testing::random_normal<float>(t.w, 2);
    for (const kernels::KernelTable* table : tables_with_bf16()) {
      for (const Float32Precision precision : kFast) {
        const Setting setting(*table, precision);
        std::vector<Tensor<float>> first;
        for (const int threads : {1, 2, 3, 8}) {
          set_num_threads(threads);
          std::vector<Tensor<float>> results{ops::conv2d(x, w, t.options)};
          const Tensor<float> grad = testing::random_normal<float>(results[0].shape(), 3);
          results.push_back(ops::conv2d_backward_data(grad, w, t.x, t.options));
          results.push_back(ops::conv2d_backward_weight(grad, x, t.w, t.options));
          if (threads == 1) first = results;
          for (std::size_t i = 0; i < 3; ++i) CHECK(testing::bit_equal(results[i], first[i]));
        }
        set_num_threads(0);
      }
    }
  }
}

TEST_CASE("ops: what is not finite stays so in bf16 parts, where it is read") {
  const Shape shape{1, 6, 6, 16};
  const Tensor<float> w = testing::random_normal<float>({16, 3, 3, 16}, 2);
  for (const float flaw : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    Tensor<float> x = testing::random_normal<float>(shape, 1);
    x(0, 1, 1, 3) = flaw;
    for (const kernels::KernelTable* table : tables_with_bf16()) {
      for (const Float32Precision precision : kFast) {
        const Setting setting(*table, precision);
        const Tensor<float> y = ops::conv2d(x, w);
        for (std::int64_t row = 0; row < 4; ++row)
          for (std::int64_t col = 0; col < 4; ++col)
            for (std::int64_t o = 0; o < 16; ++o) CHECK(std::isfinite(y(0, row, col, o)) == (row > 1 || col > 1));
        const Tensor<float> dw = ops::conv2d_backward_weight(Tensor<float>::ones({1, 4, 4, 16}), x, w.shape());
        for (std::int64_t c = 0; c < 16; ++c) CHECK(std::isfinite(dw(0, 0, 0, c)) == (c != 3));
      }
    }
  }
}

TEST_CASE("ops: empty convolutions and such of mostly zeros are taken at any precision") {
  for (const kernels::KernelTable* table : tables_with_bf16()) {
    const Setting setting(*table, Float32Precision::kMedium);
    const auto floats = [](const Shape& shape) { return Tensor<float>::ones(shape); };
    CHECK(ops::conv2d(floats({8, 4, 4, 0}), floats({2, 3, 3, 0})).shape() == Shape{8, 2, 2, 2});
    CHECK(ops::conv2d_backward_data(floats({8, 2, 2, 0}), floats({0, 3, 3, 4}), {8, 4, 4, 4}).size() == 512);
    const Quantized none{Tensor<std::uint8_t>({4, 1, 1, 0}), AffineCodes{.scale = Tensor<float>::ones({1})}};
    CHECK(ops::conv2d_backward_data(floats({1, 4, 4, 4}), none, {1, 4, 4, 0}).size() == 0);
    // Its zeros alone would fill the memory.
    const ops::Conv2dOptions wide{.padding = (1 << 29) - 1, .dilation = (1 << 30) - 1};
    const Tensor<float> x = floats({1, 2, 2, 16}), w = floats({16, 2, 2, 16});
    const Tensor<float> y = ops::conv2d(x, w, wide);
    CHECK(y.shape() == Shape{1, 1, 1, 16});
    CHECK(ops::conv2d_backward_weight(y, x, w.shape(), wide).shape() == w.shape());
  }
}

TEST_CASE("ops: one image alone has the same bits as among others, at any precision") {
  for (const Bf16Case& t : {Bf16Case{{16, 8, 8, 64}, {64, 3, 3, 64}, {.padding = 1}},
                            Bf16Case{{64, 8, 8, 16}, {16, 1, 1, 16}, {}},
                            Bf16Case{{40, 2, 2, 48}, {32, 3, 3, 48}, {.padding = 1}}}) {
    const Tensor<float> x = testing::random_normal<float>(t.x, 1), w = testing::random_normal<float>(t.w, 2);
    for (const kernels::KernelTable* table : tables_with_bf16()) {
      for (const Float32Precision precision : kFast) {
        INFO(bf16_case_name(t), ' ', std::string(table->name));
        const Setting setting(*table, precision);
        const Tensor<float> all = ops::conv2d(x, w, t.options);
        for (const std::int64_t image : {std::int64_t{0}, t.x[0] - 1})
          CHECK(testing::bit_equal(ops::conv2d(x.narrow(0, image, 1), w, t.options), all.narrow(0, image, 1)));
      }
    }
  }
}

TEST_SUITE_END();

TEST_CASE("ops: precisions of products go by PyTorch's names, and a guard gives back what was set before") {
  CHECK(ops::parse_float32_precision("highest") == Float32Precision::kHighest);
  CHECK(ops::parse_float32_precision("high") == Float32Precision::kHigh);
  CHECK(ops::parse_float32_precision("medium") == Float32Precision::kMedium);
  CHECK_THROWS_WITH_AS(ops::parse_float32_precision("low"), doctest::Contains("'low'"), ValueError);
  {
    const ops::Float32PrecisionGuard outer(Float32Precision::kHigh);
    CHECK(ops::float32_matmul_precision() == Float32Precision::kHigh);
    const ops::Float32PrecisionGuard inner(Float32Precision::kMedium);
    CHECK(ops::float32_matmul_precision() == Float32Precision::kMedium);
  }
  CHECK(ops::float32_matmul_precision() == Float32Precision::kHighest);
}

TEST_CASE("ops: bf16 parts are used where they are asked for and the machine has products of them") {
  const Shape shape{2, 16, 16, 16};
  const Tensor<float> x = testing::random_normal<float>(shape, 1), w = testing::random_normal<float>({16, 3, 3, 16}, 2);
  const ops::Conv2dOptions options{.padding = 1};
  const auto name = [&] { return ops::PackedConv2d(shape, w, options).kernel_name(); };
  for (const kernels::KernelTable* table : kernels::available()) {
    if (table->bf16.product) continue;
    INFO(std::string(table->name));
    kernels::force(table->name);
    const std::string usual = name();
    const Tensor<float> y = ops::conv2d(x, w, options);
    const Setting setting(*table, Float32Precision::kMedium);
    CHECK(name() == usual);
    CHECK(testing::bit_equal(ops::conv2d(x, w, options), y));
  }
  for (const kernels::KernelTable* table : tables_with_bf16()) {
    const std::string isa = table->name;
    const auto name_at = [&](Float32Precision precision) {
      const Setting setting(*table, precision);
      return name();
    };
    CHECK(name_at(Float32Precision::kHighest) == isa + " winograd");
    CHECK(name_at(Float32Precision::kHigh) == isa + (table->bf16.most_products < 3 ? " winograd" : " bf16x3"));
    CHECK(name_at(Float32Precision::kMedium) == isa + " bf16");
    {
      const Setting medium(*table, Float32Precision::kMedium);
      CHECK(ops::conv2d_backward_data_kernel(shape, w.shape(), options) == isa + " bf16");
      CHECK(ops::conv2d_backward_weight_kernel(shape, w.shape(), options) == isa + " bf16");
    }
    const Setting setting(*table, Float32Precision::kHigh);
    const ops::PackedConv2d packed(shape, w, options);
    CHECK(testing::bit_equal(packed(x), ops::conv2d(x, w, options)));
    const ops::WeightReader halved(w.data(), 0.5f);
    CHECK(testing::bit_equal(ops::PackedConv2d(shape, w.shape(), halved, options)(x),
                             ops::conv2d(x, ops::affine(w, 0.5f), options)));
    CHECK(ops::PackedConv2d(shape, Tensor<float>::ones({16, 3, 3, 1}), {.groups = 16}).kernel_name() ==
          isa + " depthwise");
  }
}
