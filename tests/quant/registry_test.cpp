#include "spnet/quant/registry.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "quantizer_run.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {

const char* const kSchemes[] = {"dorefa", "binary",          "xnor",         "tanh",          "log",
                                "lsq",    "double_rounding", "floor_nested", "midrise_nested"};

std::unique_ptr<Quantizer> make(const char* scheme, bool weights) {
  return weights ? make_weight_quantizer(scheme, {.channels = 6}) : make_activation_quantizer(scheme);
}

}  // namespace

TEST_CASE("quant: every scheme gives a pair whose values are its decoded codes, within the width") {
  const Tensor<float> x = testing::random_normal<float>({6, 3, 3, 40}, 1, 0.8),
                      g = testing::random_normal<float>(x.shape(), 2);
  for (const char* scheme : kSchemes) {
    CAPTURE(scheme);
    for (const bool weights : {true, false}) {
      const auto quantizer = make(scheme, weights);
      for (int bits = 1; bits <= 8; ++bits) {
        CAPTURE(bits);
        const QuantizerRun r = run_quantizer(*quantizer, x, g, bits);
        CHECK(testing::bit_equal(r.values, ops::decode(r.lowered)));
        const int most = (1 << bits) - 1;
        if (const auto* affine = std::get_if<AffineCodes>(&r.lowered.map)) {
          CHECK(affine->qmin >= 0);
          CHECK(affine->qmax <= most);
          for (const int code : r.lowered.codes.span()) REQUIRE((code >= affine->qmin && code <= affine->qmax));
        } else {
          CHECK(std::get<LutCodes>(r.lowered.map).table.size() <= most + 1);
          for (const int code : r.lowered.codes.span()) REQUIRE(code <= most);
        }
        for (const float v : r.gradient.span()) REQUIRE(std::isfinite(v));
      }
    }
  }
}

TEST_CASE("quant: codes, gradients and parameters do not depend on threads, codes not on the instruction set") {
  const Tensor<float> x = testing::random_normal<float>({6, 3, 3, 997}, 3, 0.8),
                      g = testing::random_normal<float>(x.shape(), 4);
  for (const char* scheme : kSchemes) {
    CAPTURE(scheme);
    for (const bool weights : {true, false}) {
      for (const int bits : {1, 2, 5, 8}) {
        CAPTURE(bits);
        const auto run = [&](std::vector<Tensor<float>>& state) {
          const auto quantizer = make(scheme, weights);
          QuantizerRun r = run_quantizer(*quantizer, x, g, bits);
          for (const auto& p : quantizer->parameters_at(bits)) state.push_back(p.grad());
          for (const auto& p : quantizer->parameters()) state.push_back(p.variable.value());
          for (const auto& b : quantizer->buffers()) state.push_back(b.tensor);
          return r;
        };
        set_num_threads(1);
        std::vector<Tensor<float>> state, other_state;
        const QuantizerRun one = run(state);
        set_num_threads(2);
        const QuantizerRun two = run(other_state);
        CHECK(testing::bit_equal(one.lowered.codes, two.lowered.codes));
        CHECK(testing::bit_equal(one.values, two.values));
        CHECK(testing::bit_equal(one.gradient, two.gradient));
        REQUIRE(state.size() == other_state.size());
        for (std::size_t i = 0; i < state.size(); ++i) CHECK(testing::bit_equal(state[i], other_state[i]));
        for (const kernels::KernelTable* table : kernels::available()) {
          kernels::force(table->name);
          std::vector<Tensor<float>> ignored;
          const QuantizerRun there = run(ignored);
          CHECK(testing::bit_equal(there.lowered.codes, one.lowered.codes));
          CHECK(testing::bit_equal(there.values, one.values));
          CHECK(testing::allclose(there.gradient, one.gradient, 1e-5, 1e-6));
        }
        kernels::force("");
      }
    }
  }
  set_num_threads(0);
}

TEST_CASE("quant: every scheme reports what is not finite, at every width") {
  for (const char* scheme : kSchemes) {
    CAPTURE(scheme);
    for (const bool weights : {true, false}) {
      for (int bits = 1; bits <= 8; ++bits) {
        const auto quantizer = make(scheme, weights);
        for (const float bad :
             {std::nanf(""), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
          Tensor<float> x = Tensor<float>::full({6, 4}, 0.3f);
          x(2, 1) = bad;
          CHECK_THROWS_WITH_AS(quantize(Variable<float>(x), *quantizer, bits, true),
                               doctest::Contains("at element 9 of [6,4]"), NumericError);
        }
      }
    }
  }
}

TEST_CASE("quant: empty tensors pass through every scheme") {
  for (const char* scheme : kSchemes)
    for (const bool weights : {true, false})
      for (const int bits : {1, 4})
        CHECK(run_quantizer(*make(scheme, weights), Tensor<float>({6, 0}), Tensor<float>({6, 0}), bits).values.size() ==
              0);
}

TEST_CASE("quant: a learned scale for each filter where the scheme has that form") {
  const auto quantizer = make_weight_quantizer("lsq", {.widths = {2}, .channels = 5, .per_channel = true});
  CHECK(quantizer->parameters()[0].variable.shape() == Shape{5});
  for (const char* scheme : {"dorefa", "log", "double_rounding", "floor_nested", "midrise_nested"})
    CHECK_THROWS_AS(make_weight_quantizer(scheme, {.per_channel = true}), ValueError);
  CHECK_THROWS_AS(make_activation_quantizer("lsq", {.per_channel = true}), ValueError);
  const std::vector<std::string> names = quantizer_names();
  for (const char* scheme : kSchemes) CHECK(std::find(names.begin(), names.end(), scheme) != names.end());
}
