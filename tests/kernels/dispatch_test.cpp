#include "spnet/kernels/dispatch.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <sstream>
#include <string>

using namespace spnet;

TEST_CASE("kernels: the portable tier is always available and comes last") {
  REQUIRE_FALSE(kernels::available().empty());
  CHECK(std::string(kernels::available().back()->name) == "simd");
}

TEST_CASE("kernels: the tables that the environment expects are there") {
  // For runs on emulated processors, which would pass with the portable tier alone.
  const char* const expected = std::getenv("SPNET_EXPECTED_ISAS");
  if (!expected) return;
  std::istringstream names(expected);
  for (std::string name; names >> name;) CHECK_NOTHROW(kernels::find(name));
}

TEST_CASE("kernels: every table is complete") {
  for (const kernels::KernelTable* table : kernels::available()) {
    INFO(std::string(table->name));
    CHECK(table->conv.lanes > 0);
    CHECK(kernels::kBlock % table->conv.lanes == 0);
    CHECK(table->conv.panel % table->conv.lanes == 0);
    const auto all_there = [](const auto&... functions) { return ((functions != nullptr) && ...); };
    const auto& conv = table->conv;
    CHECK(all_there(conv.gather, conv.product, conv.weight_grad, conv.depthwise, conv.depthwise_grad));
    const auto& e = table->elementwise;
    CHECK(all_there(e.moments, e.maximum, e.add, e.relu, e.relu_gradient));
    const auto has_normalize = [&](const auto& f) {
      return all_there(f.normalize, f.normalize_codes, f.normalize_sums, f.normalize_gradient);
    };
    CHECK((has_normalize(e.of_values) && has_normalize(e.of_sums)));
    const auto& q = table->quantize;
    CHECK(all_there(q.uniform_codes, q.sign_codes, q.tanh, q.centered_codes, q.centered_sums, q.centered_gradient,
                    q.decode, q.clamp_gradient, q.scale_gradient, q.log_codes, q.log2, q.extremes));
    const auto& codes = table->codes;
    CHECK(all_there(codes.small.product, codes.small.elements, codes.exact.product, codes.exact.elements,
                    codes.depthwise, codes.sum_pixels, codes.sum_windows, codes.totals, codes.gather_values,
                    codes.pack_bytes, codes.pack_words));
    for (const kernels::IntegerKernels* k : {&codes.narrow, &codes.bits})
      CHECK((k->product != nullptr) == (k->elements != nullptr));
  }
}

TEST_CASE("kernels: force selects a table by name and undoes it") {
  const kernels::KernelTable* usual = &kernels::active();
  for (const kernels::KernelTable* table : kernels::available()) {
    kernels::force(table->name);
    CHECK(&kernels::active() == table);
  }
  kernels::force("");
  CHECK(&kernels::active() == usual);
}

TEST_CASE("kernels: an unknown instruction set names what is available") {
  std::string text;
  try {
    kernels::find("sse9");
  } catch (const ValueError& error) {
    text = error.what();
  }
  CHECK(text.find("'sse9' is not available here, expected one of ") != std::string::npos);
  CHECK(text.find("simd") != std::string::npos);
  CHECK_THROWS_AS(kernels::force("mmx"), ValueError);
}
