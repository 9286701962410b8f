// Budgets as the command line writes them.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>

#include "spnet/core/precision.hpp"

namespace spnet::program {

/// "bitops-g:0.5" or "bitops-g:w2a2": so much of a kind, or what all layers at a precision cost.
struct BudgetText {
  std::string kind;
  double amount = 0;               ///< > 0, finite
  std::optional<Precision> like;  ///< in its place
};

/// Throws ValueError, naming `option`, where `text` has another form or its kind is not among `kinds`.
BudgetText parse_budget_text(const char* option, const std::string& text, std::initializer_list<const char*> kinds,
                             bool may_name_precision = true);

}  // namespace spnet::program
