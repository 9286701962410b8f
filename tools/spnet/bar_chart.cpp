#include "bar_chart.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "spnet/core/error.hpp"

namespace spnet::program {

namespace {

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

struct Text {
  double x, y;
  const char* attributes;
};
std::string text(const Text& at, const std::string& content) {
  return message("<text x=\"", at.x, "\" y=\"", at.y, "\" ", at.attributes, ">", escaped(content), "</text>\n");
}
std::string rectangle(double x, double y, double width, double height, const char* colour) {
  return message("<rect x=\"", x, "\" y=\"", y, "\" width=\"", width, "\" height=\"", height, "\" fill=\"", colour,
                 "\"/>\n");
}

}  // namespace

std::string bar_chart(const std::string& title, const std::vector<std::string>& series,
                      const std::vector<BarGroup>& groups, const std::string& axis) {
  static constexpr std::array<const char*, 4> kColours{"#3b6fb6", "#e08a2e", "#5a9e5a", "#a05195"};
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

  std::string out = message("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", kLeft + plot + 16, "\" height=\"",
                            kTop + kHeight + below, "\" font-family=\"sans-serif\" font-size=\"11\">\n");
  out += "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  out += text({kLeft, 20, "font-size=\"14\""}, title);
  for (double value = 0; value <= top; value += step) {
    out += message("<line x1=\"", kLeft, "\" x2=\"", kLeft + plot, "\" y1=\"", y_of(value), "\" y2=\"", y_of(value),
                   "\" stroke=\"", value == 0 ? "#333" : "#ddd", "\"/>\n");
    out += text({kLeft - 6, y_of(value) + 4, "text-anchor=\"end\""}, message(value));
  }
  out += message("<text transform=\"translate(16,", kTop + kHeight / 2, ") rotate(-90)\" text-anchor=\"middle\">",
                 escaped(axis), "</text>\n");
  for (std::size_t s = 0; s < series.size(); ++s) {
    const double x = kLeft + 110 * static_cast<double>(s);
    out += rectangle(x, 32, 10, 10, kColours[s % kColours.size()]);
    out += text({x + 15, 41, ""}, series[s]);
  }
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const double left = kLeft + kGap + group * static_cast<double>(g);
    for (std::size_t s = 0; s < groups[g].values.size(); ++s) {
      const double value = groups[g].values[s];
      out += rectangle(left + kBar * static_cast<double>(s), y_of(value), kBar - 1, y_of(0) - y_of(value),
                       kColours[s % kColours.size()]);
    }
    const double middle = left + (group - kGap) / 2;
    out += message("<text transform=\"translate(", middle + 4, ",", y_of(0) + 8, ") rotate(-90)\" text-anchor=\"end\">",
                   escaped(groups[g].label), "</text>\n");
  }
  return out + "</svg>\n";
}

}  // namespace spnet::program
