#include "spnet/ops/quantize.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "spnet/ops/quantize_centered.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;
using testing::bit_equal;

TEST_CASE("ops: decode is scale times the integer, for a tensor, along an axis, and by table") {
  const auto codes = Tensor<std::uint8_t>::from({2, 3}, {0, 1, 2, 3, 4, 255});
  CHECK(
      bit_equal(ops::decode({codes, AffineCodes{.scale = Tensor<float>::full({1}, 0.1f), .step = 2, .zero_point = 3}}),
                Tensor<float>::from({2, 3}, {0.1f * -3, 0.1f * -1, 0.1f * 1, 0.1f * 3, 0.1f * 5, 0.1f * 507})));
  CHECK(bit_equal(ops::decode({codes, AffineCodes{.scale = Tensor<float>::from({2}, {1, 10}), .channel_axis = 0}}),
                  Tensor<float>::from({2, 3}, {0, 1, 2, 30, 40, 2550})));
  CHECK(bit_equal(ops::decode({codes, AffineCodes{.scale = Tensor<float>::from({3}, {1, 10, 100}), .channel_axis = 1}}),
                  Tensor<float>::from({2, 3}, {0, 10, 200, 3, 40, 25500})));
  // A code outside the table is zero, never a read outside.
  CHECK(bit_equal(ops::decode({codes, LutCodes{Tensor<float>::from({4}, {-1, -0.5f, 0.5f, 1})}}),
                  Tensor<float>::from({2, 3}, {-1, -0.5f, 0.5f, 1, 0, 0})));
  CHECK(ops::decode({Tensor<std::uint8_t>({0, 3}), AffineCodes{.scale = Tensor<float>::ones({3}), .channel_axis = 1}})
            .size() == 0);
}

TEST_CASE("ops: a range of codes decodes as it does among all") {
  Tensor<std::uint8_t> codes({3, 2, 5});
  for (std::int64_t i = 0; i < codes.size(); ++i) codes.data()[i] = static_cast<std::uint8_t>(7 * i % 16);
  for (const int axis : {-1, 0, 1, 2}) {
    const std::int64_t channels = axis < 0 ? 1 : codes.dim(axis);
    Tensor<float> scale({channels});
    for (std::int64_t c = 0; c < channels; ++c) scale(c) = 0.1f * static_cast<float>(c + 1);
    const CodeMap map = AffineCodes{.scale = scale, .zero_point = 4, .qmax = 15, .channel_axis = axis};
    const Tensor<float> all = ops::decode({codes, map});
    const ops::Decoder decoder(map, codes.shape());
    for (std::int64_t begin = 0; begin < codes.size(); ++begin) {
      Tensor<float> part({codes.size() - begin});
      decoder(codes.data() + begin, begin, part.size(), part.data());
      CHECK(bit_equal(part, all.reshape({codes.size()}).narrow(0, begin, part.size())));
    }
  }
}

TEST_CASE("ops: what is not finite is reported with its quantizer, shape and place") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    Tensor<float> x = testing::random_normal<float>({3, 40000}, 2);
    x(1, 7) = bad;
    x(2, 9) = bad;
    CHECK_THROWS_AS(ops::uniform_codes("mine", x, 3, 0, 3), NumericError);
    CHECK_THROWS_AS(ops::sign_codes("mine", x, true), NumericError);
    CHECK_THROWS_AS(ops::finite_tanh("mine", x), NumericError);
    CHECK_THROWS_WITH_AS(ops::sign_codes("mine", x, true), doctest::Contains("at element 40007 of [3,40000]"),
                         NumericError);
  }
  Tensor<float> x = Tensor<float>::full({2}, std::numeric_limits<float>::infinity());
  CHECK_THROWS_WITH_AS(ops::uniform_codes("mine", x, 3, 0, 3), "quantize: mine got inf at element 0 of [2]",
                       NumericError);
}

TEST_CASE("ops: codes do not depend on threads or instruction set") {
  const Tensor<float> x = testing::random_normal<float>({7, 9001}, 4);
  const auto all = [&] {
    const Tensor<float> t = ops::finite_tanh("x", x);
    const auto centered = ops::centered_codes(t, ops::max_abs(t), 255);
    return std::array{ops::uniform_codes("x", x, 255, 0, 255), ops::uniform_codes("x", x, 31.7f, -128, 127),
                      ops::sign_codes("x", x, false), centered};
  };
  set_num_threads(1);
  const auto expected = all();
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    for (const kernels::KernelTable* table : kernels::available()) {
      kernels::force(table->name);
      const auto got = all();
      for (std::size_t i = 0; i < got.size(); ++i) CHECK(bit_equal(got[i], expected[i]));
    }
  }
  kernels::force("");
  set_num_threads(0);
}

TEST_CASE("ops: clipped gradients are added to a sum") {
  const auto x = testing::random_normal<float>({5, 700}, 1), g = testing::random_normal<float>({5, 700}, 2);
  Tensor<float> sum = testing::random_normal<float>({5, 700}, 3);
  const Tensor<float> before = sum.clone(), clipped = ops::clamp_gradient(g, x, -0.5f, 1.0f);
  ops::add_clamped_gradient_(sum, g, x, -0.5f, 1.0f);
  std::int64_t wrong = 0;
  for (std::int64_t i = 0; i < x.size(); ++i) wrong += sum.data()[i] != before.data()[i] + clipped.data()[i];
  CHECK(wrong == 0);
  Tensor<float> other({5, 699});
  CHECK_THROWS_WITH_AS(ops::add_clamped_gradient_(other, g, x, 0, 1), doctest::Contains("add_clamped_gradient_"), ShapeError);
}
