// Accuracy.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "spnet/core/error.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {
namespace train {

/// Number of rows of `logits` [N,K] whose first highest entry is the label [N]. Throws ShapeError on other shapes,
/// NumericError on logits that are not finite.
inline std::int64_t count_correct(const Tensor<float>& logits, const Tensor<std::int32_t>& labels) {
  check<ShapeError>(logits.rank() == 2 && labels.rank() == 1 && logits.dim(0) == labels.dim(0),
                    "count_correct: logits ", logits.shape(), " and labels ", labels.shape(), " given, expected [N,K] and [N]");
  const Tensor<float> dense = logits.contiguous();
  const std::int64_t classes = dense.dim(1);
  std::int64_t correct = 0;
  for (std::int64_t i = 0; i < dense.dim(0); ++i) {
    const float* row = dense.data() + i * classes;
    check<NumericError>(std::all_of(row, row + classes, [](float v) { return std::isfinite(v); }), "the logits of image ", i,
                        " are not finite");
    correct += std::max_element(row, row + classes) - row == labels(i);
  }
  return correct;
}

}  // namespace train
}  // namespace v0
}  // namespace spnet
