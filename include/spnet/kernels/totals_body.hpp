// The body of the sums over pixels that batch statistics come from, under the rules of lanes.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "spnet/kernels/integer.hpp"
#include "spnet/kernels/integer_body.hpp"
#include "spnet/kernels/lanes.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::body {

// N vectors of channels from `first` on, of which `width` exist.
template <class I, int N, class Move>
SPNET_INLINE void totals_of(const TotalsArgs& a, std::int64_t first, std::int64_t width, const Move& move) {
  using V = typename I::Vector;
  using Wide = typename I::Wide;
  V sum[N];
  Wide even[N], odd[N];
  SPNET_UNROLL for (int j = 0; j < N; ++j) {
    sum[j] = V{};
    even[j] = odd[j] = Wide{};
  }
  const std::int32_t* y = a.y + first;
  for (std::int64_t p = 0; p < a.pixels; ++p, y += a.step) {
    SPNET_UNROLL for (int j = 0; j < N; ++j) {
      V v;
      move.load(v, y + j * I::kLanes);
      add_modulo<I>(sum[j], v);
      Wide squares;
      I::square_even(squares, v);
      even[j] += squares;
      I::square_even(squares, reinterpret_cast<V>(reinterpret_cast<Wide>(v) >> 32));
      odd[j] += squares;
    }
  }
  for (std::int64_t i = 0; i < width; ++i) {
    const std::int64_t j = i / I::kLanes, lane = i % I::kLanes;
    a.sums[first + i] = sum[j][lane];
    a.squares[first + i] = (lane % 2 == 0 ? even : odd)[j][lane / 2];
  }
}

template <class I>
SPNET_INLINE void totals(const TotalsArgs& a) {
  constexpr int kLanes = I::kLanes;
  std::int64_t c = 0;
  for (; c + 4 * kLanes <= a.channels; c += 4 * kLanes) totals_of<I, 4>(a, c, 4 * kLanes, AllLanes{});
  for (; c + kLanes <= a.channels; c += kLanes) totals_of<I, 1>(a, c, kLanes, AllLanes{});
  if (c < a.channels) totals_of<I, 1>(a, c, a.channels - c, FirstLanes{static_cast<std::size_t>(a.channels - c)});
}

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
