// Precision is a value: the pair of bit-widths that a layer computes with.
#pragma once

#include <algorithm>
#include <cctype>
#include <compare>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "spnet/core/error.hpp"

namespace spnet {
inline namespace v0 {

/// Stands for unquantized float32.
inline constexpr int kFloatBits = 32;

/// True for 1..8 and 32.
constexpr bool is_bit_width(int bits) { return (bits >= 1 && bits <= 8) || bits == kFloatBits; }

/// Bit-widths of a layer's weights and of its input activations: 1..8, or 32 for float.
struct Precision {
  int weight_bits = kFloatBits;
  int activation_bits = kFloatBits;

  friend constexpr auto operator<=>(const Precision&, const Precision&) = default;
};

/// Throws ValueError, naming `op`, unless both widths are 1..8 or 32.
inline void check_precision(Precision p, const char* op) {
  check<ValueError>(is_bit_width(p.weight_bits) && is_bit_width(p.activation_bits), op, ": ", p.weight_bits,
                    " weight bits and ", p.activation_bits, " activation bits given, expected 1..8 or 32");
}

/// "w2a4", "w32a32".
inline std::string to_string(Precision p) { return message('w', p.weight_bits, 'a', p.activation_bits); }
inline std::ostream& operator<<(std::ostream& out, Precision p) {
  return out << 'w' << p.weight_bits << 'a' << p.activation_bits;
}

/// Reads "w2a4"; throws ValueError on another form or a width outside 1..8 and 32.
inline Precision parse_precision(std::string_view text) {
  std::size_t at = 0;
  auto number = [&](char letter) {
    int value = 0;
    bool any = false;
    if (at < text.size() && text[at] == letter) {
      for (++at; at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) && value < 100; ++at, any = true)
        value = 10 * value + (text[at] - '0');
    }
    check<ValueError>(any, "precision: '", text, "' given, expected the form w2a4");
    return value;
  };
  Precision p;
  p.weight_bits = number('w');
  p.activation_bits = number('a');
  check<ValueError>(at == text.size(), "precision: '", text, "' given, expected the form w2a4");
  check_precision(p, "precision");
  return p;
}

/// Reads "w1a1,w2a2,w32a32"; throws ValueError where it is empty or names a switch twice.
inline std::vector<Precision> parse_switches(std::string_view text) {
  std::vector<Precision> switches;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const Precision p = parse_precision(text.substr(begin, end - begin));
    for (Precision q : switches) check<ValueError>(p != q, "switches: ", p, " is named twice in '", text, "'");
    switches.push_back(p);
    begin = end + 1;
  }
  return switches;
}

}  // namespace v0
}  // namespace spnet
