// Running statistics of quantizers whose ranges depend on the batch, one for each width.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "spnet/quant/quantizer.hpp"
#include "spnet/quant/widths.hpp"

namespace spnet {
inline namespace v0 {

/// A few running values for each of a list of widths, and whether any were seen.
class RunningRanges {
 public:
  static constexpr float kMomentum = 0.1f;  ///< share of the newest batch, as in batch norm

  /// An empty list of widths stands for 1..8.
  RunningRanges(const std::vector<int>& widths, std::vector<std::string> names)
      : widths_(detail::all_if_empty(widths)), names_(std::move(names)) {
    for (std::size_t i = 0; i < widths_.size(); ++i)
      values_.push_back(Tensor<float>::zeros({static_cast<std::int64_t>(names_.size() + 1)}));
  }

  /// Takes in the values of a training batch, one for each name. Throws ValueError, naming `quantizer`, on a width that
  /// is not in the list; so does `recall`.
  void take_in(const char* quantizer, int bits, std::span<const float> batch) {
    const std::span<float> running = values_[index(quantizer, bits)].span();
    float& seen = running[names_.size()];
    for (std::size_t i = 0; i < batch.size(); ++i)
      running[i] = seen != 0 ? running[i] + kMomentum * (batch[i] - running[i]) : batch[i];
    seen = 1;
  }
  /// Replaces `batch` with the running values; leaves it as it is where no batch was ever taken in.
  void recall(const char* quantizer, int bits, std::span<float> batch) const {
    const std::span<const float> running = values_[index(quantizer, bits)].span();
    if (running[names_.size()] != 0) std::copy_n(running.begin(), batch.size(), batch.begin());
  }
  /// "running_max.2": the values, then whether any were seen.
  std::vector<Quantizer::NamedBuffer> buffers() const {
    std::vector<Quantizer::NamedBuffer> out;
    std::string name;
    for (const auto& part : names_) name += (name.empty() ? "running_" : "_") + part;
    for (std::size_t i = 0; i < widths_.size(); ++i)
      out.push_back({name + "." + std::to_string(widths_[i]), values_[i]});
    return out;
  }

 private:
  std::size_t index(const char* quantizer, int bits) const { return detail::width_index(quantizer, widths_, bits); }

  std::vector<int> widths_;
  std::vector<std::string> names_;
  std::vector<Tensor<float>> values_;
};

}  // namespace v0
}  // namespace spnet
