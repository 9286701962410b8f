// The table that ends a run: what each switch reaches and costs.
#pragma once

#include <string>
#include <vector>

#include "spnet/nn/module.hpp"
#include "spnet/train/evaluate.hpp"

namespace spnet::program {

/// Switch, top-1, weight bytes (the size rule of nn/size.hpp) and milliseconds an image, a line each.
std::string evaluation_table(const nn::Module& model, const std::vector<train::Evaluation>& evaluations);

}  // namespace spnet::program
