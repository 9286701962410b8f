// Integer sums: what a product of codes gives, before it is scaled.
#pragma once

#include <cstdint>

#include "spnet/core/parallel.hpp"
#include "spnet/ops/elementwise.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {

/// Exact sums and what they stand for: value[..., c] = scale[c] · float(sums[..., c]).
struct Sums {
  Tensor<std::int32_t> sums;  ///< [...,C]
  Tensor<float> scale;        ///< [C]
};

namespace ops {

/// The values that the sums stand for, in float.
inline Tensor<float> decode(const Sums& s) {
  const std::int64_t channels = s.scale.size();
  Tensor<float> values(s.sums.shape());
  if (values.size() == 0) return values;
  const std::int32_t* from = s.sums.span().data();
  const float* scale = s.scale.span().data();
  float* to = values.data();
  parallel_ranges(values.size() / channels, chunk_count(kElementwiseChunk, channels),
                  [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t row = begin; row < end; ++row)
                      for (std::int64_t c = 0; c < channels; ++c)
                        to[row * channels + c] = scale[c] * static_cast<float>(from[row * channels + c]);
                  });
  return values;
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
