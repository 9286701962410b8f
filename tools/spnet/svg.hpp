// Pieces of SVG documents.
#pragma once

#include <cstddef>
#include <string>

namespace spnet::program {

/// The head of a document of that size, on white.
std::string svg_begin(double width, double height);
inline constexpr const char* kSvgEnd = "</svg>\n";

/// `text` with the characters that XML reserves replaced.
std::string svg_escaped(const std::string& text);

struct SvgText {
  double x, y;
  const char* attributes;
};
std::string svg_text(const SvgText& at, const std::string& content);
std::string svg_rectangle(double x, double y, double width, double height, const char* colour);

/// The colour of a series.
const char* svg_colour(std::size_t series);

}  // namespace spnet::program
