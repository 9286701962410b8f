// Convolutions of codes on the kernels of AMX, with emulated tiles.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "../kernels/emulated_tiles.hpp"
#include "spnet/core/random.hpp"
#include "spnet/ops/conv2d_codes.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {

// As the table of AMX: codes multiplied on tiles.
const kernels::KernelTable& tiles_table() {
  static const kernels::KernelTable table = [] {
    kernels::KernelTable t = *kernels::available().back();
    t.name = "emulated tiles";
    t.codes.narrow = {};
    t.codes.small = t.codes.exact = emulated::kCodes;
    return t;
  }();
  return table;
}

struct OnTiles {
  OnTiles() { kernels::detail::forced() = &tiles_table(); }
  ~OnTiles() { kernels::force(""); }
};

Quantized some_codes(const Shape& shape, AffineCodes map, std::uint64_t seed) {
  Random random(seed);
  Quantized q{Tensor<std::uint8_t>(shape), map};
  for (auto& code : q.codes.span())
    code = static_cast<std::uint8_t>(random.below(static_cast<std::uint32_t>(map.qmax + 1)));
  return q;
}

}  // namespace

TEST_CASE("ops: convolution of codes has the same sums on emulated tiles" * doctest::test_suite("portable")) {
  struct Problem {
    Shape x, w;
    ops::Conv2dOptions options;
  };
  const Problem problems[] = {
      {{2, 24, 24, 16}, {16, 3, 3, 16}, {.padding = 1}},
      {{1, 64, 64, 3}, {40, 7, 7, 3}, {.stride = 2, .padding = 3}},
      {{2, 9, 7, 100}, {130, 3, 3, 100}, {.padding = 1}},
      {{1, 10, 10, 184}, {80, 1, 1, 184}, {}},
      {{2, 24, 24, 64}, {96, 3, 3, 32}, {.stride = {2, 1}, .padding = 2, .dilation = {1, 2}, .groups = 2}},
      {{1, 5, 5, 1100}, {48, 1, 1, 1100}, {}},
      {{40, 2, 2, 64}, {32, 3, 3, 64}, {.padding = 1}},
      {{1, 9, 9, 64}, {32, 3, 3, 64}, {.padding = 40, .dilation = 40}},
  };
  const auto map = [](int step, int zero_point) {
    return AffineCodes{
        .scale = Tensor<float>::ones({1}), .step = step, .zero_point = zero_point, .qmin = 0, .qmax = 255};
  };
  // Around the image lie no code at all, code 0, code 0 with sums of windows, and code 8.
  const std::pair<AffineCodes, AffineCodes> maps[] = {{map(1, 3), map(2, 255)},
                                                      {map(1, 0), map(1, 128)},
                                                      {map(1, 0), map(2, 255)},
                                                      {map(2, 16), map(1, 128)}};
  std::uint64_t seed = 0;
  for (std::size_t i = 0; i < 2 * std::size(problems); ++i) {
    const Problem& p = problems[i / 2];
    const auto& [x_map, w_map] = maps[(i / 2 + i % 2) % std::size(maps)];
    const Quantized x = some_codes(p.x, x_map, ++seed), w = some_codes(p.w, w_map, ++seed);
    const Sums usual = ops::conv2d_sums(x, w, p.options);
    const OnTiles forced;
    const std::int64_t before = emulated::Tiles::products;
    set_num_threads(1);
    const Sums sums = ops::conv2d_sums(x, w, p.options);
    INFO("x ", p.x, " w ", p.w, " zero point ", x_map.zero_point, ", ", w_map.zero_point);
    CHECK(emulated::Tiles::products > before);
    CHECK(emulated::Tiles::config.palette == 0);
    CHECK(testing::bit_equal(sums.sums, usual.sums));
    set_num_threads(2);
    CHECK(testing::bit_equal(ops::conv2d_sums(x, w, p.options).sums, usual.sums));
    set_num_threads(0);
  }
}

TEST_CASE("ops: bits are counted for few pixels only where tiles are faster for many") {
  const AffineCodes sign = ops::sign_map(Tensor<float>::ones({1}));
  const auto name = [&](std::int64_t rows) {
    return ops::PackedCodesConv2d({1, rows, 8, 64}, sign, some_codes({16, 1, 1, 64}, sign, 2)).kernel_name();
  };
  const auto counts = std::find_if(kernels::available().begin(), kernels::available().end(),
                                   [](const kernels::KernelTable* table) { return table->codes.bits.product; });
  if (counts == kernels::available().end()) return;
  kernels::KernelTable table = tiles_table();
  table.codes.bits = (*counts)->codes.bits;
  table.codes.plane_pairs = 1;
  table.codes.many_pixels = 32;
  const OnTiles forced;
  kernels::detail::forced() = &table;
  CHECK(name(3) == table.codes.bits.name);
  CHECK(name(4) == "emulated tiles");
}
