// Lists of bit-widths that a quantizer keeps state for.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "spnet/core/error.hpp"

namespace spnet {
inline namespace v0 {
namespace detail {

inline std::vector<int> all_if_empty(const std::vector<int>& widths) {
  return widths.empty() ? std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8} : widths;
}

/// The place of `bits` in the list; throws ValueError, naming `quantizer` and the list, where it is not there.
inline std::size_t width_index(const char* quantizer, const std::vector<int>& widths, int bits) {
  const auto at = std::find(widths.begin(), widths.end(), bits);
  if (at != widths.end()) return static_cast<std::size_t>(at - widths.begin());
  throw ValueError(message("quantize: ", quantizer, " got ", bits, " bits, but was made for ", join(widths)));
}

}  // namespace detail
}  // namespace v0
}  // namespace spnet
