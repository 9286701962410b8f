#include "svg.hpp"

#include <array>

#include "spnet/core/error.hpp"

namespace spnet::program {

std::string svg_begin(double width, double height) {
  return message("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", width, "\" height=\"", height,
                 "\" font-family=\"sans-serif\" font-size=\"11\">\n",
                 "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
}

std::string svg_escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string svg_text(const SvgText& at, const std::string& content) {
  return message("<text x=\"", at.x, "\" y=\"", at.y, "\" ", at.attributes, ">", svg_escaped(content), "</text>\n");
}

std::string svg_rectangle(double x, double y, double width, double height, const char* colour) {
  return message("<rect x=\"", x, "\" y=\"", y, "\" width=\"", width, "\" height=\"", height, "\" fill=\"", colour,
                 "\"/>\n");
}

const char* svg_colour(std::size_t series) {
  static constexpr std::array<const char*, 6> kColours{"#3b6fb6", "#e08a2e", "#5a9e5a",
                                                       "#a05195", "#888888", "#c0392b"};
  return kColours[series % kColours.size()];
}

}  // namespace spnet::program
