#include "spnet/quant/mixture.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "spnet/autograd/arithmetic.hpp"
#include "spnet/autograd/softmax.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/quant/registry.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {

struct Gradients {
  Tensor<float> value, x, shares;
  std::vector<Tensor<float>> parameters;
};

std::unique_ptr<Quantizer> make(const std::string& scheme, bool weights, const std::vector<int>& widths) {
  QuantizerOptions options{.widths = {}, .channels = 6};
  for (const int bits : widths)
    if (bits != kFloatBits) options.widths.push_back(bits);
  return weights ? make_weight_quantizer(scheme, options) : make_activation_quantizer(scheme, options);
}

// Through `forward`(x, shares), with the quantizer's scales started from x.
template <class Forward>
Gradients run(Quantizer& quantizer, const std::vector<int>& widths, const Forward& forward, int only = -1) {
  const Tensor<float> data = testing::random_normal<float>({6, 35, 31}, 1), g = testing::random_normal<float>(data.shape(), 2);
  for (const int bits : widths)
    if (bits != kFloatBits) quantizer.lower(data, bits, true);
  const Variable<float> x(data.clone(), true);
  Tensor<float> shares({static_cast<std::int64_t>(widths.size())});
  for (std::int64_t i = 0; i < shares.size(); ++i)
    shares(i) = only < 0 ? 0.1f * static_cast<float>(i + 1) : i == only ? 1.0f : 0.0f;
  const Variable<float> s(shares, true);
  const Variable<float> y = forward(x, s);
  y.backward(g.clone());
  Gradients out{y.value().clone(), x.grad().clone(), s.grad().clone(), {}};
  for (const auto& p : quantizer.parameters()) {
    out.parameters.push_back(p.variable.grad().defined() ? p.variable.grad().clone() : Tensor<float>());
    Variable<float>(p.variable).zero_grad();
  }
  return out;
}

// What a mixture is, one width after the other.
Variable<float> sum_of_widths(const Variable<float>& x, Quantizer& quantizer, const std::vector<int>& widths,
                              const Variable<float>& shares) {
  Variable<float> sum;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const auto part = quantize(x, quantizer, widths[i], true) *
                      reshape(narrow(shares, 0, static_cast<std::int64_t>(i), 1), {1, 1, 1});
    sum = sum.defined() ? sum + part : part;
  }
  return sum;
}

}  // namespace

TEST_CASE("quant: a mixture is the sum of its widths by their shares, forward and backward") {
  for (const bool weights : {true, false}) {
    for (const char* scheme : {"dorefa", "lsq", "log", "double_rounding"}) {
      for (const std::vector<int>& widths : {std::vector<int>{1, 2, 3, 4, 8}, {2, 32}, {4}}) {
        CAPTURE(std::string(scheme));
        CAPTURE(weights);
        CAPTURE(widths.size());
        const auto quantizer = make(scheme, weights, widths);
        const auto mixed = run(*quantizer, widths, [&](const Variable<float>& x, const Variable<float>& s) {
          return quantize_mixture(x, *quantizer, widths, s, true);
        });
        const auto expected = run(*quantizer, widths, [&](const Variable<float>& x, const Variable<float>& s) {
          return sum_of_widths(x, *quantizer, widths, s);
        });
        const auto close = [](const Tensor<float>& a, const Tensor<float>& b) { return testing::allclose(a, b, 2e-4, 2e-4); };
        CHECK(close(mixed.value, expected.value));
        CHECK(close(mixed.x, expected.x));
        CHECK(testing::allclose(mixed.shares, expected.shares, 1e-3, 2e-2));
        REQUIRE(mixed.parameters.size() == expected.parameters.size());
        for (std::size_t i = 0; i < mixed.parameters.size(); ++i) {
          REQUIRE(mixed.parameters[i].defined() == expected.parameters[i].defined());
          if (mixed.parameters[i].defined()) CHECK(close(mixed.parameters[i], expected.parameters[i]));
        }
      }
    }
  }
}

TEST_CASE("quant: where one width has all shares, the mixture is its codes, with the gradients of all") {
  const std::vector<int> widths{1, 2, 4, 32};
  for (const bool weights : {true, false}) {
    for (const char* scheme : {"dorefa", "lsq"}) {
      for (const int only : {0, 2, 3}) {
        CAPTURE(std::string(scheme));
        CAPTURE(only);
        const auto quantizer = make(scheme, weights, widths);
        bool is_codes = false;
        const auto mixed = run(
            *quantizer, widths,
            [&](const Variable<float>& x, const Variable<float>& s) {
              const auto y = quantize_mixture(x, *quantizer, widths, s, true);
              is_codes = y.deferred_as<DeferredCodes>() != nullptr;
              return y;
            },
            only);
        const auto expected = run(
            *quantizer, widths,
            [&](const Variable<float>& x, const Variable<float>& s) { return sum_of_widths(x, *quantizer, widths, s); },
            only);
        CHECK(is_codes == (widths[static_cast<std::size_t>(only)] != kFloatBits));
        CHECK(testing::allclose(mixed.value, expected.value, 1e-6, 1e-6));
        CHECK(testing::allclose(mixed.x, expected.x, 1e-6, 1e-6));
        CHECK(testing::allclose(mixed.shares, expected.shares, 1e-3, 2e-2));
      }
    }
  }
}

TEST_CASE("quant: codes of many widths at once are those of each by itself, where backward is the same it is linear") {
  const Tensor<float> x = testing::random_normal<float>({6, 35, 31}, 1),
                      g = testing::random_normal<float>(x.shape(), 2);
  const std::vector<int> widths{1, 2, 3, 5, 8};
  for (const char* scheme : {"dorefa", "xnor", "log", "lsq", "double_rounding", "floor_nested", "midrise_nested"}) {
    CAPTURE(std::string(scheme));
    const auto quantizer = make(scheme, true, widths);
    const auto all = quantizer->lower_all(x, widths, true);
    REQUIRE(all.size() == widths.size());
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const Quantized one = quantizer->lower(x, widths[i], true);
      CHECK(testing::bit_equal(all[i].codes, one.codes));
      CHECK(testing::bit_equal(ops::decode(all[i]), ops::decode(one)));
      for (std::size_t k = 0; k < i; ++k) {
        if (!quantizer->same_backward(widths[i], widths[k])) continue;
        const auto gradient = [&](int bits) {
          const Variable<float> v(x.clone(), true);
          quantize(v, *quantizer, bits, true).backward(g.clone());
          return v.grad().clone();
        };
        CHECK(testing::bit_equal(gradient(widths[i]), gradient(widths[k])));
      }
    }
  }
}

TEST_CASE("quant: a mixture has the same bits with any number of threads") {
  const std::vector<int> widths{1, 2, 4};
  const auto quantizer = make("lsq", false, widths);
  const auto at = [&](int threads) {
    const ThreadCountGuard guard(threads);
    return run(*quantizer, widths, [&](const Variable<float>& x, const Variable<float>& s) {
      return quantize_mixture(x, *quantizer, widths, s, true);
    });
  };
  const auto one = at(1), two = at(2);
  CHECK(testing::bit_equal(one.value, two.value));
  CHECK(testing::bit_equal(one.x, two.x));
  CHECK(testing::bit_equal(one.shares, two.shares));
  CHECK(testing::bit_equal(one.parameters[1], two.parameters[1]));
}

TEST_CASE("quant: a mixture refuses what it cannot do") {
  const auto quantizer = make("dorefa", false, {2});
  const Variable<float> x(Tensor<float>::ones({3})), shares(Tensor<float>::ones({1}));
  CHECK_THROWS_AS(quantize_mixture(x, *quantizer, {}, shares, true), ShapeError);
  CHECK_THROWS_AS(quantize_mixture(x, *quantizer, {2, 4}, shares, true), ShapeError);
  CHECK_THROWS_AS(quantize_mixture(x, *quantizer, {9}, shares, true), ValueError);
  const Variable<float> bad(Tensor<float>::full({3}, std::numeric_limits<float>::infinity()));
  CHECK_THROWS_AS(quantize_mixture(bad, *quantizer, {2}, shares, true), NumericError);
}
