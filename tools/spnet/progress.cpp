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

Progress::Progress(std::string title, std::int64_t total, std::string unit, std::int64_t done)
    : title_(std::move(title)), unit_(std::move(unit)), total_(total), start_(done), done_(done), terminal_(is_terminal()),
      begin_(Clock::now()), last_(begin_) {}

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
  const double left = rate > 0 ? static_cast<double>(total_ - done_) / rate : 0;
  const double share = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 1;
  char figures[128];
  std::snprintf(figures, sizeof figures, "%3.0f %%  %.0f %s/s  %s left", 100 * share, rate, unit_.c_str(),
                format_duration(left).c_str());
  if (!terminal_) {
    std::fprintf(stderr, "%s  %s  %s\n", title_.c_str(), figures, detail.c_str());
    return;
  }
  constexpr int kWidth = 24;
  const int filled = std::clamp(static_cast<int>(share * kWidth), 0, kWidth);
  std::string line = title_ + " [";
  line.append(static_cast<std::size_t>(filled), '#').append(static_cast<std::size_t>(kWidth - filled), '.');
  line += message("] ", figures, "  ", detail);
  line.resize(std::min(line.size(), terminal_columns() - 1));  // a wrapped line could not be redrawn
  clear_line();
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::clear_line() {
  if (drawn_) std::fputs("\r\x1b[2K", stderr);
}

void Progress::print(const std::string& line) {
  clear_line();
  drawn_ = false;
  std::fprintf(stderr, "%s\n", line.c_str());
}

void Progress::finish() {
  if (!drawn_) return;
  clear_line();
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace spnet::program
