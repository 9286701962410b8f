#include "line_chart.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "spnet/core/error.hpp"
#include "svg.hpp"

namespace spnet::program {

namespace {

// An axis from `low` to `high` in steps of 1, 2 or 5 times a power of ten.
struct Axis {
  double low = std::numeric_limits<double>::infinity(), high = -low, step = 1;

  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  void finish() {
    if (!(low <= high)) low = high = 0;
    if (low == high) high = low + 1;
    const double rough = (high - low) / 5, power = std::pow(10, std::floor(std::log10(rough)));
    step = power * (rough / power <= 1 ? 1 : rough / power <= 2 ? 2 : rough / power <= 5 ? 5 : 10);
    low = step * std::floor(low / step);
    high = step * std::ceil(high / step);
  }
  double share(double value) const { return (value - low) / (high - low); }
  template <class F>
  void for_each_tick(const F& f) const {
    for (int i = 0; low + i * step <= high + step / 2; ++i) {
      char text[32];
      std::snprintf(text, sizeof text, "%.4g", low + i * step);
      f(low + i * step, text);
    }
  }
};

}  // namespace

std::string line_chart(const std::string& title, const std::vector<Line>& lines, const std::string& x_axis,
                       const std::string& y_axis) {
  constexpr double kLeft = 64, kTop = 56, kWidth = 420, kHeight = 240;
  Axis xs, ys;
  for (const Line& line : lines)
    for (const auto& [x, y] : line.points) {
      xs.include(x);
      ys.include(y);
    }
  xs.finish();
  ys.finish();
  const auto x_of = [&](double x) { return kLeft + kWidth * xs.share(x); };
  const auto y_of = [&](double y) { return kTop + kHeight * (1 - ys.share(y)); };
  const double width = std::max(kWidth, 8.0 * static_cast<double>(title.size()));
  std::string out = svg_begin(kLeft + width + 24, kTop + kHeight + 56);
  out += svg_text({kLeft, 20, "font-size=\"14\""}, title);
  ys.for_each_tick([&](double y, const char* text) {
    out += message("<line x1=\"", kLeft, "\" x2=\"", kLeft + kWidth, "\" y1=\"", y_of(y), "\" y2=\"", y_of(y),
                   "\" stroke=\"#ddd\"/>\n");
    out += svg_text({kLeft - 6, y_of(y) + 4, "text-anchor=\"end\""}, text);
  });
  xs.for_each_tick([&](double x, const char* text) {
    out += svg_text({x_of(x), kTop + kHeight + 18, "text-anchor=\"middle\""}, text);
  });
  out += svg_text({kLeft + kWidth / 2, kTop + kHeight + 42, "text-anchor=\"middle\""}, x_axis);
  out += message("<text transform=\"translate(16,", kTop + kHeight / 2, ") rotate(-90)\" text-anchor=\"middle\">",
                 svg_escaped(y_axis), "</text>\n");
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const double left = kLeft + 80 * static_cast<double>(i);
    out += svg_rectangle(left, 32, 10, 10, svg_colour(i));
    out += svg_text({left + 15, 41, ""}, lines[i].name);
    std::string path;
    for (const auto& [x, y] : lines[i].points) {
      path += message(path.empty() ? "" : " ", x_of(x), ',', y_of(y));
      out += message("<circle cx=\"", x_of(x), "\" cy=\"", y_of(y), "\" r=\"3\" fill=\"", svg_colour(i), "\"/>\n");
    }
    out += message("<polyline points=\"", path, "\" fill=\"none\" stroke=\"", svg_colour(i), "\"/>\n");
  }
  return out + kSvgEnd;
}

}  // namespace spnet::program
