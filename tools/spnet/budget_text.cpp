#include "budget_text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

namespace spnet::program {

BudgetText parse_budget_text(const char* option, const std::string& text, std::initializer_list<const char*> kinds,
                             bool may_name_precision) {
  const std::size_t colon = std::min(text.find(':'), text.size());
  BudgetText out{text.substr(0, colon), 0, {}};
  check<ValueError>(std::find(kinds.begin(), kinds.end(), out.kind) != kinds.end(), option, " '", text,
                    "' given, expected ", join(kinds, {}, ":, "), ": and a number",
                    may_name_precision ? " or a precision" : "");
  const std::string_view amount = std::string_view(text).substr(std::min(colon + 1, text.size()));
  if (may_name_precision && amount.starts_with('w')) {
    try {
      out.like = parse_precision(amount);
    } catch (const ValueError& error) {
      throw ValueError(message(option, " '", text, "': ", error.what()));
    }
    return out;
  }
  const char* const end = amount.data() + amount.size();
  const auto [stop, error] = std::from_chars(amount.data(), end, out.amount);
  check<ValueError>(error == std::errc() && stop == end && out.amount > 0 && std::isfinite(out.amount), option, " '",
                    text, "' given, expected a number above 0", may_name_precision ? ", or a precision" : "");
  return out;
}

}  // namespace spnet::program
