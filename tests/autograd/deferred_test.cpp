#include "spnet/autograd/deferred.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <utility>
#include <vector>

#include "spnet/autograd/activation.hpp"
#include "spnet/autograd/arithmetic.hpp"
#include "spnet/autograd/conv.hpp"
#include "spnet/autograd/norm.hpp"
#include "spnet/quant/dorefa.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {

// Hides the other form of a value, so that what reads it takes the tensor.
Variable<float> opaque(const Variable<float>& v) {
  return make_result<float>(v.value().clone(), {v},
                            [](const Tensor<float>& g, InputGradients<float>& into) { into.add(0, g.clone()); });
}

struct Network {
  Variable<float> x{testing::random_normal<float>({2, 8, 8, 16}, 1), true};
  Variable<float> w1{testing::random_normal<float>({16, 3, 3, 16}, 2, 0.2), true};
  Variable<float> w2{testing::random_normal<float>({20, 3, 3, 16}, 3, 0.2), true};
  Variable<float> gamma{testing::random_normal<float>({16}, 4, 0.2, 1), true}, beta{testing::random_normal<float>({16}, 5, 0.2), true};
  Variable<float> gamma2{testing::random_normal<float>({16}, 8, 0.2, 1), true};
  DorefaActivations activations;
  DorefaWeights weights;

  // Two convolutions with a norm between them, a residual join, and a second user of the joined value.
  template <class Pass>
  Variable<float> operator()(int bits, const Pass& pass) {
    const Tensor<float> mean = Tensor<float>::zeros({16}), var = Tensor<float>::ones({16});
    const auto conv = [&](const Variable<float>& in, const Variable<float>& w) {
      return pass(conv2d(pass(quantize(in, activations, bits, true)), pass(quantize(w, weights, bits, true)), {.padding = 1}));
    };
    const auto inner = pass(batch_norm_relu(conv(x, w1), gamma, beta, mean, var));
    const auto joined = pass(batch_norm_add_relu(conv(inner, w1), x, gamma2, beta, mean, var));
    return conv(joined, w2) + conv(joined, w2) * 0.5f;
  }
  std::vector<Variable<float>*> parameters() { return {&x, &w1, &w2, &gamma, &beta, &gamma2}; }
};

}  // namespace

TEST_CASE("autograd: codes and sums in place of floats change neither values nor gradients") {
  for (const int bits : {1, 2, 4, 8}) {
    Network net;
    const auto seed = testing::random_normal<float>({2, 8, 8, 20}, 6);
    const auto run = [&](const auto& pass) {
      for (auto* p : net.parameters()) p->zero_grad();
      const Variable<float> y = net(bits, pass);
      std::vector<Tensor<float>> all{y.value().clone()};
      y.backward(seed);
      for (auto* p : net.parameters()) all.push_back(p->grad().clone());
      return all;
    };
    const auto deferred = run([](const Variable<float>& v) { return v; });
    const auto plain = run(opaque);
    for (std::size_t i = 0; i < plain.size(); ++i) {
      INFO("bits ", bits, ", tensor ", i);
      const auto close = testing::allclose(deferred[i], plain[i], 2e-4, 2e-3);
      CHECK_MESSAGE(close, close.message);
    }
  }
}

TEST_CASE("autograd: a deferred value is computed when it is asked for, and once") {
  Network net;
  const auto codes = quantize(net.x, net.activations, 2, true);
  const auto* form = codes.deferred_as<DeferredCodes>();
  REQUIRE(form);
  CHECK_FALSE(form->is_computed());
  CHECK(codes.shape() == net.x.shape());
  CHECK(codes.dim(-1) == 16);
  CHECK(codes.size() == net.x.size());
  CHECK_FALSE(form->is_computed());
  const float* at = codes.value().data();
  CHECK(form->is_computed());
  CHECK(codes.value().data() == at);
  CHECK(codes.detach().value().data() == at);
  CHECK_FALSE(codes.detach().requires_grad());
  CHECK(codes.deferred_as<DeferredSums>() == nullptr);

  const auto sums = conv2d(codes, quantize(net.w1, net.weights, 2, true), {.padding = 1});
  REQUIRE(sums.deferred_as<DeferredSums>());
  CHECK(testing::bit_equal(sums.value(), ops::decode(sums.deferred_as<DeferredSums>()->sums)));
}

TEST_CASE("autograd: neither pass asks for the values of codes that are multiplied") {
  Network net;
  const Variable<float> pointwise(testing::random_normal<float>({24, 1, 1, 16}, 2), true);
  const Variable<float> depthwise(testing::random_normal<float>({16, 3, 3, 1}, 3), true);
  const auto check = [&](const Variable<float>& w, int w_bits, int x_bits, const ops::Conv2dOptions& options) {
    const auto form = [](const Variable<float>& v, Quantizer& quantizer, int bits) {
      return bits == kFloatBits ? v : quantize(v, quantizer, bits, true);
    };
    const Variable<float> x = form(net.x, net.activations, x_bits), codes = form(w, net.weights, w_bits);
    const Variable<float> y = conv2d(x, codes, options);
    y.backward(testing::random_normal<float>(y.shape(), 6));
    for (const Variable<float>& v : {x, codes}) {
      const auto* deferred = v.deferred_as<DeferredCodes>();
      CHECK((!deferred || !deferred->is_computed()));
    }
  };
  for (const auto& [w_bits, x_bits] : {std::pair{2, 4}, {8, 8}, {1, kFloatBits}, {kFloatBits, 2}}) {
    check(net.w1, w_bits, x_bits, {.padding = 1});
    check(net.w2, w_bits, x_bits, {.stride = 2, .padding = 1});
    check(pointwise, w_bits, x_bits, {});
    check(depthwise, w_bits, x_bits, {.padding = 1, .groups = 16});
  }
}

TEST_CASE("autograd: a fully connected layer of codes has exact sums, and the gradients of their values") {
  const Variable<float> x(testing::random_normal<float>({5, 30}, 1), true);
  const Variable<float> w(testing::random_normal<float>({7, 30}, 2), true);
  DorefaActivations activations;
  DorefaWeights weights;
  for (const int bits : {1, 2, 8}) {
    const auto x_codes = quantize(x, activations, bits, true), w_codes = quantize(w, weights, bits, true);
    const auto y = linear(x_codes, w_codes);
    const auto* sums = y.deferred_as<DeferredSums>();
    REQUIRE(sums);
    REQUIRE(y.shape() == Shape{5, 7});
    const auto& a = x_codes.deferred_as<DeferredCodes>()->quantized;
    const auto& b = w_codes.deferred_as<DeferredCodes>()->quantized;
    const auto &a_map = std::get<AffineCodes>(a.map), &b_map = std::get<AffineCodes>(b.map);
    for (std::int64_t n = 0; n < 5; ++n) {
      for (std::int64_t o = 0; o < 7; ++o) {
        std::int32_t sum = 0;
        for (std::int64_t i = 0; i < 30; ++i)
          sum += (a_map.step * a.codes(n, i) - a_map.zero_point) * (b_map.step * b.codes(o, i) - b_map.zero_point);
        CHECK(sums->sums.sums(n, o) == sum);
      }
    }
    const auto seed = testing::random_normal<float>({5, 7}, 3);
    const auto gradients = [&](const Variable<float>& result) {
      x.node()->grad = w.node()->grad = {};
      result.backward(seed);
      return std::pair{x.grad().clone(), w.grad().clone()};
    };
    const auto of_codes = gradients(y);
    CHECK_FALSE(w_codes.deferred_as<DeferredCodes>()->is_computed());
    const auto of_values = gradients(linear(opaque(quantize(x, activations, bits, true)), opaque(quantize(w, weights, bits, true))));
    for (const auto& [actual, expected] : {std::pair{of_codes.first, of_values.first}, {of_codes.second, of_values.second}}) {
      const auto close = testing::allclose(actual, expected, 1e-5, 1e-4);
      CHECK_MESSAGE(close, close.message);
    }
  }
}

TEST_CASE("autograd: a norm's output and its codes are the same whether the values are computed or not") {
  Network net;
  const Tensor<float> mean = Tensor<float>::zeros({16}), var = Tensor<float>::ones({16});
  for (const int bits : {1, 3, 8}) {
    for (const bool joins : {false, true}) {
      const auto norm = [&] {
        return joins ? batch_norm_add_relu(net.x, net.x, net.gamma, net.beta, mean, var)
                     : batch_norm_relu(net.x, net.gamma, net.beta, mean, var);
      };
      Quantized together, apart;
      const auto first = norm(), second = norm();
      quantize(first, net.activations, bits, true, &together);
      CHECK(first.deferred_as<DeferredNormalized>()->is_computed() == joins);
      quantize(opaque(second), net.activations, bits, true, &apart);
      CHECK(testing::bit_equal(together.codes, apart.codes));
      CHECK(testing::bit_equal(first.value(), second.value()));
    }
  }
}

TEST_CASE("autograd: quantizing a norm's output flags what is not finite") {
  Network net;
  Tensor<float> bad = net.x.value().clone();
  bad.data()[5] = std::numeric_limits<float>::quiet_NaN();
  const Tensor<float> mean = Tensor<float>::zeros({16}), var = Tensor<float>::ones({16});
  const auto y = batch_norm_relu(Variable<float>(bad), net.gamma, net.beta, mean, var, {.training = false});
  CHECK_THROWS_WITH_AS(quantize(y, net.activations, 2, true), doctest::Contains("dorefa got nan at element 5"), NumericError);
}
