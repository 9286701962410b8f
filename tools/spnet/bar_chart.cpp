#include "bar_chart.hpp"

#include <algorithm>
#include <cmath>

#include "spnet/core/error.hpp"
#include "svg.hpp"

namespace spnet::program {

std::string bar_chart(const std::string& title, const std::vector<std::string>& series,
                      const std::vector<BarGroup>& groups, const std::string& axis) {
  constexpr double kBar = 9, kGap = 8, kLeft = 56, kTop = 56, kHeight = 180;
  const double group = kBar * static_cast<double>(series.size()) + kGap;
  std::size_t longest = 0;
  for (const BarGroup& g : groups) longest = std::max(longest, g.label.size());
  const double below = 20 + 6.5 * static_cast<double>(longest);  // the labels stand upright
  const double plot =
      std::max(8.0 * static_cast<double>(title.size()), group * static_cast<double>(groups.size()) + kGap);
  double most = 1;
  for (const BarGroup& g : groups)
    for (const double v : g.values) most = std::max(most, v);
  const double step = std::max(1.0, std::ceil(most / 8)), top = step * std::ceil(most / step);
  const auto y_of = [&](double value) { return kTop + kHeight * (1 - value / top); };

  std::string out = svg_begin(kLeft + plot + 16, kTop + kHeight + below);
  out += svg_text({kLeft, 20, "font-size=\"14\""}, title);
  for (double value = 0; value <= top; value += step) {
    out += message("<line x1=\"", kLeft, "\" x2=\"", kLeft + plot, "\" y1=\"", y_of(value), "\" y2=\"", y_of(value),
                   "\" stroke=\"", value == 0 ? "#333" : "#ddd", "\"/>\n");
    out += svg_text({kLeft - 6, y_of(value) + 4, "text-anchor=\"end\""}, message(value));
  }
  out += message("<text transform=\"translate(16,", kTop + kHeight / 2, ") rotate(-90)\" text-anchor=\"middle\">",
                 svg_escaped(axis), "</text>\n");
  for (std::size_t s = 0; s < series.size(); ++s) {
    const double x = kLeft + 110 * static_cast<double>(s);
    out += svg_rectangle(x, 32, 10, 10, svg_colour(s));
    out += svg_text({x + 15, 41, ""}, series[s]);
  }
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const double left = kLeft + kGap + group * static_cast<double>(g);
    for (std::size_t s = 0; s < groups[g].values.size(); ++s) {
      const double value = groups[g].values[s];
      out += svg_rectangle(left + kBar * static_cast<double>(s), y_of(value), kBar - 1, y_of(0) - y_of(value),
                       svg_colour(s));
    }
    const double middle = left + (group - kGap) / 2;
    out += message("<text transform=\"translate(", middle + 4, ",", y_of(0) + 8, ") rotate(-90)\" text-anchor=\"end\">",
                   svg_escaped(groups[g].label), "</text>\n");
  }
  return out + kSvgEnd;
}

}  // namespace spnet::program
