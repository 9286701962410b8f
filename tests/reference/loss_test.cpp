// Softmax and losses against PyTorch's, values and gradients.
#include <doctest/doctest.h>

#include <string>

#include "reference_file.hpp"
#include "spnet/autograd/loss.hpp"
#include "spnet/autograd/softmax.hpp"

using namespace spnet;

TEST_CASE_TEMPLATE("reference: softmax", T, float, double) {
  using V = Variable<T>;
  ReferenceFile file("softmax");
  for (const std::string prefix : {"softmax_", "log_softmax_"}) {
    for (const auto& c : file.all<T>(prefix)) {
      const V x = c.input("x");
      c.check_gradients(prefix == "softmax_" ? softmax(x) : log_softmax(x), {{"x", x}});
    }
  }
}

TEST_CASE_TEMPLATE("reference: losses", T, float, double) {
  using V = Variable<T>;
  ReferenceFile file("losses");
  for (const auto& c : file.all<T>("cross_entropy")) {
    const V x = c.input("x");
    const auto labels = c.labels("labels").template to<std::int32_t>();
    c.check_gradients(cross_entropy(x, labels, {.label_smoothing = c.number("label_smoothing")}), {{"x", x}});
  }
  for (const auto& c : file.all<T>("soft_cross_entropy")) {
    const V x = c.input("x");
    c.check_gradients(soft_cross_entropy(x, c.tensor("target"), {.temperature = c.number("temperature")}), {{"x", x}});
  }
  for (const auto& c : file.all<T>("kl_divergence")) {
    const V x = c.input("x");
    c.check_gradients(kl_divergence_from_logits(x, c.tensor("teacher"), {.temperature = c.number("temperature")}),
                      {{"x", x}});
  }
  const auto c = file.get<T>("mse");
  const V x = c.input("x");
  c.check_gradients(mse(x, V(c.tensor("target"))), {{"x", x}});
}
