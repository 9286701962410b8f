#include "spnet/kernels/dispatch.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

using namespace spnet;

TEST_CASE("kernels: the portable tier is always available and comes last") {
  REQUIRE_FALSE(kernels::available().empty());
  CHECK(std::string(kernels::available().back()->name) == "simd");
}

TEST_CASE("kernels: every table is complete") {
  for (const kernels::KernelTable* table : kernels::available()) {
    INFO(std::string(table->name));
    CHECK(table->conv.lanes > 0);
    CHECK(kernels::kBlock % table->conv.lanes == 0);
    CHECK(table->conv.panel % table->conv.lanes == 0);
    CHECK((table->conv.gather != nullptr));
    CHECK((table->conv.product != nullptr));
    CHECK((table->conv.weight_grad != nullptr));
    CHECK((table->conv.depthwise != nullptr));
    CHECK((table->conv.depthwise_grad != nullptr));
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
