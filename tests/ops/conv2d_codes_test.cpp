#include "spnet/ops/conv2d_codes.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {

struct ForcedIsa {
  explicit ForcedIsa(const char* name) { kernels::force(name); }
  ~ForcedIsa() { kernels::force(""); }
};

Quantized random_codes(const Shape& shape, AffineCodes map, std::uint64_t seed) {
  Random random(seed);
  Quantized q{Tensor<std::uint8_t>(shape), map};
  for (auto& code : q.codes.span())
    code = static_cast<std::uint8_t>(map.qmin + static_cast<int>(random.uniform() * static_cast<float>(map.qmax - map.qmin + 1)));
  return q;
}

AffineCodes unsigned_map(int bits) {
  return {.scale = Tensor<float>::full({1}, 0.5f), .qmin = 0, .qmax = (1 << bits) - 1};
}
// As DoReFa's weights: odd multiples on both sides of zero.
AffineCodes centered_map(int bits) {
  const int levels = (1 << bits) - 1;
  return {.scale = Tensor<float>::full({1}, 0.25f), .step = 2, .zero_point = levels, .qmin = 0, .qmax = levels};
}
AffineCodes twos_complement_map(int bits) {
  const int half = 1 << (bits - 1);
  return {.scale = Tensor<float>::full({1}, 2.0f), .zero_point = half, .qmin = 0, .qmax = 2 * half - 1};
}

AffineCodes shifted_map(int bits, int step, int zero_point) {
  return {.scale = Tensor<float>::full({1}, 0.5f), .step = step, .zero_point = zero_point, .qmin = 0, .qmax = (1 << bits) - 1};
}

struct Problem {
  Shape x, w;
  ops::Conv2dOptions options;
};

struct Conv2dWeights {
  Shape shape;
  std::int64_t groups;
};

// What the codes stand for, without their scale.
std::vector<std::int64_t> integers_of(const Quantized& q) {
  const auto& map = std::get<AffineCodes>(q.map);
  std::vector<std::int64_t> integers;
  for (const std::uint8_t code : q.codes.span()) integers.push_back(std::int64_t{map.step} * code - map.zero_point);
  return integers;
}

std::vector<std::int64_t> expected_sums(const Quantized& x, const Quantized& w, const Problem& p) {
  const auto s = ops::detail::conv_sizes("test", p.x, p.w, p.options);
  std::vector<std::int64_t> sums(static_cast<std::size_t>(s.n * s.oh * s.ow * s.o));
  kernels::reference::conv2d(s, integers_of(x).data(), integers_of(w).data(), sums.data());
  return sums;
}

std::int64_t count_wrong(const Sums& actual, const std::vector<std::int64_t>& expected) {
  std::int64_t wrong = 0;
  for (std::int64_t i = 0; i < actual.sums.size(); ++i)
    wrong += actual.sums.data()[i] != expected[static_cast<std::size_t>(i)];
  return wrong;
}

}  // namespace

TEST_CASE("ops: convolution of codes is exact on every instruction set") {
  const std::vector<Problem> problems = {
      {{2, 7, 9, 16}, {16, 3, 3, 16}, {.padding = 1}},
      {{1, 8, 8, 32}, {40, 3, 3, 32}, {.stride = 2, .padding = 1}},
      {{3, 5, 6, 19}, {21, 3, 3, 19}, {.padding = {1, 2}}},
      {{2, 6, 6, 3}, {5, 5, 3, 3}, {.stride = {1, 2}, .padding = {2, 1}, .dilation = {1, 2}}},
      {{2, 5, 5, 24}, {70, 1, 1, 24}, {}},
      {{2, 9, 9, 20}, {33, 1, 1, 20}, {.stride = 2}},
      {{1, 6, 5, 12}, {8, 3, 3, 6}, {.padding = 1, .groups = 2}},
      {{2, 6, 5, 10}, {10, 3, 3, 1}, {.padding = 1, .groups = 10}},
      {{2, 4, 4, 100}, {130, 3, 3, 100}, {.padding = 1}},
      {{2, 5, 4, 136}, {20, 3, 3, 136}, {.padding = 1}},
      {{3, 1, 1, 16}, {8, 3, 3, 16}, {.stride = 2, .padding = 1}},
      {{2, 2, 3, 8}, {8, 3, 3, 8}, {.padding = 3}},
      {{2, 7, 8, 12}, {4, 1, 1, 12}, {.stride = {3, 4}}},
      {{5, 3, 2, 32}, {18, 1, 1, 32}, {.stride = {2, 1}, .padding = {0, 1}}},
      {{2, 8, 8, 32}, {16, 3, 2, 32}, {.stride = {1, 3}, .padding = {3, 2}, .dilation = {3, 1}}},
      {{1, 9, 7, 64}, {48, 3, 3, 32}, {.stride = {2, 1}, .padding = 2, .dilation = {1, 2}, .groups = 2}},
  };
  const std::vector<std::pair<AffineCodes, AffineCodes>> maps = {
      {ops::sign_map(Tensor<float>::ones({1})), ops::sign_map(Tensor<float>::ones({1}))},
      {unsigned_map(1), ops::sign_map(Tensor<float>::ones({1}))},
      {unsigned_map(2), ops::sign_map(Tensor<float>::ones({1}))},
      {ops::sign_map(Tensor<float>::ones({1})), centered_map(2)},
      {unsigned_map(2), centered_map(2)},
      {twos_complement_map(2), centered_map(2)},
      {unsigned_map(1), twos_complement_map(2)},
      {unsigned_map(8), ops::sign_map(Tensor<float>::ones({1}))},
      {ops::sign_map(Tensor<float>::ones({1})), centered_map(8)},
      {unsigned_map(7), centered_map(7)},
      {unsigned_map(8), centered_map(8)},
      {centered_map(8), centered_map(8)},
      {twos_complement_map(4), twos_complement_map(8)},
      {unsigned_map(8), twos_complement_map(8)},
  };
  for (const kernels::KernelTable* table : kernels::available()) {
    const ForcedIsa forced(table->name);
    std::uint64_t seed = 0;
    for (const Problem& p : problems) {
      for (const auto& [x_map, w_map] : maps) {
        const Quantized x = random_codes(p.x, x_map, ++seed), w = random_codes(p.w, w_map, ++seed);
        const auto expected = expected_sums(x, w, p);
        const Sums sums = ops::conv2d_sums(x, w, p.options);
        INFO(std::string(table->name), " x ", p.x, " w ", p.w, " codes to ", x_map.qmax, " and ", w_map.qmax);
        CHECK(count_wrong(sums, expected) == 0);
        const auto zeros = std::count(expected.begin(), expected.end(), 0);
        CHECK(zeros < 0.7 * static_cast<double>(expected.size()));
      }
    }
  }
}

TEST_CASE("ops: bit planes are counted where the machine counts them fast") {
  const AffineCodes sign = ops::sign_map(Tensor<float>::ones({1}));
  for (const kernels::KernelTable* table : kernels::available()) {
    const ForcedIsa forced(table->name);
    INFO(std::string(table->name));
    const auto name = [&](const AffineCodes& x, const AffineCodes& w, std::int64_t channels, std::int64_t outputs = 32) {
      return ops::PackedCodesConv2d({1, 3, 3, channels}, x, random_codes({outputs, 3, 3, channels}, w, 2)).kernel_name();
    };
    const kernels::CodeKernels& codes = table->codes;
    const std::string small = codes.narrow.product ? codes.narrow.name : codes.small.name;
    const auto bits = [&](std::int64_t pairs) { return pairs <= codes.plane_pairs ? codes.bits.name : small; };
    CHECK((codes.plane_pairs > 0) == (codes.bits.product != nullptr));
    CHECK(name(sign, sign, 32) == bits(1));
    CHECK(name(unsigned_map(1), sign, 64) == bits(1));
    CHECK(name(unsigned_map(2), sign, 64) == bits(2));
    CHECK(name(sign, centered_map(2), 64) == bits(2));
    CHECK(name(unsigned_map(2), centered_map(2), 64) == bits(4));
    CHECK(name(unsigned_map(3), centered_map(2), 64) == small);
    CHECK(name(sign, sign, 16) == small);
    CHECK(name(sign, sign, 23) == small);
    CHECK(name(sign, sign, 29) == bits(1));
    CHECK(name(sign, sign, 64, 1) == bits(1));
    CHECK(name(unsigned_map(2), sign, 64, 1) == small);
    CHECK(name(sign, unsigned_map(1), 64) == small);
    CHECK(name(sign, twos_complement_map(2), 64) == small);
  }
}

TEST_CASE("ops: counted bits and multiplied codes have the same sums") {
  const std::vector<Problem> problems = {
      {{2, 5, 6, 32}, {24, 3, 3, 32}, {.padding = 1}},
      {{2, 5, 6, 8}, {17, 3, 3, 8}, {.padding = 1}},
      {{3, 6, 7, 40}, {5, 3, 2, 40}, {.stride = {2, 1}, .padding = {2, 1}}},
      {{1, 9, 7, 72}, {70, 3, 3, 72}, {.padding = 2, .dilation = {1, 2}}},
      {{2, 5, 4, 136}, {20, 2, 2, 136}, {.stride = 2}},
      {{2, 6, 5, 96}, {66, 3, 3, 48}, {.padding = 1, .groups = 2}},
      {{9, 4, 4, 520}, {33, 1, 1, 520}, {}},
      {{2, 3, 3, 552}, {18, 3, 3, 552}, {.padding = 1}},
      // Elements that channels do not fill.
      {{2, 5, 6, 29}, {24, 3, 3, 29}, {.padding = 1}},
      {{1, 6, 7, 55}, {33, 3, 2, 55}, {.stride = {1, 2}, .padding = 1}},
      {{2, 4, 5, 6}, {16, 3, 3, 3}, {.padding = 1, .groups = 2}},
      {{3, 4, 4, 131}, {18, 1, 1, 131}, {}},
  };
  for (const kernels::KernelTable* table : kernels::available()) {
    const ForcedIsa forced(table->name);
    if (!table->codes.bits.product) continue;
    std::uint64_t seed = 0;
    for (const Problem& p : problems) {
      const ops::detail::ConvSizes s = ops::detail::conv_sizes("test", p.x, p.w, p.options);
      const ops::detail::Correlation c = ops::detail::forward_correlation(s);
      for (const int x_bits : {1, 2, 3, 4}) {
        for (const int w_bits : {1, 2, 3, 4}) {
          if (x_bits * w_bits > 4) continue;
          // In turn, so that all pairs of maps come up.
          const std::array w_maps{centered_map(w_bits), shifted_map(w_bits, 2, 0), shifted_map(w_bits, -4, 7)};
          for (const AffineCodes& x_map :
               {unsigned_map(x_bits), centered_map(x_bits), shifted_map(x_bits, 1, 1), shifted_map(x_bits, -3, 5)}) {
            const AffineCodes& w_map = w_maps[seed / 2 % w_maps.size()];
            const Quantized x = random_codes(p.x, x_map, ++seed), w = random_codes(p.w, w_map, ++seed);
            INFO(std::string(table->name), " x ", p.x, " w ", p.w, " bits ", x_bits, " and ", w_bits, " steps ",
                 x_map.step, " and ", w_map.step);
            REQUIRE(ops::detail::WeightForm::has_planes(x_map, w_map));
            const auto expected = expected_sums(x, w, p);
            for (const auto& form :
                 {ops::detail::WeightForm::of_planes(x_map, w_map), ops::detail::WeightForm::of_bytes(x_map, w_map)}) {
              Sums sums{Tensor<std::int32_t>(ops::detail::output_shape(s)), {}};
              for (std::int64_t g = 0; g < s.groups; ++g)
                ops::detail::IntegerCorrelation(
                    c, x_map, ops::codes_in_memory(w.codes.data() + g * c.outputs * c.w_output), w_map, form)(
                    x.codes.data() + g * c.channels, sums.sums.data() + g * c.outputs);
              CHECK(count_wrong(sums, expected) == 0);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("ops: sums of few bits are exact where every product is the largest") {
  const auto full = [](const Shape& shape, const AffineCodes& map, bool largest) {
    return Quantized{Tensor<std::uint8_t>::full(shape, static_cast<std::uint8_t>(largest ? map.qmax : map.qmin)), map};
  };
  for (const kernels::KernelTable* table : kernels::available()) {
    const ForcedIsa forced(table->name);
    for (const int x_bits : {1, 2, 3, 4, 5}) {
      for (const int w_bits : {1, 2, 3, 4, 5}) {
        for (const bool largest : {false, true}) {
          const Quantized x = full({1, 2, 3, 1104}, unsigned_map(x_bits), true);
          const Quantized w = full({18, 2, 1, 1104}, centered_map(w_bits), largest);
          const Sums sums = ops::conv2d_sums(x, w);
          const std::int32_t product = ((1 << x_bits) - 1) * ((1 << w_bits) - 1);
          INFO(ops::PackedCodesConv2d(x.codes.shape(), unsigned_map(x_bits), w).kernel_name(), ", codes of ", x_bits, " and ", w_bits, " bits");
          CHECK(count_wrong(sums, std::vector<std::int64_t>(3 * 18, (largest ? 2208 : -2208) * product)) == 0);
        }
      }
    }
  }
}

TEST_CASE("ops: convolution of codes is exact up to the last sum that fits int32") {
  // 33,025 · 255 · 255 = 2^31 − 1 − 1.
  for (const kernels::KernelTable* table : kernels::available()) {
    const ForcedIsa forced(table->name);
    for (const int sign : {1, -1}) {
      const Problem p{{1, 1, 1, 33025}, {2, 1, 1, 33025}, {}};
      Quantized x{Tensor<std::uint8_t>::full(p.x, 255), unsigned_map(8)};
      Quantized w{Tensor<std::uint8_t>::full(p.w, sign > 0 ? 255 : 0), centered_map(8)};
      const Sums sums = ops::conv2d_sums(x, w);
      CHECK(sums.sums(0, 0, 0, 0) == sign * 33025 * 255 * 255);
      CHECK(sums.sums(0, 0, 0, 1) == sign * 33025 * 255 * 255);
    }
  }
  const Quantized x{Tensor<std::uint8_t>::full({1, 1, 1, 33026}, 255), unsigned_map(8)};
  const Quantized w{Tensor<std::uint8_t>::full({1, 1, 1, 33026}, 255), centered_map(8)};
  CHECK_FALSE(ops::has_integer_form(x, w));
  CHECK_THROWS_WITH_AS(ops::conv2d_sums(x, w), doctest::Contains("could pass int32"), ValueError);
}

TEST_CASE("ops: sums carry the scales of both factors") {
  const Problem p{{1, 4, 4, 8}, {6, 3, 3, 8}, {.padding = 1}};
  AffineCodes per_output = centered_map(4);
  per_output.scale = Tensor<float>({6});
  for (std::int64_t o = 0; o < 6; ++o) per_output.scale(o) = 0.1f * static_cast<float>(o + 1);
  per_output.channel_axis = 0;
  const Quantized x = random_codes(p.x, unsigned_map(4), 1), w = random_codes(p.w, per_output, 2);
  const Tensor<float> values = ops::decode(ops::conv2d_sums(x, w, p.options));
  const auto close = testing::allclose(values, ops::conv2d(ops::decode(x), ops::decode(w), p.options), 1e-5, 1e-4);
  CHECK_MESSAGE(close, close.message);

  AffineCodes per_channel = unsigned_map(4);
  per_channel.scale = Tensor<float>::ones({8});
  per_channel.channel_axis = 3;
  CHECK_FALSE(ops::has_integer_form({x.codes, per_channel}, w));
  CHECK_FALSE(ops::has_integer_form(x, {w.codes, LutCodes{Tensor<float>::ones({16})}}));
}

TEST_CASE("ops: floats and codes are multiplied without a float copy of the codes") {
  for (const kernels::KernelTable* table : kernels::available()) {
    const ForcedIsa forced(table->name);
    for (const Problem& p : {Problem{{2, 7, 6, 20}, {18, 3, 3, 20}, {.stride = 2, .padding = 1}},
                             Problem{{2, 6, 6, 3}, {8, 3, 3, 3}, {.padding = 1}},
                             Problem{{3, 11, 9, 32}, {16, 3, 3, 32}, {.padding = 1}},
                             Problem{{2, 6, 6, 16}, {24, 1, 1, 16}, {}},
                             Problem{{2, 6, 5, 10}, {10, 3, 3, 1}, {.padding = 1, .groups = 10}}}) {
      for (const auto& map : {unsigned_map(3), ops::sign_map(Tensor<float>::full({1}, 0.75f))}) {
        const Quantized x = random_codes(p.x, map, 3);
        const Tensor<float> w = testing::random_normal<float>(p.w, 4);
        const Tensor<float> values = ops::decode(x);
        const Tensor<float> y = ops::conv2d(values, w, p.options);
        auto close = testing::allclose(ops::conv2d(x, w, p.options), y, 1e-4, 1e-4);
        CHECK_MESSAGE(close, close.message);
        const Tensor<float> grad = testing::random_normal<float>(y.shape(), 5);
        close = testing::allclose(ops::conv2d_backward_weight(grad, x, p.w, p.options),
                                  ops::conv2d_backward_weight(grad, values, p.w, p.options), 1e-4, 1e-3);
        CHECK_MESSAGE(close, close.message);
      }
    }
  }
}

TEST_CASE("ops: weights that are decoded a panel at a time have the bits of those decoded before") {
  for (const kernels::KernelTable* table : kernels::available()) {
    const ForcedIsa forced(table->name);
    for (const Problem& p : {Problem{{2, 7, 6, 20}, {18, 3, 3, 20}, {.stride = 2, .padding = 1}},
                             Problem{{2, 6, 6, 3}, {72, 3, 3, 3}, {.padding = 1}},
                             Problem{{6, 12, 12, 32}, {64, 3, 3, 32}, {.padding = 1}},
                             Problem{{9, 7, 6, 80}, {100, 1, 1, 80}, {}},
                             Problem{{2, 7, 6, 40}, {20, 3, 3, 20}, {.padding = 1, .groups = 2}},
                             Problem{{2, 6, 5, 10}, {10, 3, 3, 1}, {.padding = 1, .groups = 10}}}) {
      AffineCodes per_output = centered_map(4);
      per_output.scale = Tensor<float>({p.w[0]});
      for (std::int64_t o = 0; o < p.w[0]; ++o) per_output.scale(o) = 0.1f * static_cast<float>(o + 1);
      per_output.channel_axis = 0;
      const Tensor<float> table_of_16 = testing::random_normal<float>({16}, 7);
      for (const CodeMap& map : {CodeMap(centered_map(8)), CodeMap(per_output), CodeMap(LutCodes{table_of_16})}) {
        const Quantized w{random_codes(p.w, centered_map(4), 3).codes, map};
        const Tensor<float> values = ops::decode(w), x = testing::random_normal<float>(p.x, 4);
        const Tensor<float> y = ops::conv2d(x, values, p.options);
        CHECK(testing::bit_equal(ops::conv2d(x, w, p.options), y));
        const Quantized x_codes = random_codes(p.x, unsigned_map(3), 8);
        CHECK(testing::bit_equal(ops::conv2d(x_codes, w, p.options), ops::conv2d(x_codes, values, p.options)));
        const Tensor<float> grad = testing::random_normal<float>(y.shape(), 5);
        CHECK(testing::bit_equal(ops::conv2d_backward_data(grad, w, p.x, p.options),
                                 ops::conv2d_backward_data(grad, values, p.x, p.options)));
      }
    }
  }
}

TEST_CASE("ops: convolution of codes has the same bits for any number of threads") {
  const Problem p{{5, 9, 9, 32}, {48, 3, 3, 32}, {.padding = 1}};
  const Quantized x = random_codes(p.x, unsigned_map(8), 1), w = random_codes(p.w, centered_map(8), 2);
  set_num_threads(1);
  const Sums one = ops::conv2d_sums(x, w, p.options);
  for (const int threads : {2, 3, 8}) {
    set_num_threads(threads);
    CHECK(testing::bit_equal(ops::conv2d_sums(x, w, p.options).sums, one.sums));
  }
  set_num_threads(0);
}

TEST_CASE("ops: totals counted by a convolution are those of its sums") {
  for (const Problem& p : {Problem{{5, 9, 9, 32}, {48, 3, 3, 32}, {.padding = 1}},
                           Problem{{3, 10, 7, 12}, {70, 3, 3, 6}, {.stride = 2, .padding = 1, .groups = 2}},
                           Problem{{2, 5, 5, 256}, {300, 1, 1, 256}, {}},
                           Problem{{3, 41, 6, 37}, {37, 3, 3, 1}, {.padding = 1, .groups = 37}},
                           Problem{{1, 7, 7, 64}, {64, 3, 3, 1}, {.stride = 2, .padding = 1, .groups = 64}}}) {
    for (const int bits : {1, 2, 8}) {
      const Quantized x = random_codes(p.x, unsigned_map(bits), 1), w = random_codes(p.w, centered_map(bits), 2);
      for (const kernels::KernelTable* table : kernels::available()) {
        const ForcedIsa forced(table->name);
        Sums sums = ops::conv2d_sums(x, w, p.options, true);
        const auto counted = std::exchange(sums.totals, {});
        const auto expected = ops::channel_totals(sums);
        REQUIRE(counted.size() == expected.size());
        for (std::size_t c = 0; c < counted.size(); ++c) {
          CHECK(counted[c].sum == expected[c].sum);
          CHECK(bool(counted[c].squares == expected[c].squares));
        }
      }
    }
  }
}

TEST_CASE("ops: a convolution of codes packed once takes the codes that it was packed for") {
  const Shape shape{2, 6, 7, 32};
  for (const Conv2dWeights& t : {Conv2dWeights{{24, 3, 3, 32}, 1}, Conv2dWeights{{32, 3, 3, 1}, 32}, Conv2dWeights{{16, 3, 3, 16}, 2}}) {
    const Quantized w = random_codes(t.shape, centered_map(8), 2);
    const ops::Conv2dOptions options{.padding = 1, .groups = t.groups};
    const ops::PackedCodesConv2d packed(shape, unsigned_map(8), w, options);
    for (const std::uint64_t seed : {3, 4}) {
      const Quantized x = random_codes(shape, unsigned_map(8), seed);
      const Sums sums = packed(x);
      CHECK(count_wrong(sums, expected_sums(x, w, {shape, t.shape, options})) == 0);
      CHECK(testing::bit_equal(sums.scale, ops::conv2d_sums(x, w, options).scale));
    }
    CHECK_THROWS_WITH_AS(packed(random_codes({1, 6, 7, 32}, unsigned_map(8), 1)), doctest::Contains("packed for [2,6,7,32]"), ShapeError);
    CHECK_THROWS_WITH_AS(packed(random_codes(shape, unsigned_map(7), 1)), doctest::Contains("not those"), ValueError);
    CHECK_THROWS_AS(packed({random_codes(shape, unsigned_map(8), 1).codes, LutCodes{Tensor<float>::ones({256})}}), ValueError);
  }
  const ops::PackedCodesConv2d empty({0, 6, 7, 32}, unsigned_map(8), random_codes({24, 3, 3, 32}, centered_map(8), 2));
  CHECK(empty({Tensor<std::uint8_t>({0, 6, 7, 32}), unsigned_map(8)}).sums.shape() == Shape{0, 4, 5, 24});
  CHECK(empty.kernel_name() == "none");
}

TEST_CASE("conv2d_codes: blocks cover every sum once") {
  for (const kernels::KernelTable* table : kernels::available()) {
    const ForcedIsa forced(table->name);
    INFO(std::string(table->name));
    std::uint64_t seed = 50;
    for (const Problem& p : {Problem{{3, 9, 7, 20}, {24, 3, 3, 20}, {.padding = 1}},
                             {{1, 14, 14, 64}, {300, 3, 3, 64}, {.stride = 2, .padding = 1}},
                             {{2, 8, 8, 32}, {64, 1, 1, 16}, {.groups = 2}},
                             {{2, 9, 9, 24}, {24, 3, 3, 1}, {.padding = 1, .groups = 24}}}) {
      for (const int bits : {1, 8}) {
        const Quantized x = random_codes(p.x, unsigned_map(bits), ++seed), w = random_codes(p.w, centered_map(bits), ++seed);
        const ops::PackedCodesConv2d conv(p.x, std::get<AffineCodes>(x.map), w, p.options);
        const Sums expected = conv(x);
        const std::int64_t channels = expected.sums.dim(3), pixels = expected.sums.dim(1) * expected.sums.dim(2);
        Tensor<std::int32_t> found = Tensor<std::int32_t>::zeros(expected.sums.shape());
        Tensor<std::uint8_t> times = Tensor<std::uint8_t>::zeros(expected.sums.shape());
        conv.for_each_block(x.codes.data(), [&](const ops::detail::SumsBlock& b) {
          for (std::int64_t i = 0; i < b.pixels; ++i)
            for (std::int64_t c = 0; c < b.channels; ++c) {
              const std::int64_t at = (b.image * pixels + b.pixel + i) * channels + b.channel + c;
              found.data()[at] = b.sums[i * b.step + c];
              ++times.data()[at];
            }
        });
        CHECK(testing::bit_equal(found, expected.sums));
        CHECK(std::all_of(times.span().begin(), times.span().end(), [](std::uint8_t t) { return t == 1; }));
      }
    }
  }
}
