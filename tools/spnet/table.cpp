#include "table.hpp"

#include <cstdio>

namespace spnet::program {

std::string evaluation_table(const std::vector<train::Evaluation>& evaluations,
                             const std::vector<std::int64_t>& weight_bytes) {
  std::string out = "switch      top-1 %   weight bytes   ms per image\n";
  for (std::size_t i = 0; i < evaluations.size(); ++i) {
    const auto& e = evaluations[i];
    char line[96];
    std::snprintf(line, sizeof line, "%-8s %10.2f %14lld %14.3f\n", to_string(e.precision).c_str(), e.top1_percent(),
                  static_cast<long long>(weight_bytes[i]), e.ms_per_image());
    out += line;
  }
  return out;
}

}  // namespace spnet::program
