// Batch statistics of integer sums, exact: no order of addition and no instruction set changes a bit of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "spnet/kernels/dispatch.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

/// Integers of 128 bits.
__extension__ typedef unsigned __int128 Square;

/// Σ s and Σ s² of one channel's int32 sums; exact for up to 2^31 of them.
struct ChannelTotal {
  Square squares = 0;
  std::int64_t sum = 0;

  ChannelTotal& operator+=(const ChannelTotal& other) {
    squares += other.squares;
    sum += other.sum;
    return *this;
  }
  double mean(std::int64_t count) const { return static_cast<double>(sum) / static_cast<double>(count); }
  /// Biased; rounded only in the end, however large the mean is against the deviation.
  double variance(std::int64_t count) const {
    const Square magnitude = static_cast<Square>(sum < 0 ? -sum : sum), n = static_cast<Square>(count);
    const double scaled = static_cast<double>(n * squares - magnitude * magnitude);
    return scaled / static_cast<double>(count) / static_cast<double>(count);
  }
};

namespace detail {

/// Adds up the totals of some channels, in memory of the caller's.
class TotalsCounter {
 public:
  static std::int64_t bytes(std::int64_t channels) {
    return channels * static_cast<std::int64_t>(sizeof(ChannelTotal) + sizeof(std::int64_t) + sizeof(std::uint64_t));
  }
  /// Of sums of at most `largest` magnitude; `memory` is aligned as ChannelTotal.
  TotalsCounter(std::byte* memory, std::int64_t channels, std::int64_t largest)
      : totals_(reinterpret_cast<ChannelTotal*>(memory)),
        sums_(reinterpret_cast<std::int64_t*>(totals_ + channels)),
        squares_(reinterpret_cast<std::uint64_t*>(sums_ + channels)),
        channels_(channels),
        most_pixels_(most_pixels(largest)) {
    std::fill_n(totals_, channels, ChannelTotal{});
  }
  /// Of pixels `step` sums apart.
  void add(const std::int32_t* y, std::int64_t step, std::int64_t pixels) {
    for (std::int64_t p = 0; p < pixels; p += most_pixels_) {
      kernels::active().codes.totals(
          {y + p * step, step, std::min(most_pixels_, pixels - p), channels_, sums_, squares_});
      for (std::int64_t c = 0; c < channels_; ++c) totals_[c] += {squares_[c], sums_[c]};
    }
  }
  void add_to(ChannelTotal* totals) const {
    for (std::int64_t c = 0; c < channels_; ++c) totals[c] += totals_[c];
  }

 private:
  // Those whose magnitudes surely fit int32, and squares uint64, when they are summed.
  static std::int64_t most_pixels(std::int64_t largest) {
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    const std::int64_t bound = std::clamp<std::int64_t>(largest, 1, kMost);
    return kMost / bound;
  }

  ChannelTotal* totals_;
  std::int64_t* sums_;
  std::uint64_t* squares_;
  std::int64_t channels_, most_pixels_;
};

}  // namespace detail

}  // namespace ops
}  // namespace v0
}  // namespace spnet
