// Activations, dropout and arithmetic against PyTorch's, values and gradients.
#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "reference_file.hpp"
#include "spnet/autograd/activation.hpp"
#include "spnet/autograd/arithmetic.hpp"
#include "spnet/autograd/dropout.hpp"

using namespace spnet;

TEST_CASE_TEMPLATE("reference: activations", T, float, double) {
  using V = Variable<T>;
  ReferenceFile file("activations");
  const std::map<std::string, std::function<V(const V&)>> functions{
      {"relu", [](const V& x) { return relu(x); }},        {"relu_ends", [](const V& x) { return relu(x); }},
      {"tanh", [](const V& x) { return spnet::tanh(x); }}, {"sigmoid", [](const V& x) { return sigmoid(x); }},
      {"exp", [](const V& x) { return spnet::exp(x); }},
  };
  for (const auto& [name, function] : functions) {
    const auto c = file.get<T>(name);
    const V x = c.input("x");
    c.check_gradients(function(x), {{"x", x}});
  }
  const auto clamped = file.get<T>("clamp");
  const V x = clamped.input("x");
  clamped.check_gradients(clamp(x, static_cast<T>(clamped.number("min")), static_cast<T>(clamped.number("max"))),
                          {{"x", x}});
  for (const auto& c : file.all<T>("prelu")) {
    const V input = c.input("x"), slope = c.input("slope");
    c.check_gradients(prelu(input, slope), {{"x", input}, {"slope", slope}});
  }
}

TEST_CASE_TEMPLATE("reference: dropout", T, float, double) {
  ReferenceFile file("dropout");
  for (const auto& c : file.all<T>("")) {
    const Variable<T> x = c.input("x");
    Random random(static_cast<std::uint64_t>(c.integer("seed")));
    c.check_gradients(dropout(x, c.number("p"), random, /*training=*/true), {{"x", x}});
  }
}

TEST_CASE_TEMPLATE("reference: arithmetic", T, float, double) {
  using V = Variable<T>;
  ReferenceFile file("arithmetic");
  const std::map<std::string, std::function<V(const V&, const V&)>> functions{
      {"add_", [](const V& a, const V& b) { return a + b; }},
      {"sub_", [](const V& a, const V& b) { return a - b; }},
      {"mul_", [](const V& a, const V& b) { return a * b; }},
      {"div_", [](const V& a, const V& b) { return a / b; }},
  };
  for (const auto& [prefix, function] : functions) {
    for (const auto& c : file.all<T>(prefix)) {
      const V a = c.input("a"), b = c.input("b");
      c.check_gradients(function(a, b), {{"a", a}, {"b", b}});
    }
  }
  for (const std::string prefix : {"sum_", "mean_"}) {
    for (const auto& c : file.all<T>(prefix)) {
      const V x = c.input("x");
      Dims axes;
      for (std::int64_t i = 0; i < c.tensor("dim").size(); ++i) axes.push_back(c.integer("dim", i));
      c.check_gradients(prefix == "sum_" ? sum(x, axes) : mean(x, axes), {{"x", x}});
    }
  }
  for (const auto& c : file.all<T>("concat_")) {
    std::vector<V> parts;
    std::vector<std::pair<std::string, V>> named;
    for (int i = 0; c.has("x" + std::to_string(i)); ++i) {
      parts.push_back(c.input("x" + std::to_string(i)));
      named.emplace_back("x" + std::to_string(i), parts.back());
    }
    c.check_gradients(concat(std::span<const V>(parts), static_cast<int>(c.integer("dim"))), named);
  }
}
