#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "spnet/core/error.hpp"

namespace spnet::program {

std::string format_duration(double seconds) {
  const auto whole = static_cast<long long>(std::max(0.0, std::round(seconds)));
  char text[32];
  if (whole >= 3600)
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  else
    std::snprintf(text, sizeof text, "%lld:%02lld", whole / 60, whole % 60);
  return text;
}

std::string progress_line(const std::string& title, double share, const std::string& text, std::size_t columns) {
  constexpr std::size_t kWidest = 24, kNarrowest = 3, kAround = 4;  // blanks and brackets
  const std::size_t others = title.size() + text.size() + 1;        // and one column free
  const std::size_t width = columns > others + kAround ? std::min(columns - others - kAround, kWidest) : 0;
  std::string line = title + ' ';
  if (width >= kNarrowest) {
    const auto filled = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(width));
    line += '[' + std::string(filled, '#') + std::string(width - filled, '.') + "] ";
  }
  line += text;
  line.resize(std::min(line.size(), columns - std::min<std::size_t>(columns, 1)));  // a wrapped line could not be redrawn
  return line;
}

namespace {

bool is_terminal() {
  const char* term = std::getenv("TERM");
  return isatty(STDERR_FILENO) && term && std::strcmp(term, "dumb") != 0;
}

std::size_t terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

Progress::Progress(std::string title, std::int64_t total, std::string unit, std::int64_t done, std::int64_t after)
    : title_(std::move(title)), unit_(std::move(unit)), total_(total), start_(done), done_(done), after_(after),
      terminal_(is_terminal()), begin_(Clock::now()), last_(begin_) {}

Progress::~Progress() { finish(); }

void Progress::update(std::int64_t done, const std::string& detail) {
  done_ = done;
  const auto now = Clock::now();
  const double wait = terminal_ ? 0.2 : 10.0;
  if (std::chrono::duration<double>(now - last_).count() < wait && !(terminal_ && done >= total_)) return;
  last_ = now;
  draw(detail);
}

void Progress::draw(const std::string& detail) {
  const double elapsed = std::chrono::duration<double>(Clock::now() - begin_).count();
  const double rate = elapsed > 0 ? static_cast<double>(done_ - start_) / elapsed : 0;
  const double left = rate > 0 ? static_cast<double>(total_ - done_ + after_) / rate : 0;
  const double share = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 1;
  char figures[128];
  std::snprintf(figures, sizeof figures, "%3.0f %%  %.0f %s/s  %s left", 100 * share, rate, unit_.c_str(),
                format_duration(left).c_str());
  if (!terminal_) {
    std::fprintf(stderr, "%s  %s  %s\n", title_.c_str(), figures, detail.c_str());
    return;
  }
  const std::string line = progress_line(title_, share, message(figures, "  ", detail), terminal_columns());
  clear_line();
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::clear_line() {
  if (drawn_) std::fputs("\r\x1b[2K", stderr);
}

void Progress::finish() {
  if (!drawn_) return;
  clear_line();
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace spnet::program
