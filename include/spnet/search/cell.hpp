// The search cell: from the architecture parameters of one operand to the shares of its candidate widths.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "spnet/autograd/arithmetic.hpp"
#include "spnet/autograd/softmax.hpp"
#include "spnet/core/random.hpp"

namespace spnet {
inline namespace v0 {
namespace search {

/// From logits [K] to shares [K], which add up to 1, with the gradient that trains the logits; `random` may draw, anew
/// each step. The operand is then Σ shares·(itself at each width), in one convolution.
using Cell = std::function<Variable<float>(const Variable<float>& logits, double temperature, Random& random)>;

namespace detail {

inline Variable<float> softmax_cell(const Variable<float>& logits, double temperature, Random&) {
  return softmax(scale(logits, static_cast<float>(1 / temperature)));
}
inline Variable<float> gumbel_cell(const Variable<float>& logits, double temperature, Random& random) {
  Tensor<float> noise(logits.shape());
  for (float& n : noise.span()) {
    const double u = (static_cast<double>(random.bits()) + 0.5) * 0x1p-32;  // in (0, 1)
    n = static_cast<float>(-std::log(-std::log(u)));
  }
  return softmax_cell(logits + Variable<float>(noise), temperature, random);
}
inline Variable<float> gumbel_hard_cell(const Variable<float>& logits, double temperature, Random& random) {
  const Variable<float> soft = gumbel_cell(logits, temperature, random);
  const auto shares = soft.value().span();
  const auto chosen = std::max_element(shares.begin(), shares.end()) - shares.begin();
  // Exactly 1 and 0, with the gradient of the soft shares.
  return make_result<float>(
      [&] {
        Tensor<float> hard = Tensor<float>::zeros(soft.shape());
        hard(chosen) = 1;
        return hard;
      }(),
      {soft}, [](const Tensor<float>& g, InputGradients<float>& into) { into.add(0, g); });
}

}  // namespace detail

/// The cells by name, τ the temperature:
/// "softmax": softmax(α/τ), every width in every step (as EdMIPS);
/// "gumbel": softmax((α + G)/τ) with Gumbel noise G;
/// "gumbel-hard": one width in the forward pass, argmax(α + G); the gradient is that of "gumbel" (straight-through).
/// Which of them SSPS (arXiv 2103.02904) has is not known [open]. "gumbel-hard" costs least and trains what will be
/// there when all is decided, but stays near where it begins; mixtures go further (compared in bench/results.md). Users
/// may add their own. Costs and certainties are those of softmax(α), whatever τ is.
inline std::map<std::string, Cell>& cells() {
  static std::map<std::string, Cell> known = {{"softmax", detail::softmax_cell},
                                              {"gumbel", detail::gumbel_cell},
                                              {"gumbel-hard", detail::gumbel_hard_cell}};
  return known;
}

/// The cell called `name`; throws ValueError, listing the known ones, on another.
inline const Cell& find_cell(const std::string& name) {
  const auto found = cells().find(name);
  if (found != cells().end()) return found->second;
  throw ValueError(message("search cell: '", name, "' is not known; there are ",
                           join(cells(), [](const auto& entry) { return entry.first; })));
}

}  // namespace search
}  // namespace v0
}  // namespace spnet
