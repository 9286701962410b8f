// Integer sums: what a product of codes gives, before it is scaled.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <vector>

#include "spnet/core/memory.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/ops/channel_totals.hpp"
#include "spnet/ops/elementwise.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {

/// Exact sums and what they stand for: value[..., c] = scale[c] · float(sums[..., c]).
struct Sums {
  Tensor<std::int32_t> sums;                                        ///< [...,C]
  Tensor<float> scale;                                              ///< [C]
  std::int64_t largest = std::numeric_limits<std::int32_t>::max();  ///< no sum's magnitude is larger
  /// [C], of all sums, where who made them counted; else empty.
  std::vector<ops::ChannelTotal, PoolAllocator<ops::ChannelTotal>> totals = {};
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

/// The totals of the channels: those that came with the sums, or else counted here.
inline decltype(Sums::totals) channel_totals(const Sums& s) {
  if (!s.totals.empty()) return s.totals;
  const std::int64_t channels = s.scale.size(), rows = s.sums.size() / std::max<std::int64_t>(channels, 1);
  decltype(Sums::totals) totals(static_cast<std::size_t>(channels));
  const Tensor<std::int32_t> dense = s.sums.contiguous();
  const std::int64_t band = chunk_count(kElementwiseChunk, std::max<std::int64_t>(channels, 1));
  std::mutex mutex;
  parallel_for_scratch<std::byte>(
      chunk_count(rows, band), detail::TotalsCounter::bytes(channels), [&](std::int64_t chunk, std::byte* memory) {
        detail::TotalsCounter counter(memory, channels, s.largest);
        counter.add(dense.data() + chunk * band * channels, channels, std::min(band, rows - chunk * band));
        const std::lock_guard lock(mutex);
        counter.add_to(totals.data());
      });
  return totals;
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
