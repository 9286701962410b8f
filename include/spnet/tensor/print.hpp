// Printing tensors as NumPy does: nested brackets, columns aligned, long axes abbreviated.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <iomanip>
#include <ostream>
#include <sstream>
#include <string>

#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {

namespace detail {

// Of a tensor with more elements than this, the first and last few entries of each axis are shown.
inline constexpr std::int64_t kPrintedElements = 1000, kPrintedEdge = 3;

template <class T>
std::string element_text(T value) {
  std::ostringstream out;
  out << std::setprecision(4);
  if constexpr (std::same_as<T, bf16>) {
    out << static_cast<float>(value);
  } else if constexpr (std::same_as<T, bool>) {
    out << (value ? "true" : "false");
  } else {
    out << +value;  // 8-bit integers are numbers here
  }
  return out.str();
}

// Calls `visit(i)` for the entries of an axis that are shown, and `skip()` where some are left out.
template <class Visit, class Skip>
void for_each_printed(std::int64_t count, bool abbreviate, const Visit& visit, const Skip& skip) {
  const bool gap = abbreviate && count > 2 * kPrintedEdge;
  for (std::int64_t i = 0; i < count; ++i) {
    if (gap && i == kPrintedEdge) {
      skip();
      i = count - kPrintedEdge;
    }
    visit(i);
  }
}

template <class T>
std::size_t printed_width(const Tensor<T>& tensor, bool abbreviate) {
  if (tensor.rank() == 0) return element_text(tensor.item()).size();
  std::size_t width = 0;
  for_each_printed(
      tensor.dim(0), abbreviate,
      [&](std::int64_t i) { width = std::max(width, printed_width(tensor.select(0, i), abbreviate)); }, [] {});
  return width;
}

template <class T>
void print_entries(std::ostream& out, const Tensor<T>& tensor, bool abbreviate, std::size_t width, int depth) {
  if (tensor.rank() == 0) {
    const std::string text = element_text(tensor.item());
    out << std::string(width - text.size(), ' ') << text;
    return;
  }
  // Entries that are themselves lists begin on a new line, below the one before.
  std::string separator = ",";
  separator.append(static_cast<std::size_t>(tensor.rank() - 1), '\n');
  separator.append(tensor.rank() == 1 ? 1 : static_cast<std::size_t>(depth + 1), ' ');
  bool first = true;
  auto separate = [&] {
    if (!first) out << separator;
    first = false;
  };
  out << '[';
  for_each_printed(
      tensor.dim(0), abbreviate,
      [&](std::int64_t i) {
        separate();
        print_entries(out, tensor.select(0, i), abbreviate, width, depth + 1);
      },
      [&] {
        separate();
        out << "...";
      });
  out << ']';
}

}  // namespace detail

/// Prints the elements (four significant digits; the edges only where there are more than 1000), then the shape.
template <Element T>
std::ostream& operator<<(std::ostream& out, const Tensor<T>& tensor) {
  if (!tensor.defined()) return out << "undefined tensor";
  const bool abbreviate = tensor.size() > detail::kPrintedElements;
  detail::print_entries(out, tensor, abbreviate, detail::printed_width(tensor, abbreviate), 0);
  return out << " (shape " << tensor.shape() << ')';
}

}  // namespace v0
}  // namespace spnet
