// Bar charts as SVG.
#pragma once

#include <string>
#include <vector>

namespace spnet::program {

/// A group of bars, one for each series, over one label.
struct BarGroup {
  std::string label;
  std::vector<double> values;  ///< ≥ 0
};

/// An SVG document: `groups` side by side, a colour for each of `series`, the vertical axis from 0 in whole steps.
std::string bar_chart(const std::string& title, const std::vector<std::string>& series,
                      const std::vector<BarGroup>& groups, const std::string& axis);

}  // namespace spnet::program
