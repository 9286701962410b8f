// What commands print: the table that ends a run, of what each switch reaches and costs, and lines for programs.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "spnet/train/evaluate.hpp"

namespace spnet::program {

/// Switch, top-1, weight bytes and milliseconds an image, a line each.
std::string evaluation_table(const std::vector<train::Evaluation>& evaluations,
                             const std::vector<std::int64_t>& weight_bytes);

/// An object on a line of standard output, whatever bytes names hold.
void print_json(const nlohmann::json& line);

}  // namespace spnet::program
