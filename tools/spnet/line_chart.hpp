// Line charts as SVG.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace spnet::program {

/// A line through (x, y), in the order of the points.
struct Line {
  std::string name;
  std::vector<std::pair<double, double>> points;
};

/// An SVG document: `lines` with a mark at each point, both axes from just below the least to just above the largest.
std::string line_chart(const std::string& title, const std::vector<Line>& lines, const std::string& x_axis,
                       const std::string& y_axis);

}  // namespace spnet::program
