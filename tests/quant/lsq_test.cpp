#include "spnet/quant/lsq.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <vector>

#include "quantizer_run.hpp"
#include "spnet/autograd/arithmetic.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;
using testing::random_normal;

namespace {

Variable<float> scale_at(const Quantizer& quantizer, int bits) { return quantizer.parameters_at(bits)[0]; }

std::unique_ptr<Quantizer> make_lsq(bool weights, const QuantizerOptions& options = {}) {
  if (weights) return std::make_unique<LsqWeights>(options);
  return std::make_unique<LsqActivations>(options);
}

}  // namespace

TEST_CASE(
    "quant: lsq starts each scale at 2 mean|x| / sqrt(Q) in training, and computes it without keeping it otherwise") {
  LsqWeights quantizer({.widths = {2, 4}});
  const Tensor<float> w = random_normal<float>({8, 3, 3, 4}, 1, 0.2);
  double mean = 0;
  for (const float v : w.span()) mean += std::abs(v) / static_cast<double>(w.size());
  const Tensor<float> evaluated = ops::decode(quantizer.lower(w, 4, false));
  CHECK(scale_at(quantizer, 4).value()(0) == 0.0f);
  const Tensor<float> trained = ops::decode(quantizer.lower(w, 4, true));
  CHECK(testing::bit_equal(evaluated, trained));
  CHECK(scale_at(quantizer, 4).value()(0) == doctest::Approx(2 * mean / std::sqrt(7.0)));
  CHECK(scale_at(quantizer, 2).value()(0) == 0.0f);
  quantizer.lower(random_normal<float>({5}, 2), 4, true);  // once only
  CHECK(scale_at(quantizer, 4).value()(0) == doctest::Approx(2 * mean / std::sqrt(7.0)));
  CHECK_THROWS_WITH_AS(quantizer.lower(w, 3, true), "quantize: lsq weights got 3 bits, but was made for 2, 4",
                       ValueError);
  quantizer.lower(Tensor<float>::zeros({5}), 2, true);
  CHECK(scale_at(quantizer, 2).value()(0) == 0.0f);  // nothing to learn from zeros
}

TEST_CASE("quant: lsq codes follow the formula in double and use every level") {
  for (const bool weights : {true, false}) {
    const auto quantizer = make_lsq(weights);
    Tensor<float> x({40001});
    for (int i = 0; i <= 40000; ++i) x(i) = static_cast<float>(i - 20000) / 2499;
    for (int bits = weights ? 2 : 1; bits <= 8; ++bits) {
      CAPTURE(bits);
      const int low = weights ? -(1 << (bits - 1)) : 0, high = weights ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
      Variable<float> variable = scale_at(*quantizer, bits);
      variable.value()(0) = 3.5f / static_cast<float>(high);
      const float s = variable.value()(0);
      const Quantized q = quantizer->lower(x, bits, true);
      const auto& map = std::get<AffineCodes>(q.map);
      CHECK(map.zero_point == -low);
      CHECK(map.qmax == high - low);
      const Tensor<float> values = ops::decode(q);
      std::set<int> seen;
      for (std::int64_t i = 0; i < x.size(); ++i) {
        const int level = q.codes(i) + low;
        seen.insert(level);
        const double place =
            std::clamp(static_cast<double>(x(i)) / s, static_cast<double>(low), static_cast<double>(high));
        REQUIRE(std::abs(level - place) <= 0.5 + 1e-4);
        REQUIRE(values(i) == s * static_cast<float>(level));
      }
      CHECK(*seen.begin() == low);
      CHECK(*seen.rbegin() == high);
      CHECK(seen.size() == static_cast<std::size_t>(high - low + 1));
    }
  }
}

TEST_CASE("quant: lsq gradients are those of the function with its rounding error held fast") {
  for (const bool per_channel : {false, true}) {
    for (const bool weights : {true, false}) {
      if (per_channel && !weights) continue;
      const Tensor<float> x = random_normal<float>({4, 50}, 4, 0.5), g = random_normal<float>(x.shape(), 5);
      const auto quantizer = make_lsq(weights, {.channels = 4, .per_channel = per_channel});
      for (const int bits : {2, 3, 8}) {
        CAPTURE(bits);
        const double low = weights ? -(1 << (bits - 1)) : 0, high = weights ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
        Variable<float> variable = scale_at(*quantizer, bits);
        for (std::int64_t c = 0; c < variable.size(); ++c)
          variable.value()(c) = static_cast<float>((0.5 + 0.1 * c) / high);
        variable.zero_grad();
        const QuantizerRun r = run_quantizer(*quantizer, x, g, bits);
        const Tensor<double> start = x.to<double>(), scale = variable.value().to<double>();
        const auto channel = [&](std::int64_t i) { return per_channel ? i / 50 : 0; };
        const auto relaxed = [&](const Tensor<double>& at, const Tensor<double>& s) {
          double sum = 0;
          for (std::int64_t i = 0; i < at.size(); ++i) {
            const double v0 = std::clamp(start.data()[i] / scale(channel(i)), low, high);
            const double v = std::clamp(at.data()[i] / s(channel(i)), low, high);
            sum += g.data()[i] * s(channel(i)) * (v + (std::nearbyint(v0) - v0));
          }
          return sum;
        };
        for (std::int64_t i = 0; i < x.size(); ++i)
          CHECK(
              r.gradient.data()[i] ==
              doctest::Approx(difference([&](const auto& at) { return relaxed(at, scale); }, start, i)).epsilon(1e-4));
        const double rate = 1 / std::sqrt(static_cast<double>(x.size() / variable.size()) * high);
        for (std::int64_t c = 0; c < variable.size(); ++c)
          CHECK(variable.grad()(c) ==
                doctest::Approx(rate * difference([&](const auto& s) { return relaxed(start, s); }, scale, c, 1e-7))
                    .epsilon(1e-3));
      }
    }
  }
}

TEST_CASE("quant: lsq weights at 1 bit are a learned scale times the sign") {
  LsqWeights quantizer({.channels = 2, .per_channel = true});
  const Tensor<float> w = Tensor<float>::from({2, 2}, {0.5f, -0.1f, 0.0f, -2.0f});
  const QuantizerRun r = run_quantizer(quantizer, w, Tensor<float>::from({2, 2}, {1, 2, 3, 5}), 1);
  CHECK(testing::allclose(r.values, Tensor<float>::from({2, 2}, {0.3f, -0.3f, 1.0f, -1.0f})));
  CHECK(testing::allclose(r.gradient, Tensor<float>::from({2, 2}, {1, 2, 3, 5})));
  const Variable<float> scale = scale_at(quantizer, 1);
  CHECK(testing::allclose(scale.grad(), Tensor<float>::from({2}, {-1 / std::sqrt(2.0f), -2 / std::sqrt(2.0f)})));
}

TEST_CASE("quant: a learned scale that was driven to zero or below still works, and a broken one is reported") {
  LsqWeights quantizer({.widths = {4}});
  const Tensor<float> w = random_normal<float>({64}, 6), g = random_normal<float>({64}, 7);
  Variable<float> scale = scale_at(quantizer, 4);
  scale.value()(0) = 0.3f;
  const QuantizerRun positive = run_quantizer(quantizer, w, g, 4);
  const float gradient = scale.grad()(0);
  scale.zero_grad();
  scale.value()(0) = -0.3f;
  const QuantizerRun negative = run_quantizer(quantizer, w, g, 4);
  CHECK(testing::bit_equal(positive.values, negative.values));
  CHECK(scale.grad()(0) == -gradient);
  scale.value()(0) = -1e-30f;
  const QuantizerRun tiny = run_quantizer(quantizer, w, g, 4);
  for (const float v : tiny.values.span()) CHECK(std::isfinite(v));
  scale.value()(0) = std::nanf("");
  CHECK_THROWS_WITH_AS(quantizer.lower(w, 4, true), "quantize: a learned scale of lsq weights is nan", NumericError);
}

TEST_CASE("quant: scales are named by width and share their memory") {
  LsqActivations quantizer({.widths = {2, 8}});
  const auto parameters = quantizer.parameters();
  REQUIRE(parameters.size() == 2);
  CHECK(parameters[0].name == "scale.2");
  CHECK(parameters[1].name == "scale.8");
  Tensor<float> memory = parameters[1].variable.value();
  quantizer.lower(Tensor<float>::ones({4}), 8, true);
  CHECK(memory(0) == doctest::Approx(2 / std::sqrt(255.0)));
  // What was saved, read into another quantizer, gives the same codes.
  const Tensor<float> x = random_normal<float>({100}, 8);
  LsqActivations other({.widths = {2, 8}});
  for (std::size_t i = 0; i < 2; ++i) other.parameters()[i].variable.value().copy_from(parameters[i].variable.value());
  CHECK(testing::bit_equal(ops::decode(quantizer.lower(x, 8, false)), ops::decode(other.lower(x, 8, false))));
  CHECK_THROWS_AS(LsqActivations({.per_channel = true}), ValueError);
}

TEST_CASE("quant: the last value that a learned scale's clip lets pass is found to the bit") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float scale : {1e-10f, 3.1e-5f, 0.1f, 0.7f, 1.0f, 3.3f, 1e30f}) {
    for (const float high : {1.0f, 3.0f, 255.0f}) {
      const float factor = 1.0f / scale, last = detail::largest_below(high, factor);
      CHECK(last * factor < high);
      CHECK(std::nextafter(last, kInfinity) * factor >= high);
    }
  }
}

TEST_CASE("quant: lsq activations in one pass with the norm before them are those in two") {
  const Shape shape{6, 5, 5, 20};
  const Tensor<float> x = random_normal<float>(shape, 1, 2), residual = random_normal<float>(shape, 2),
                      g = random_normal<float>(shape, 3);
  for (const bool joins : {false, true}) {
    for (const int bits : {1, 2, 8}) {
      for (const float sign : {1.0f, -1.0f}) {
        CAPTURE(joins);
        CAPTURE(bits);
        std::vector<Tensor<float>> values;
        std::vector<std::vector<Tensor<float>>> gradients;
        for (const bool apart : {false, true}) {
          LsqActivations quantizer({.widths = {bits}});
          Variable<float> scale = scale_at(quantizer, bits);
          scale.value()(0) = sign * 0.9f / static_cast<float>((1 << bits) - 1);
          std::vector<Variable<float>> inputs{{x.clone(), true},
                                              {Tensor<float>::full({20}, 1.1f), true},
                                              {Tensor<float>::full({20}, 0.1f), true},
                                              {residual.clone(), true}};
          Variable<float> y = joins ? batch_norm_add_relu(inputs[0], inputs[3], inputs[1], inputs[2], {}, {})
                                    : batch_norm_relu(inputs[0], inputs[1], inputs[2], {}, {});
          if (apart) y = y + Variable<float>(Tensor<float>::zeros(shape));  // of a value
          const Variable<float> out = quantize(y, quantizer, bits, true);
          if (!apart && !joins) CHECK_FALSE(y.deferred()->is_computed());
          values.push_back(out.value().clone());
          out.backward(g.clone());
          auto& all = gradients.emplace_back();
          inputs.push_back(scale);
          if (!joins) inputs.erase(inputs.begin() + 3);
          for (const auto& input : inputs) all.push_back(input.grad().clone());
        }
        CHECK(testing::bit_equal(values[0], values[1]));
        for (std::size_t i = 0; i < gradients[0].size(); ++i) {
          const auto close = testing::allclose(gradients[0][i], gradients[1][i], 1e-5, 1e-5);
          CHECK_MESSAGE(close, i, ": ", close.message);
        }
        CHECK(std::abs(gradients[0].back()(0)) > 1e-3f);
      }
    }
  }
}

TEST_CASE("quant: signed lsq activations have the weights' range, and their form agrees with the codes") {
  for (const int bits : {1, 2, 4, 8}) {
    CAPTURE(bits);
    LsqActivations activations({.widths = {bits}, .is_signed = true});
    const Tensor<float> x = random_normal<float>({500}, 5), g = random_normal<float>({500}, 6);
    const QuantizerRun r = run_quantizer(activations, x, g, bits);
    const Quantized& q = r.lowered;
    const auto& map = std::get<AffineCodes>(q.map);
    CHECK(map.zero_point == (bits == 1 ? 0 : 1 << (bits - 1)));
    CHECK(map.qmax == (1 << bits) - 1);
    const auto form = activations.form(bits);
    REQUIRE(form.has_value());
    CHECK(testing::bit_equal(form->codes.codes("lsq", x), q.codes));
    CHECK(form->map.zero_point == map.zero_point);
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const bool passes = x(i) >= form->pass_low && x(i) <= form->pass_high;
      CHECK(r.gradient(i) == (passes ? g(i) : 0.0f));
    }
    if (bits == 1) continue;
    LsqWeights weights({.widths = {bits}});
    CHECK(testing::bit_equal(run_quantizer(weights, x, g, bits).values, r.values));
  }
}
