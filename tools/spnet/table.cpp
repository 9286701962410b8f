#include "table.hpp"

#include <cstdio>

#include "spnet/nn/size.hpp"

namespace spnet::program {

std::string evaluation_table(const nn::Module& model, const std::vector<train::Evaluation>& evaluations) {
  std::string out = "switch      top-1 %   weight bytes   ms per image\n";
  for (const auto& e : evaluations) {
    char line[96];
    std::snprintf(line, sizeof line, "%-8s %10.2f %14lld %14.3f\n", to_string(e.precision).c_str(), e.top1_percent(),
                  static_cast<long long>(nn::model_size_bytes(model, e.precision)), e.ms_per_image());
    out += line;
  }
  return out;
}

}  // namespace spnet::program
