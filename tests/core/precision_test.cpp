#include "spnet/core/precision.hpp"

#include <doctest/doctest.h>

using namespace spnet;

TEST_CASE("core: precisions are read and printed") {
  CHECK(parse_precision("w2a4") == Precision{2, 4});
  CHECK(parse_precision("w1a32") == Precision{1, 32});
  CHECK(parse_precision("w32a32") == Precision{});
  CHECK(to_string(Precision{8, 3}) == "w8a3");
  CHECK(message(Precision{1, 2}) == "w1a2");
  for (int weight : {1, 2, 3, 4, 5, 6, 7, 8, 32}) {
    for (int activation : {1, 2, 3, 4, 5, 6, 7, 8, 32}) {
      const Precision p{weight, activation};
      CHECK(parse_precision(to_string(p)) == p);
    }
  }
}

TEST_CASE("core: bit-widths are 1 to 8 and 32") {
  for (int bits : {1, 2, 8, 32}) CHECK(is_bit_width(bits));
  for (int bits : {-1, 0, 9, 16, 31, 33}) CHECK(!is_bit_width(bits));
  CHECK_NOTHROW(check_precision({1, 32}, "conv2d"));
  CHECK_THROWS_WITH_AS(check_precision({0, 8}, "conv2d"),
                       "conv2d: 0 weight bits and 8 activation bits given, expected 1..8 or 32", ValueError);
  CHECK_THROWS_AS(check_precision({8, 33}, "conv2d"), ValueError);
}

TEST_CASE("core: a malformed precision is refused by name") {
  for (const char* text : {"", "w", "w2", "a2", "2a2", "w2a", "wa2", "w2a2 ", " w2a2", "w2a2x", "W2A2", "w-1a2", "w2,a2", "a2w2"}) {
    CAPTURE(text);
    CHECK_THROWS_WITH_AS(parse_precision(text), message("precision: '", text, "' given, expected the form w2a4").c_str(),
                         ValueError);
  }
  for (const char* text : {"w0a1", "w1a0", "w9a9", "w33a1", "w1a33", "w100a1"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(parse_precision(text), ValueError);
  }
  // Long numbers must neither overflow nor wrap around to something valid.
  CHECK_THROWS_AS(parse_precision("w4294967298a2"), ValueError);
  CHECK_THROWS_AS(parse_precision("w99999999999999999999a2"), ValueError);
}

TEST_CASE("core: lists of switches") {
  const auto switches = parse_switches("w1a1,w2a2,w32a32");
  REQUIRE(switches.size() == 3);
  CHECK(switches[1] == Precision{2, 2});
  CHECK(switches[2] == Precision{32, 32});
  CHECK(parse_switches("w1a32").size() == 1);
  CHECK_THROWS_WITH_AS(parse_switches("w1a1,w2a2,w1a1"), "switches: w1a1 is named twice in 'w1a1,w2a2,w1a1'", ValueError);
  for (const char* text : {"", ",", "w1a1,", ",w1a1", "w1a1,,w2a2", "w1a1 w2a2", "w1a1;w2a2"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(parse_switches(text), ValueError);
  }
}

TEST_CASE("core: precisions are ordered by weight bits, then activation bits") {
  CHECK(Precision{1, 8} < Precision{2, 1});
  CHECK(Precision{2, 1} < Precision{2, 2});
  CHECK(Precision{32, 32} > Precision{8, 32});
}
