// Layers against PyTorch's, values and gradients.
#include <doctest/doctest.h>

#include <string>

#include "reference_file.hpp"
#include "spnet/autograd/conv.hpp"
#include "spnet/autograd/norm.hpp"
#include "spnet/autograd/pool.hpp"

using namespace spnet;

TEST_CASE_TEMPLATE("reference: batch_norm", T, float, double) {
  using V = Variable<T>;
  ReferenceFile file("batch_norm");
  for (const auto& c : file.all<T>()) {
    const V x = c.input("x"), gamma = c.input("gamma"), beta = c.input("beta");
    Tensor<T> mean = c.tensor("running_mean"), variance = c.tensor("running_var");
    BatchNormOptions options;
    options.training = c.integer("training") != 0;
    options.momentum = c.number("momentum");
    options.epsilon = c.number("eps");
    const V out = batch_norm(x, gamma, beta, mean, variance, options);
    // A mean of 60 deviations costs float two digits.
    const double tolerance = std::is_same_v<T, float> && c.name() == "train_offset" ? 5e-5 : 0;
    c.check_gradients(out, {{"x", x}, {"gamma", gamma}, {"beta", beta}}, tolerance);
    c.check(options.training ? "running_mean_after" : "running_mean", mean);
    c.check(options.training ? "running_var_after" : "running_var", variance);
  }
}

TEST_CASE_TEMPLATE("reference: conv2d", T, float, double) {
  using V = Variable<T>;
  ReferenceFile file("conv2d");
  for (const auto& c : file.all<T>()) {
    const auto pair = [&](const char* key) { return ops::Pair(c.integer(key, 0), c.integer(key, 1)); };
    const V x = c.input("x"), w = c.input("w");
    const V out = conv2d(x, w,
                         {.stride = pair("stride"),
                          .padding = pair("padding"),
                          .dilation = pair("dilation"),
                          .groups = c.integer("groups")});
    c.check_gradients(out, {{"x", x}, {"w", w}});
  }
}

TEST_CASE_TEMPLATE("reference: linear", T, float, double) {
  using V = Variable<T>;
  ReferenceFile file("linear");
  const auto biased = file.get<T>("bias");
  V x = biased.input("x"), w = biased.input("w"), b = biased.input("b");
  biased.check_gradients(linear(x, w, b), {{"x", x}, {"w", w}, {"b", b}});
  const auto plain = file.get<T>("no_bias");
  x = plain.input("x"), w = plain.input("w");
  plain.check_gradients(linear(x, w), {{"x", x}, {"w", w}});
}

TEST_CASE_TEMPLATE("reference: pooling", T, float, double) {
  using V = Variable<T>;
  for (const std::string name : {"max_pool2d", "avg_pool2d"}) {
    ReferenceFile file(name);
    for (const auto& c : file.all<T>()) {
      const V x = c.input("x");
      Pool2dOptions options{
          .kernel = c.integer("kernel_size"), .stride = c.integer("stride"), .padding = c.integer("padding")};
      if (c.has("count_include_pad")) options.count_include_pad = c.integer("count_include_pad") != 0;
      c.check_gradients(name == "max_pool2d" ? max_pool2d(x, options) : avg_pool2d(x, options), {{"x", x}});
    }
  }
  ReferenceFile file("global_avg_pool");
  for (const auto& c : file.all<T>()) {
    const V x = c.input("x");
    c.check_gradients(global_avg_pool2d(x), {{"x", x}});
  }
}
