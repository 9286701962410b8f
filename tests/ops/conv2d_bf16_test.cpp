#include <doctest/doctest.h>

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

namespace {

// Uses a table and a precision as long as it lives.
struct Setting {
  Setting(const kernels::KernelTable& table, Float32Precision precision) {
    kernels::detail::forced() = &table;
    ops::float32_matmul_precision() = precision;
  }
  ~Setting() {
    kernels::force("");
    ops::float32_matmul_precision() = Float32Precision::kHighest;
  }
};

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
      {{1, 2, 3, 1}, {1, 2, 3, 1}, {}},
      {{1, 3, 3, 20}, {3, 1, 1, 20}, {.stride = 5}},
      {{1, 8, 8, 20}, {3, 2, 2, 20}, {.stride = 4}},
      {{1, 4, 4, 16}, {16, 3, 3, 16}, {.padding = 5}},
      {{2, 16, 16, 16}, {16, 3, 3, 16}, {.padding = 1}},
      {{30, 4, 5, 48}, {16, 3, 3, 48}, {.padding = 1}},
      {{1, 70, 90, 16}, {16, 3, 3, 16}, {.padding = 1}},
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

TEST_CASE("ops: convolutions of bf16 parts agree with float64 loops") {
  double worst[3] = {};
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
        for (const double error : errors) {
          CHECK(error <= error_limit(precision));
          worst[static_cast<int>(precision)] = std::max(worst[static_cast<int>(precision)], error);
        }
      }
    }
  }
  MESSAGE("largest errors: ", worst[1], " of two parts, ", worst[2], " of one");
}
