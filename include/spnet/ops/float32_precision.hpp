// How precisely convolutions multiply floats.
#pragma once

#include <atomic>

namespace spnet {
inline namespace v0 {
namespace ops {

/// Products of float32 themselves; of each float as the sum of two bf16 (but for the product of both lower ones); or of
/// floats rounded to bf16. Sums are float32 always. Against float64, ‖Δ‖/‖y‖ is about 3e-6 with kHigh, 3e-3 with
/// kMedium.
enum class Float32Precision { kHighest, kHigh, kMedium };

/// The least precision that convolutions of floats and of codes with floats may have, and their gradients: for machines
/// with fast bf16 products, and without effect on others, and on depthwise convolutions. kHighest by default. Codes of
/// up to 8 bits are exact in any case. Below kHighest Winograd's filtering is not used; what is not finite gives what
/// is not finite, though NaN where infinities meet zeros or lower parts, and finite numbers beyond bf16's largest
/// (3.39e38) count as infinite. A packed convolution keeps the precision that it was packed with.
inline std::atomic<Float32Precision>& float32_matmul_precision() {
  static std::atomic<Float32Precision> precision{Float32Precision::kHighest};
  return precision;
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
