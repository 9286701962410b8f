// Gradients against central differences, in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "spnet/autograd/variable.hpp"
#include "spnet/core/random.hpp"

namespace spnet {
inline namespace v0 {
namespace testing {

struct GradcheckOptions {
  double eps = 1e-6;
  double atol = 1e-5;
  double rtol = 1e-3;
  std::uint64_t seed = 1;  ///< of the random projection of the outputs
};

/// What a gradient check found; `message` tells the worst element where it failed.
struct GradcheckReport {
  bool ok = true;
  std::string message;
  double worst = 0;  ///< largest |analytic − numeric| / (atol + rtol·|numeric|)
  explicit operator bool() const { return ok; }
};

/// Compares the gradients of Σ r·function(inputs), r random in [0.5, 1.5), with central differences, for every element of
/// every input that requires a gradient. `function(std::vector<Variable<double>>)` must be pure.
template <class Function>
GradcheckReport gradcheck(const Function& function, std::vector<Variable<double>> inputs, GradcheckOptions options = {}) {
  Random random(options.seed);
  const Variable<double> out = function(inputs);
  Tensor<double> projection(out.shape());
  for (double& p : projection.span()) p = 0.5 + static_cast<double>(random.uniform());
  const auto project = [&](const Tensor<double>& value) {
    const Tensor<double> dense = value.contiguous();
    double sum = 0;
    for (std::int64_t i = 0; i < dense.size(); ++i) sum += dense.data()[i] * projection.data()[i];
    return sum;
  };
  for (auto& input : inputs) input.zero_grad();
  GradcheckReport report;
  if (!out.requires_grad()) return {false, "gradcheck: the output requires no gradient", 0};
  out.backward(projection);

  const NoGradGuard no_grad;
  for (std::size_t which = 0; which < inputs.size(); ++which) {
    Variable<double>& input = inputs[which];
    if (!input.requires_grad()) continue;
    const Tensor<double> analytic =
        input.grad().defined() ? input.grad().contiguous() : Tensor<double>::zeros(input.shape());
    if (analytic.shape() != input.shape())
      return {false, message("gradcheck: input ", which, " has shape ", input.shape(), ", its gradient ", analytic.shape()), 0};
    std::int64_t index = 0;
    input.value().for_each_offset([&](std::int64_t offset) {
      double& element = input.value().data()[offset];
      const double before = element;
      element = before + options.eps;
      const double up = project(function(inputs).value());
      element = before - options.eps;
      const double down = project(function(inputs).value());
      element = before;
      const double numeric = (up - down) / (2 * options.eps);
      const double given = analytic.data()[index];
      const double error = std::abs(given - numeric) / (options.atol + options.rtol * std::abs(numeric));
      if (!(error <= 1) && !(error <= report.worst)) {
        report.ok = false;
        report.message = message("gradcheck: input ", which, " ", input.shape(), ", element ", index, ": analytic ", given,
                                 ", numeric ", numeric);
      }
      if (!(error <= report.worst)) report.worst = error;
      ++index;
    });
  }
  return report;
}

}  // namespace testing
}  // namespace v0
}  // namespace spnet
