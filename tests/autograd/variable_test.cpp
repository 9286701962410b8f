#include "spnet/autograd/variable.hpp"

#include <doctest/doctest.h>

#include <stdexcept>

#include "spnet/autograd/activation.hpp"
#include "spnet/autograd/arithmetic.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {
Variable<float> leaf(std::initializer_list<float> values) {
  return Variable<float>(Tensor<float>::from({static_cast<std::int64_t>(values.size())}, values), true);
}
Tensor<float> tensor(std::initializer_list<float> values) {
  return Tensor<float>::from({static_cast<std::int64_t>(values.size())}, values);
}
}  // namespace

TEST_CASE("autograd: a chain of a million nodes runs backwards and is torn down without deep recursion") {
  constexpr int kNodes = 1'000'000;
  const auto chain = [](const Variable<double>& from) {
    Variable<double> y = from;
    for (int i = 0; i < kNodes; ++i) y = affine(y, 1.0, 1.0);
    return y;
  };
  const Variable<double> x(Tensor<double>::from({1}, {2}), true);
  {
    const auto y = chain(x);
    CHECK(y.item() == 2 + kNodes);
    y.backward();
    CHECK(x.grad()(0) == 1);
  }
  chain(x);                                   // dropped unused
  chain(x).backward(/*retain_graph=*/true);  // dropped after use, still linked
  CHECK(x.grad()(0) == 2);
  MemoryPool::global().trim();
}

TEST_CASE("autograd: a variable used several times gets the sum of its gradients") {
  const auto x = leaf({1, 2, 3});
  const auto y = x * 2.0f;  // a diamond: y is used three times, x twice
  const auto z = y * y + y * x;
  sum(z).backward();
  // z = 4x² + 2x²: dz/dx = 12x
  CHECK(testing::bit_equal(x.grad(), tensor({12, 24, 36})));
  const auto w = leaf({5});
  sum(w + w).backward();
  CHECK(w.grad()(0) == 2);
}

TEST_CASE("autograd: gradients accumulate over backward passes until they are zeroed") {
  auto x = leaf({1, 2});
  for (int pass = 1; pass <= 3; ++pass) {
    sum(x * x).backward();
    CHECK(testing::bit_equal(x.grad(), tensor({2.0f * static_cast<float>(pass), 4.0f * static_cast<float>(pass)})));
  }
  x.zero_grad();
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("autograd: gradients of leaves share no memory") {
  const auto a = leaf({1, 2}), b = leaf({3, 4});
  const auto seed = tensor({1, 1});
  (a + b).backward(seed);
  const_cast<Tensor<float>&>(a.grad())(0) = 100;
  CHECK(testing::bit_equal(b.grad(), tensor({1, 1})));
  CHECK(testing::bit_equal(seed, tensor({1, 1})));
  const auto c = leaf({1, 2});
  sum(c).backward();
  CHECK(c.grad().is_contiguous());
}

TEST_CASE("autograd: backward passes leave the caller's gradient and saved values alone") {
  const auto x = leaf({-1, 2, 3});
  const auto y = relu(x);
  const auto seed = tensor({5, 6, 7});
  y.backward(seed, true);
  y.backward(seed);
  CHECK(testing::bit_equal(seed, tensor({5, 6, 7})));
  CHECK(testing::bit_equal(y.value(), tensor({0, 2, 3})));
  CHECK(testing::bit_equal(x.grad(), tensor({0, 12, 14})));
}

TEST_CASE("autograd: a graph is used once unless it is retained") {
  const auto x = leaf({2});
  const auto y = x * x;
  const auto z = y * 3.0f;
  z.backward(/*retain_graph=*/true);
  z.backward();
  CHECK(x.grad()(0) == 24);
  CHECK_THROWS_WITH_AS(z.backward(), "backward: this graph was already used; pass retain_graph to use it again", Error);
  CHECK_THROWS_AS((y * 2.0f).backward(), Error);
  CHECK(x.grad()(0) == 24);
  sum(x * x).backward();  // a new graph on the same leaf works
  CHECK(x.grad()(0) == 28);
}

TEST_CASE("autograd: nothing is recorded without gradients") {
  const auto x = leaf({1});
  {
    const NoGradGuard outer;
    CHECK_FALSE(grad_enabled());
    {
      const NoGradGuard inner;
    }
    CHECK_FALSE(grad_enabled());
    CHECK_FALSE((x * 2.0f).requires_grad());
  }
  CHECK(grad_enabled());
  CHECK((x * 2.0f).requires_grad());
  CHECK_FALSE((x.detach() * 2.0f).requires_grad());
  const auto y = x * 2.0f;
  sum(y * y.detach()).backward();
  CHECK(x.grad()(0) == 4);  // the second factor is a constant
}

TEST_CASE("autograd: an exception in a backward function leaves the graph usable") {
  bool fails = true;
  const auto x = leaf({1, 2});
  const auto before = x * 2.0f;
  const auto fragile = make_result<float>(before.value(), {before}, [&fails](const Tensor<float>& g, InputGradients<float>& into) {
    into.add(0, g.clone());
    if (fails) throw std::runtime_error("broken");
  });
  const auto y = sum(fragile * 3.0f + before);
  CHECK_THROWS_WITH_AS(y.backward(true), "broken", std::runtime_error);
  CHECK_FALSE(x.grad().defined());
  fails = false;
  y.backward(true);
  CHECK(testing::bit_equal(x.grad(), tensor({8, 8})));  // nothing is left of the pass that failed
}

TEST_CASE("autograd: misuse is named") {
  const auto x = leaf({1, 2});
  CHECK_THROWS_WITH_AS(x.backward(), "backward: shape [2] given, expected one element; pass a gradient instead", ShapeError);
  CHECK_THROWS_WITH_AS((x * 2.0f).backward(tensor({1})), "backward: gradient [1] given, variable is [2]", ShapeError);
  Variable<float> constant(tensor({1}));
  CHECK_THROWS_WITH_AS(constant.backward(), "backward: no input of this variable requires a gradient", Error);
  CHECK_THROWS_AS(constant.mutable_grad(), Error);
  CHECK_FALSE(constant.grad().defined());
  const auto wrong = make_result<float>(tensor({1}), {x}, [](const Tensor<float>& g, InputGradients<float>& into) {
    into.add(0, g);
    into.add(0, Tensor<float>::ones({3}));
  });
  CHECK_THROWS_WITH_AS(wrong.backward(), "backward: gradients of shapes [1] and [3] meet at one variable", ShapeError);
}

TEST_CASE("autograd: a gradient is added in place only where nobody else holds the sum") {
  Variable<float> x = leaf({1, 2});
  Tensor<float> held;
  // Adds to the sum where it may, as operators do that add in the pass that makes their gradient.
  const auto adding = [](const Variable<float>& v, bool& in_place) {
    return make_result<float>(v.value(), {v}, [&in_place](const Tensor<float>& g, InputGradients<float>& into) {
      auto* sum = into.sum_to_add_to(0);
      in_place = sum != nullptr;
      if (sum) return ops::add_(*sum, g);
      into.add(0, g.clone());
    });
  };
  bool first = true, second = false;
  const Variable<float> a = adding(x, first), b = adding(x, second);
  (a + b).backward(tensor({3, 4}));
  CHECK(second != first);  // one after the other
  CHECK(testing::bit_equal(x.grad(), tensor({6, 8})));
  held = x.grad();
  const Tensor<float> kept = held.clone();
  adding(x, first).backward(tensor({1, 1}));
  CHECK(!first);
  CHECK(testing::bit_equal(held, kept));
  CHECK(testing::bit_equal(x.grad(), tensor({7, 9})));
}
