// Progress on a terminal as one living line, elsewhere as a plain line now and then.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace spnet::program {

/// Shows how far a long task is. On a terminal (standard error) a bar is redrawn a few times a second; otherwise a line
/// is printed at most every ten seconds.
class Progress {
 public:
  /// `total` units of work, `unit` their name ("images"); `done` of them were done before this process began. The time left
  /// includes `after` further units.
  Progress(std::string title, std::int64_t total, std::string unit, std::int64_t done = 0, std::int64_t after = 0);
  ~Progress();

  /// `done` units are done; `detail` follows the figures ("loss 1.234 top-1 45.6 %").
  void update(std::int64_t done, const std::string& detail = "");
  /// Ends the living line, if there is one.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(const std::string& detail);
  void clear_line();

  std::string title_, unit_;
  std::int64_t total_, start_, done_, after_;
  bool terminal_, drawn_ = false;
  Clock::time_point begin_, last_;
};

/// A line shorter than `columns`: the bar, `share` of it filled, gives way to the text.
std::string progress_line(const std::string& title, double share, const std::string& text, std::size_t columns);

/// "1:02:03" or "2:03" for a number of seconds.
std::string format_duration(double seconds);

}  // namespace spnet::program
