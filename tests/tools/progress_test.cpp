#include "progress.hpp"

#include <doctest/doctest.h>

#include <string>

using spnet::program::format_duration;
using spnet::program::progress_line;

TEST_CASE("program: durations are written as hours, minutes and seconds") {
  CHECK(format_duration(-3) == "0:00");
  CHECK(format_duration(59.6) == "1:00");
  CHECK(format_duration(3599) == "59:59");
  CHECK(format_duration(3723) == "1:02:03");
}

TEST_CASE("program: the bar gives way to the text of a progress line, and the text to the edge of the terminal") {
  CHECK(progress_line("a", 0.5, "text", 80) == "a [############............] text");
  CHECK(progress_line("a", 0, "text", 20) == "a [..........] text");
  CHECK(progress_line("a", 1, "text", 20) == "a [##########] text");
  CHECK(progress_line("a", 1.7, "text", 20) == "a [##########] text");
  CHECK(progress_line("a", 0.5, "text", 12) == "a text");
  CHECK(progress_line("a", 0.5, "text", 5) == "a te");
  CHECK(progress_line("a", 0.5, "text", 0) == "");
  // What training shows on a terminal of the usual width.
  const std::string text = " 12 %  1250 images/s  1:10:28 left  loss 1.234  top-1 45.60 %";
  for (std::size_t columns = 80; columns < 140; ++columns) {
    const std::string line = progress_line("epoch 10/30", 0.5, text, columns);
    CHECK(line.size() < columns);
    CHECK(line.ends_with(text));
    CHECK(line.find('#') != std::string::npos);
  }
}
