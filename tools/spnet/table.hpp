// The table that ends a run: what each switch reaches and costs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "spnet/train/evaluate.hpp"

namespace spnet::program {

/// Switch, top-1, weight bytes and milliseconds an image, a line each.
std::string evaluation_table(const std::vector<train::Evaluation>& evaluations,
                             const std::vector<std::int64_t>& weight_bytes);

}  // namespace spnet::program
