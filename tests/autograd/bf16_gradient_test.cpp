#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "../kernels/portable_bf16.hpp"
#include "spnet/autograd/arithmetic.hpp"
#include "spnet/autograd/conv.hpp"
#include "spnet/autograd/norm.hpp"
#include "spnet/quant/dorefa.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {

// How gradients came to an operator.
struct Calls {
  int of_bf16 = 0, of_floats = 0;
};
// The identity, which takes its gradient as bf16.
struct TakesBf16 {
  Calls* calls;
  bool takes_bf16() const { return true; }
  void operator()(const Tensor<bf16>& g, InputGradients<float>& into) const {
    ++calls->of_bf16;
    into.add(0, g.to<float>());
  }
  void operator()(const Tensor<float>& g, InputGradients<float>& into) const {
    ++calls->of_floats;
    into.add(0, g);
  }
};
Variable<float> takes_bf16(const Variable<float>& x, Calls& calls) {
  return make_result<float>(x.value(), {x}, TakesBf16{&calls});
}
// x·factor, which passes its gradient on as bf16.
Variable<float> gives_bf16(const Variable<float>& x, float factor) {
  return make_result<float>(ops::affine(x.value(), factor), {x},
                            [factor](const Tensor<float>& g, InputGradients<float>& into) {
                              into.add(0, ops::affine(g, factor).to<bf16>());
                            });
}
// ‖a − b‖/‖b‖.
double relative_error(const Tensor<float>& a, const Tensor<float>& b) {
  double error = 0, norm = 0;
  for (std::int64_t i = 0; i < b.size(); ++i) {
    error += std::pow(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i]), 2);
    norm += std::pow(static_cast<double>(b.data()[i]), 2);
  }
  return std::sqrt(error / norm);
}
Variable<float> one_leaf() { return Variable<float>(Tensor<float>::ones({3}), true); }

}  // namespace

TEST_CASE("autograd: a gradient of bf16 stays one where it comes alone to an operator that takes it") {
  const Tensor<float> ones = Tensor<float>::ones({3});
  Calls calls;
  Variable<float> x = one_leaf();
  gives_bf16(takes_bf16(x, calls), 2).backward(ones);
  CHECK(calls.of_bf16 == 1);
  CHECK(calls.of_floats == 0);
  CHECK(testing::bit_equal(x.grad(), Tensor<float>::full({3}, 2)));

  // To a leaf, or to an operator that does not take it.
  x = one_leaf();
  gives_bf16(x, 2).backward(ones);
  CHECK(testing::bit_equal(x.grad(), Tensor<float>::full({3}, 2)));
  x = one_leaf();
  gives_bf16(x * 4.0f, 2).backward(ones);
  CHECK(testing::bit_equal(x.grad(), Tensor<float>::full({3}, 8)));
}

TEST_CASE("autograd: gradients of bf16 and of floats that meet are summed as floats") {
  const Tensor<float> ones = Tensor<float>::ones({3});
  // A sum that bf16 would round.
  const auto check_sum = [&](const auto& of) {
    Calls calls;
    Variable<float> x = one_leaf();
    const Variable<float> y = takes_bf16(x, calls);
    of(y).backward(ones);
    CHECK(calls.of_bf16 == 0);
    CHECK(calls.of_floats == 1);
    CHECK(testing::bit_equal(x.grad(), Tensor<float>::full({3}, 1025)));
  };
  check_sum([](const Variable<float>& y) { return gives_bf16(y, 1024) + gives_bf16(y, 1); });
  check_sum([](const Variable<float>& y) { return gives_bf16(y, 1024) + y * 1.0f; });
  check_sum([](const Variable<float>& y) { return y * 1024.0f + gives_bf16(y, 1); });
}

TEST_CASE("autograd: a backward pass that fails leaves no gradient of bf16 behind") {
  const Tensor<float> ones = Tensor<float>::ones({3});
  Calls calls;
  Variable<float> x = one_leaf();
  const Variable<float> y = takes_bf16(x, calls);
  const Variable<float> throws = make_result<float>(
      x.value(), {x}, [](const Tensor<float>&, InputGradients<float>&) { throw std::runtime_error("no"); });
  CHECK_THROWS_AS((gives_bf16(y, 2) + throws).backward(ones), std::runtime_error);
  CHECK(calls.of_bf16 + calls.of_floats == 0);
  gives_bf16(y, 4).backward(ones);
  CHECK(calls.of_bf16 == 1);
  CHECK(testing::bit_equal(x.grad(), Tensor<float>::full({3}, 4)));
}

TEST_CASE("autograd: a graph that is kept gives the same gradients of bf16 again") {
  Calls calls;
  Variable<float> x = one_leaf();
  const Variable<float> y = gives_bf16(takes_bf16(x, calls), 2);
  for (int pass = 0; pass < 2; ++pass) y.backward(Tensor<float>::ones({3}), true);
  CHECK(calls.of_bf16 == 2);
  CHECK(testing::bit_equal(x.grad(), Tensor<float>::full({3}, 4)));
}

TEST_CASE("autograd: convolutions that round a norm's gradient to bf16 get it rounded, and give the same gradients") {
  const portable::Setting setting(portable::table(), ops::Float32Precision::kMedium);
  const Variable<float> w(testing::random_normal<float>({16, 3, 3, 16}, 2, 0.2), true);
  const Variable<float> gamma(testing::random_normal<float>({16}, 3, 0.2, 1), true);
  const Variable<float> beta(testing::random_normal<float>({16}, 4, 0.2), true);
  const Variable<float> x(testing::random_normal<float>({2, 6, 6, 16}, 1), true);
  const Tensor<float> seed = testing::random_normal<float>({2, 6, 6, 16}, 5);
  const std::vector<Variable<float>> leaves{x, w, gamma, beta};
  DorefaActivations activations;
  DorefaWeights weights;
  for (const int quantized : {0, 1, 2}) {
    CAPTURE(quantized);
    const bool x_is_quantized = quantized > 0, w_is_quantized = quantized > 1;
    // Between the convolution and `norms` norms, what `pass` makes of the convolution's results.
    const auto gradients = [&](const auto& pass, int norms = 1) {
      for (Variable<float> leaf : leaves) leaf.zero_grad();
      const Variable<float> in = x_is_quantized ? quantize(x, activations, 3, true) : x;
      const Variable<float> y = conv2d(in, w_is_quantized ? quantize(w, weights, 3, true) : w, {.padding = 1});
      CHECK(y.node()->takes_bf16());
      const Variable<float> passed = pass(y);
      const auto norm = [&] {
        return batch_norm_relu(passed, gamma, beta, Tensor<float>::zeros({16}), Tensor<float>::ones({16}));
      };
      Variable<float> z = norm();
      for (int i = 1; i < norms; ++i) z = z + norm() * 0.3f;
      z.backward(seed);
      std::vector<Tensor<float>> all;
      for (const Variable<float>& leaf : leaves) all.push_back(leaf.grad().clone());
      return all;
    };
    const auto check_same = [&](const std::vector<Tensor<float>>& a, const std::vector<Tensor<float>>& b) {
      for (std::size_t i = 0; i < leaves.size(); ++i) {
        CAPTURE(i);
        CHECK(testing::bit_equal(a[i], b[i]));
      }
    };
    // One that passes floats on.
    const auto as_floats = [](const Variable<float>& v) {
      return make_result<float>(v.value(), {v},
                                [](const Tensor<float>& g, InputGradients<float>& into) { into.add(0, g.clone()); });
    };
    const auto direct = [](const Variable<float>& v) { return v; };
    Calls calls;
    const auto counted = [&](const Variable<float>& v) { return takes_bf16(v, calls); };
    const auto plain = gradients(as_floats);
    if (!w_is_quantized) check_same(gradients(direct), plain);  // else the norm reads integers
    check_same(gradients(counted), plain);
    CHECK(calls.of_bf16 == 1);
    // Only the first of two is rounded before they are summed.
    const auto two = gradients(direct, 2), two_plain = gradients(as_floats, 2);
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      CAPTURE(i);
      CHECK(relative_error(two[i], two_plain[i]) <= 6e-3);
    }
  }
}
