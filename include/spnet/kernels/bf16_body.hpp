// The body of the bf16 product, written once for every instruction set: see conv_body.hpp. `I` supplies vectors of
// floats and of `Pairs` of bf16, `broadcast` and `dot`, the products of the elements of two pairs, summed.
#pragma once

#include <cstdint>

#include "spnet/kernels/bf16.hpp"
#include "spnet/kernels/conv_body.hpp"
#include "spnet/kernels/lanes.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::body {

// A tile of M pixels by N vectors of outputs stays in registers while the segments pass by.
template <class I, int M, int N>
SPNET_INLINE void bf16_tile(const Bf16ProductArgs& a, std::int64_t pixel) {
  using Pairs = typename I::Pairs;
  // A pointer for every four pixels: one for each would not stay in registers.
  constexpr int kFours = (M + 3) / 4;
  const std::int64_t step = a.x_step;
  const std::uint16_t* x[kFours];
  SPNET_UNROLL for (int f = 0; f < kFours; ++f) x[f] = a.x + (pixel + 4 * f) * step;
  typename I::Vector sum[M][N];
  SPNET_UNROLL for (int i = 0; i < M; ++i) { SPNET_UNROLL for (int j = 0; j < N; ++j) I::zero(sum[i][j]); }
  for (std::int64_t s = 0; s < a.segment_count; ++s) {
    const std::uint16_t* at[kFours];
    SPNET_UNROLL for (int f = 0; f < kFours; ++f) at[f] = x[f] + a.segments[s].offset;
    const std::uint16_t* w = a.w + a.segments[s].weights * (N * I::kLanes);
    for (std::int64_t pairs = a.segments[s].channels / 2; pairs > 0; --pairs) {
      Pairs row[N];
      SPNET_UNROLL for (int j = 0; j < N; ++j) {
        AllLanes{}.load(row[j], w);
        w += 2 * I::kLanes;
      }
      SPNET_UNROLL for (int i = 0; i < M; ++i) {
        Pairs pair;
        I::broadcast(pair, at[i / 4] + i % 4 * step);
        SPNET_UNROLL for (int j = 0; j < N; ++j) I::dot(sum[i][j], pair, row[j]);
      }
      SPNET_UNROLL for (int f = 0; f < kFours; ++f) at[f] += 2;
    }
  }
  store_tile<I, M, N>(sum, a.y + pixel * a.y_step, a.y_step, a.outputs, a.accumulate);
}

template <class I, int M, int N>
SPNET_INLINE void bf16_tile_of(const Bf16ProductArgs& a, std::int64_t pixel, std::int64_t size) {
  if (size == M) return bf16_tile<I, M, N>(a, pixel);
  if constexpr (M > 1) bf16_tile_of<I, M - 1, N>(a, pixel, size);
}

// Tiles of at most M pixels.
template <class I, int M, int N>
SPNET_INLINE void bf16_tiles(Bf16ProductArgs a) {
  for (std::int64_t line = 0; line < a.lines.count; ++line, a.x += a.lines.x, a.y += a.lines.y) {
    for (std::int64_t pixel = 0, size; pixel < a.pixels; pixel += size) {
      size = even_tile<M>(a.pixels - pixel);
      bf16_tile_of<I, M, N>(a, pixel, size);
    }
  }
}

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
