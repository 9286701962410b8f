// Learned scales, one set for each bit-width, that start from the first data they see.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "spnet/ops/quantize_scaled.hpp"
#include "spnet/quant/quantizer.hpp"
#include "spnet/quant/widths.hpp"

namespace spnet {
inline namespace v0 {

/// A trained scale, [1] or one for each filter. Zero means not started yet: in training it starts from the first data,
/// in evaluation it is computed from the data and not kept. Its magnitude, at least kSmallest, is what counts, so that
/// no step of an optimizer makes it useless.
class LearnedScale {
 public:
  static constexpr float kSmallest = 1e-10f;

  explicit LearnedScale(std::int64_t channels) : variable_(Tensor<float>::zeros({channels}), true) {}
  const Variable<float>& variable() const { return variable_; }
  const Variable<float>* address() const { return &variable_; }

  /// False where one is zero still.
  bool is_started() const {
    const auto values = variable_.value().span();
    return std::find(values.begin(), values.end(), 0.0f) == values.end();
  }
  /// The scales in use, if started. Throws NumericError where one is not finite.
  Tensor<float> magnitude(const char* quantizer) const {
    Tensor<float> scale = variable_.value().clone();
    for (float& s : scale.span()) {
      check<NumericError>(std::isfinite(s), "quantize: a learned scale of ", quantizer, " is ", s);
      s = std::max(std::abs(s), kSmallest);
    }
    return scale;
  }
  /// The scales to use for `x`, where a fresh scale is factor·mean|x|. Throws as `magnitude`.
  Tensor<float> use(const char* quantizer, const Tensor<float>& x, float factor, bool training) {
    Tensor<float> scale = magnitude(quantizer);
    if (is_started()) return scale;
    const Tensor<float> start = ops::mean_abs(x, scale.size());
    for (std::int64_t i = 0; i < scale.size(); ++i) {
      if (variable_.value().data()[i] != 0.0f) continue;
      const float first = std::isfinite(start.data()[i]) ? factor * start.data()[i] : 0.0f;
      if (training) variable_.value().data()[i] = first;
      scale.data()[i] = first == 0.0f ? 1.0f : std::max(first, kSmallest);  // 1 for a tensor of zeros
    }
    return scale;
  }

  /// Turns the gradient of the used scale into that of the variable.
  Tensor<float> through_magnitude(Tensor<float> gradient) const {
    for (std::int64_t i = 0; i < gradient.size(); ++i)
      if (variable_.value().data()[i] < 0) gradient.data()[i] = -gradient.data()[i];
    return gradient;
  }

 private:
  Variable<float> variable_;
};

/// Learned scales for a list of widths.
class LearnedScales {
 public:
  /// An empty list stands for 1..8.
  LearnedScales(const std::vector<int>& widths, std::int64_t channels) : widths_(detail::all_if_empty(widths)) {
    scales_.reserve(widths_.size());
    for (std::size_t i = 0; i < widths_.size(); ++i) scales_.emplace_back(channels);
  }
  /// Throws ValueError, naming `quantizer`, where `bits` is not in the list.
  LearnedScale& at(const char* quantizer, int bits) { return scales_[index(quantizer, bits)]; }
  const LearnedScale& at(const char* quantizer, int bits) const { return scales_[index(quantizer, bits)]; }
  /// "scale.2" and the like.
  void append_to(std::vector<Quantizer::NamedParameter>& out) const {
    for (std::size_t i = 0; i < widths_.size(); ++i)
      out.push_back({"scale." + std::to_string(widths_[i]), scales_[i].variable(), widths_[i]});
  }

 private:
  std::size_t index(const char* quantizer, int bits) const { return detail::width_index(quantizer, widths_, bits); }

  std::vector<int> widths_;
  std::vector<LearnedScale> scales_;
};

}  // namespace v0
}  // namespace spnet
