// Errors that name the operator, what was given and what was expected.
#pragma once

#include <charconv>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>

#if defined(__FAST_MATH__)
#error "spnet needs IEEE arithmetic (NaN checks, exact rounding): do not compile it with -ffast-math"
#endif

namespace spnet {
inline namespace v0 {

/// Base of every exception that spnet throws; the message begins with the operator's name.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A shape, a rank or a channel count does not fit the operator.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// A value or an option is outside its range, or a name is not known.
class ValueError : public Error {
 public:
  using Error::Error;
};

/// A file or folder is missing, damaged, foreign, or cannot be written.
class FileError : public Error {
 public:
  using Error::Error;
};

/// A NaN or an infinity appeared where a finite number was needed.
class NumericError : public Error {
 public:
  using Error::Error;
};

/// Joins the arguments as `operator<<` prints them.
template <class... Args>
std::string message(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

/// With twelve digits, where `message` has six: for limits that will be typed in.
inline std::string precise(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::general, 12).ptr;
  return {text, end};
}

/// The elements of `range`, or `part` of each (a function or a member), as `operator<<` prints them, with `separator` between.
template <class Range, class Part = std::identity>
std::string join(const Range& range, const Part& part = {}, const char* separator = ", ") {
  std::ostringstream out;
  const char* before = "";
  for (const auto& element : range) {
    out << before << std::invoke(part, element);
    before = separator;
  }
  return out.str();
}

/// Throws `E` with the joined message unless `condition` holds: `check<ShapeError>(ok, "conv2d: input has ", c, " channels")`.
/// The arguments are formatted only on failure.
template <class E = Error, class... Args>
inline void check(bool condition, const Args&... args) {
  if (!condition) [[unlikely]] throw E(message(args...));
}

}  // namespace v0
}  // namespace spnet
