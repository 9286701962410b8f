// How precisely convolutions multiply floats.
#pragma once

#include <atomic>
#include <string_view>

#include "spnet/core/error.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

/// What stands for a float32 in products, whose sums are float32 always: itself; the sum of two bf16, whose
/// lower ones need not meet; or one bf16. ‖Δ‖/‖y‖ against float64 stays below 1e-5 with kHigh and below 6e-3 with
/// kMedium, unless sums cancel.
enum class Float32Precision { kHighest, kHigh, kMedium };

/// The least precision of products of floats, of codes with floats, and of their gradients: for machines with fast
/// products of bf16, without effect on others, nor on depthwise convolutions. kHighest by default. Integers of 8 bits
/// that codes stand for are exact in any case. With kMedium the gradient of a norm may be rounded where it is made, for a
/// convolution that would round it. Below kHighest Winograd's filtering is not used. What is not finite
/// stays so, though as NaN where infinities meet zeros or lower parts, and may spoil gradients of weights beside its
/// own; beyond bf16's largest number, 3.39e38, floats count as infinite. A packed convolution keeps the precision that
/// it was packed with.
inline std::atomic<Float32Precision>& float32_matmul_precision() {
  static std::atomic<Float32Precision> precision{Float32Precision::kHighest};
  return precision;
}

/// The precision that PyTorch calls "highest", "high" or "medium". Throws ValueError on another name.
inline Float32Precision parse_float32_precision(std::string_view name) {
  if (name == "highest") return Float32Precision::kHighest;
  if (name == "high") return Float32Precision::kHigh;
  check<ValueError>(name == "medium", "float32_matmul_precision: '", name, "' given, expected highest, high or medium");
  return Float32Precision::kMedium;
}

/// Sets float32_matmul_precision(), which is the whole program's, as long as it lives.
class Float32PrecisionGuard {
 public:
  explicit Float32PrecisionGuard(Float32Precision precision) : before_(float32_matmul_precision().exchange(precision)) {}
  Float32PrecisionGuard(const Float32PrecisionGuard&) = delete;
  Float32PrecisionGuard& operator=(const Float32PrecisionGuard&) = delete;
  ~Float32PrecisionGuard() { float32_matmul_precision() = before_; }

 private:
  Float32Precision before_;
};

}  // namespace ops
}  // namespace v0
}  // namespace spnet
