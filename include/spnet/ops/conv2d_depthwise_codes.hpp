// Depthwise convolution of codes, summed exactly in int32.
#pragma once

#include <cstdint>
#include <iterator>
#include <limits>
#include <mutex>

#include "spnet/ops/conv2d_depthwise.hpp"
#include "spnet/ops/conv2d_integer.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

/// All groups of a depthwise convolution of codes; weights w[channel * w_step + tap.weight]. In the terms of
/// conv2d_integer.hpp: Σ A·W = Σ a·(αa·W) − za · Σ W.
class IntegerDepthwise {
 public:
  /// True where every αa·W fits int16.
  static bool takes(const AffineCodes& x, const AffineCodes& w) {
    return std::abs(std::int64_t{x.step}) * IntegerRange(w).largest() <= std::numeric_limits<std::int16_t>::max();
  }
  IntegerDepthwise(const Correlation& c, std::int64_t w_step, const AffineCodes& x_map, const std::uint8_t* w,
                   const AffineCodes& w_map)
      : c_(c), tasks_(c), pairs_(c, c.phases[0]) {
    const auto integer = [&](std::int64_t i, const Tap& tap) {
      return w_map.step * w[i * w_step + tap.weight] - w_map.zero_point;
    };
    packed_ = pack_depthwise<std::int32_t>(
        c, c.phases[0], [&](std::int64_t i, const Tap& tap) { return x_map.step * integer(i, tap); });
    if (x_map.zero_point == 0) return;
    const TapSpans& spans = pairs_.spans();
    spans.for_each_pair([&](const TapSpan& rows, const TapSpan& cols, std::size_t) {
      for (std::int64_t i = 0; i < c.channels; ++i) {
        std::int32_t sum = 0;
        spans.for_each_tap(c.phases[0], rows, cols, [&](std::int64_t, const Tap& tap) { sum += integer(i, tap); });
        offsets_.push_back(-x_map.zero_point * sum);
      }
    });
  }
  /// Adds the totals of the sums, none of a magnitude above `largest`, where they are asked for.
  void operator()(const std::uint8_t* x, std::int32_t* y, std::int64_t largest, ChannelTotal* totals = nullptr) const {
    std::mutex mutex;
    parallel_for_scratch<std::byte>(
        tasks_.count, totals ? TotalsCounter::bytes(c_.channels) : 0, [&](std::int64_t task, std::byte* memory) {
          const std::int64_t n = task / tasks_.bands, first = task % tasks_.bands * tasks_.band;
          const std::int64_t last = std::min(first + tasks_.band, c_.phases[0].rows);
          multiply(x, n, first, last, y + n * c_.y_image, 0);
          if (!totals) return;
          TotalsCounter counter(memory, c_.channels, largest);
          counter.add(y + n * c_.y_image + first * c_.y_row, c_.y_step, (last - first) * c_.phases[0].cols);
          const std::lock_guard lock(mutex);
          counter.add_to(totals);
        });
  }
  /// As IntegerCorrelation.
  template <class Consume>
  void for_each_block(const std::uint8_t* x, const Consume& consume) const {
    const std::int64_t cols = c_.phases[0].cols;
    // Few rows at a time, so that their sums stay in the first-level cache.
    const std::int64_t rows = std::clamp<std::int64_t>(kBlockSums / (c_.y_row), 1, tasks_.band);
    parallel_for_scratch<std::int32_t>(tasks_.count, rows * c_.y_row, [&](std::int64_t task, std::int32_t* sums) {
      const std::int64_t n = task / tasks_.bands, begin = task % tasks_.bands * tasks_.band;
      const std::int64_t end = std::min(begin + tasks_.band, c_.phases[0].rows);
      for (std::int64_t first = begin; first < end; first += rows) {
        const std::int64_t last = std::min(first + rows, end);
        multiply(x, n, first, last, sums, first * c_.y_row);
        consume(SumsBlock{sums, c_.y_step, n, first * cols, (last - first) * cols, 0, c_.channels});
      }
    });
  }
  /// Of the packed weights.
  std::int64_t bytes() const { return static_cast<std::int64_t>(packed_.size_bytes()); }

 private:
  static constexpr std::int64_t kBlockSums = 4096;

  // Rows [first, last) of image n to y, from `skipped` sums on.
  void multiply(const std::uint8_t* x, std::int64_t n, std::int64_t first, std::int64_t last, std::int32_t* y,
                std::int64_t skipped) const {
    const auto depthwise = kernels::active().codes.depthwise;
    const Phase& phase = c_.phases[0];
    const std::uint8_t* const from = x + n * c_.in_rows * c_.in_cols * c_.in_step;
    pairs_(first, last, [&](const TapSpan& rows, const TapSpan& cols, const auto& taps, std::int64_t pair) {
      const std::int32_t* const initial = offsets_.empty() ? nullptr : offsets_.data() + pair * c_.channels;
      for_each_line(c_, phase, rows, cols, 1, 0, 0, [&](const Line& line) {
        depthwise({from + line.x, line.x_step, line.pixels, taps.data(), std::ssize(taps),
                   static_cast<const std::int32_t*>(packed_.data()), std::ssize(phase.taps) * kBlock, initial,
                   c_.channels, y + (line.y - skipped), line.y_step});
      });
    });
  }

  Correlation c_;
  DepthwiseTasks tasks_;
  DepthwisePairs pairs_;
  Buffer packed_;
  PoolVector<std::int32_t> offsets_;  // [pair of spans][channel]
};

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
