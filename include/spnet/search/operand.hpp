// What a search chooses: a width for the weight and for the input of every layer.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "spnet/autograd/variable.hpp"
#include "spnet/core/precision.hpp"

namespace spnet {
inline namespace v0 {
namespace search {

/// The widths that a search may choose among, each list ascending.
struct Candidates {
  std::vector<int> weights, activations;  ///< 1..8, or 32

  /// All pairs, those of the first weight width first: the columns of cost tables.
  std::vector<Precision> pairs() const {
    std::vector<Precision> out;
    for (const int w : weights)
      for (const int a : activations) out.push_back({w, a});
    return out;
  }
};

/// Throws ValueError, naming `op`, unless both lists are widths in ascending order, 64 pairs at most.
inline void check_candidates(const Candidates& candidates, const char* op) {
  for (const auto* widths : {&candidates.weights, &candidates.activations}) {
    check<ValueError>(!widths->empty() && std::is_sorted(widths->begin(), widths->end(), std::less_equal<>()) &&
                          std::all_of(widths->begin(), widths->end(), is_bit_width),
                      op, ": candidates ", join(*widths, {}, ","), " given, expected ascending widths of 1..8 or 32");
  }
  check<ValueError>(candidates.weights.size() * candidates.activations.size() <= 64, op, ": ",
                    candidates.weights.size() * candidates.activations.size(), " pairs of widths, expected up to 64");
}

/// The weight or the input of a layer, whose width is to be found.
struct Operand {
  std::string name;         ///< "layer1.0.conv1.weight" or "layer1.0.conv1.input"
  std::vector<int> widths;  ///< K candidates
  Variable<float> logits;   ///< [K], the architecture parameters α; 0 until the search begins
  Tensor<float> decision;   ///< [1], the place of the width that was decided for; −1: none yet

  bool is_decided() const { return decision.data()[0] >= 0; }
  std::size_t decided() const { return static_cast<std::size_t>(decision.data()[0]); }
  /// softmax(α); 1 and 0 once it is decided.
  std::vector<double> probabilities() const {
    std::vector<double> p(widths.size(), 0);
    if (is_decided()) {
      p[decided()] = 1;
      return p;
    }
    const auto alpha = logits.value().span();
    const double most = static_cast<double>(*std::max_element(alpha.begin(), alpha.end()));
    double sum = 0;
    for (std::size_t i = 0; i < p.size(); ++i) sum += p[i] = std::exp(static_cast<double>(alpha[i]) - most);
    for (double& v : p) v /= sum;
    return p;
  }
  /// 1 − H(p)/log K: 0 where all widths are as likely, 1 where one alone is (SSPS decides by it; the form is that of
  /// SGAS [later]).
  double certainty() const {
    double entropy = 0;
    for (const double p : probabilities())
      if (p > 0) entropy -= p * std::log(p);
    return widths.size() > 1 ? 1 - entropy / std::log(static_cast<double>(widths.size())) : 1;
  }
};

}  // namespace search
}  // namespace v0
}  // namespace spnet
