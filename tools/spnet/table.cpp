#include "table.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace spnet::program {

std::string evaluation_table(const std::vector<train::Evaluation>& evaluations,
                             const std::vector<std::int64_t>& weight_bytes) {
  std::size_t width = 8;
  for (const auto& e : evaluations) width = std::max(width, e.name.size());
  std::string out = "switch" + std::string(width - 6, ' ') + "    top-1 %   weight bytes   ms per image\n";
  for (std::size_t i = 0; i < evaluations.size(); ++i) {
    const auto& e = evaluations[i];
    char numbers[96];
    std::snprintf(numbers, sizeof numbers, " %10.2f %14lld %14.3f\n", e.top1_percent(),
                  static_cast<long long>(weight_bytes[i]), e.ms_per_image());
    out += e.name + std::string(width - e.name.size(), ' ') + numbers;
  }
  return out;
}

void print_json(const nlohmann::json& line) {
  std::printf("%s\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

}  // namespace spnet::program
