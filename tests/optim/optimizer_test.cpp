#include "spnet/optim/optimizer.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "spnet/optim/adam.hpp"
#include "spnet/optim/sgd.hpp"

using namespace spnet;
using optim::Parameter;
using optim::ParameterGroup;

namespace {

Variable<float> parameter(std::initializer_list<float> values) {
  return {Tensor<float>::from({static_cast<std::int64_t>(values.size())}, values), true};
}

void set_grad(Variable<float> p, std::initializer_list<float> values) {
  p.mutable_grad() = Tensor<float>::from(p.shape(), values);
}

}  // namespace

TEST_CASE("optim: groups have weight decay and rates of their own") {
  Variable<float> weight = parameter({1, 2}), norm = parameter({1, 2}), scale = parameter({1, 2});
  optim::SGD optimizer({{{{"weight", weight}}, 0.5}, {{{"norm", norm}}}, {{{"scale", scale}}, 0, 0.1}},
                       {.momentum = 0});
  for (auto& p : {weight, norm, scale}) set_grad(p, {1, -1});
  optimizer.step(0.5);
  CHECK(weight.value()(0) == doctest::Approx(1 - 0.5 * (1 + 0.5)));
  CHECK(norm.value()(0) == doctest::Approx(0.5));
  CHECK(norm.value()(1) == doctest::Approx(2.5));
  CHECK(scale.value()(0) == doctest::Approx(0.95));
  CHECK(optimizer.groups().size() == 3);
  optimizer.zero_grad();
  CHECK(!weight.grad().defined());
}

TEST_CASE("optim: a parameter without a gradient is passed over, decay included") {
  Variable<float> used = parameter({1}), idle = parameter({1});
  optim::Adam optimizer({{{{"used", used}, {"idle", idle}}, 0.1}});
  set_grad(used, {1});
  optimizer.step(0.1);
  CHECK(used.value()(0) != 1);
  CHECK(idle.value()(0) == 1);
}

TEST_CASE("optim: gradients that another holds are clipped without changing them for it") {
  Variable<float> p = parameter({0, 0});
  const auto shared = Tensor<float>::from({2}, {3, 4});
  p.mutable_grad() = shared;
  optim::SGD optimizer({{{{"p", p}}}}, {.momentum = 0});
  optimizer.set_clip_norm(1);
  optimizer.step(1);
  CHECK(p.value()(0) == doctest::Approx(-0.6));
  CHECK(p.value()(1) == doctest::Approx(-0.8));
  CHECK(shared(1) == 4);
}

TEST_CASE("optim: a gradient with strides of its own is understood") {
  Variable<float> p(Tensor<float>::zeros({2, 2}), true);
  p.mutable_grad() = Tensor<float>::from({2, 2}, {1, 2, 3, 4}).transpose(0, 1);
  optim::SGD optimizer({{{{"p", p}}}}, {.momentum = 0});
  optimizer.step(1);
  CHECK(p.value()(0, 1) == -3);
  CHECK(p.value()(1, 0) == -2);
}

TEST_CASE("optim: no result depends on the number of threads") {
  const std::int64_t size = 100'003;
  std::vector<Tensor<float>> results;
  for (int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    for (bool adam : {false, true}) {
      Tensor<float> start({size});
      for (std::int64_t i = 0; i < size; ++i) start(i) = static_cast<float>(i % 97) * 0.01f;
      Variable<float> p(start, true);
      const std::vector<ParameterGroup> groups{{{{"p", p}}, 0.01}};
      std::unique_ptr<optim::Optimizer> optimizer;
      if (adam) optimizer = std::make_unique<optim::Adam>(groups);
      if (!adam) optimizer = std::make_unique<optim::SGD>(groups, optim::SGDOptions{.nesterov = true});
      optimizer->set_clip_norm(5);
      for (int step = 0; step < 3; ++step) {
        Tensor<float> grad({size});
        for (std::int64_t i = 0; i < size; ++i) grad(i) = static_cast<float>((i * 31 + step) % 89) * 0.1f - 4;
        p.mutable_grad() = grad;
        optimizer->step(0.1);
      }
      results.push_back(p.value());
    }
  }
  set_num_threads(0);
  for (std::size_t i = 2; i < results.size(); ++i)
    CHECK(std::equal(results[i].span().begin(), results[i].span().end(), results[i % 2].span().begin()));
}

TEST_CASE("optim: steps after the first allocate nothing") {
  Variable<float> p = parameter({1, 2, 3});
  optim::Adam optimizer({{{{"p", p}}}});
  optimizer.set_clip_norm(0.1);
  p.mutable_grad() = Tensor<float>::ones({3});
  optimizer.step(0.1);
  const auto before = MemoryPool::global().statistics().heap_allocations;
  for (int i = 0; i < 5; ++i) optimizer.step(0.1);
  CHECK(MemoryPool::global().statistics().heap_allocations == before);
}

TEST_CASE("optim: state restored by name goes on as if never stopped") {
  for (const bool adam : {false, true}) {
    const auto make = [&](const Variable<float>& a, const Variable<float>& b) -> std::unique_ptr<optim::Optimizer> {
      const std::vector<ParameterGroup> groups{{{{"a", a}}, 0.1}, {{{"b", b}}}};
      if (adam) return std::make_unique<optim::Adam>(groups);
      return std::make_unique<optim::SGD>(groups);
    };
    const auto step = [](optim::Optimizer& optimizer, Variable<float> a, Variable<float> b, float i) {
      set_grad(a, {i, 1});
      set_grad(b, {-i});
      optimizer.step(0.1 / static_cast<double>(i));
    };
    Variable<float> a = parameter({1, 2}), b = parameter({3});
    const auto optimizer = make(a, b);
    for (float i : {1, 2, 3}) step(*optimizer, a, b, i);

    Variable<float> a2(a.value().clone(), true), b2(b.value().clone(), true);
    const auto resumed = make(a2, b2);
    const auto from = optimizer->state();
    auto to = resumed->state();
    REQUIRE(from.size() == to.size());
    CHECK(from.size() == (adam ? 6 : 2));
    CHECK(from[0].name == (adam ? "a.exp_avg" : "a.momentum"));
    for (std::size_t i = 0; i < from.size(); ++i) {
      CHECK(from[i].name == to[i].name);
      to[i].tensor.copy_from(from[i].tensor);
    }
    for (float i : {4, 5}) {
      step(*optimizer, a, b, i);
      step(*resumed, a2, b2, i);
    }
    CHECK(a.value()(0) == a2.value()(0));
    CHECK(a.value()(1) == a2.value()(1));
    CHECK(b.value()(0) == b2.value()(0));
  }
}

TEST_CASE("optim: bad groups, options and rates are refused") {
  Variable<float> p = parameter({1}), constant(Tensor<float>::ones({1}));
  const auto make = [&](std::vector<ParameterGroup> groups, optim::SGDOptions options = {}) {
    optim::SGD optimizer(std::move(groups), options);
  };
  CHECK_THROWS_WITH_AS(make({{{{"p", p}}, -1}}), "optimizer: weight decay -1 and rate factor 1 given, expected ≥ 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(make({{{{"p", p}}, 0, -2}}), "optimizer: weight decay 0 and rate factor -2 given, expected ≥ 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(make({{{{"c", constant}}}}), "optimizer: parameter 'c' requires no gradient", ValueError);
  CHECK_THROWS_WITH_AS(make({{{{"c", {}}}}}), "optimizer: parameter 'c' requires no gradient", ValueError);
  CHECK_THROWS_WITH_AS(make({{{{"p", p}}}, {{{"p", p}}}}), "optimizer: parameter 'p' is there twice", ValueError);
  CHECK_THROWS_WITH_AS(make({{{{"p", p}}}}, {.momentum = 1}), "SGD: momentum 1 given, expected 0 ≤ momentum < 1",
                       ValueError);
  CHECK_THROWS_WITH_AS(make({{{{"p", p}}}}, {.momentum = 0, .nesterov = true}),
                       "SGD: Nesterov's momentum needs a momentum > 0", ValueError);
  CHECK_THROWS_WITH_AS(optim::Adam({{{{"p", p}}}}, {.beta1 = 1}),
                       "Adam: betas 1 and 0.999 given, expected 0 ≤ beta < 1", ValueError);
  CHECK_THROWS_WITH_AS(optim::Adam({{{{"p", p}}}}, {.epsilon = 0}), "Adam: epsilon 0 given, expected > 0", ValueError);
  optim::SGD optimizer({{{{"p", p}}}});
  CHECK_THROWS_WITH_AS(optimizer.step(-0.1), "optimizer: learning rate -0.1 given, expected ≥ 0", ValueError);
  CHECK_THROWS_WITH_AS(optimizer.step(std::numeric_limits<double>::quiet_NaN()),
                       "optimizer: learning rate nan given, expected ≥ 0", ValueError);
  CHECK_THROWS_WITH_AS(optimizer.set_clip_norm(-1), "optimizer: clip norm -1 given, expected ≥ 0", ValueError);
}
