// The transformations of Winograd's minimal filtering F(2×2, 3×3), written once for every instruction set: see
// conv_body.hpp. Lanes are channels.
#pragma once

#include <algorithm>
#include <cstdint>

#include "spnet/kernels/conv.hpp"
#include "spnet/kernels/conv_body.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::body {

// Bᵀ d of one column of a tile's channels from c on; where not kWhole, what lies outside the image is zero.
template <class I, bool kWhole>
SPNET_INLINE void winograd_input_column(typename I::Vector (&column)[4], const WinogradInputArgs& a, std::int64_t col,
                                        std::int64_t c) {
  typename I::Vector d[4];
  SPNET_UNROLL for (int r = 0; r < 4; ++r) {
    I::zero(d[r]);
    if (kWhole || (a.rows[r] && col >= 0 && col < a.cols)) I::load(d[r], a.rows[r] + col * a.step + c);
  }
  column[0] = d[0] - d[2];
  column[1] = d[1] + d[2];
  column[2] = d[2] - d[1];
  column[3] = d[1] - d[3];
}

// Bᵀ d B of a tile, of whose columns the first two are there: they are the last two of the tile before.
template <class I, bool kWhole>
SPNET_INLINE void winograd_input_tile(typename I::Vector (&columns)[4][4], const WinogradInputArgs& a,
                                      std::int64_t tile, std::int64_t c) {
  winograd_input_column<I, kWhole>(columns[2], a, a.col + 2 * tile + 2, c);
  winograd_input_column<I, kWhole>(columns[3], a, a.col + 2 * tile + 3, c);
  float* const to = a.out + tile * a.out_step + c;
  SPNET_UNROLL for (int r = 0; r < 4; ++r) {
    I::store(to + (4 * r + 0) * a.out_position, columns[0][r] - columns[2][r]);
    I::store(to + (4 * r + 1) * a.out_position, columns[1][r] + columns[2][r]);
    I::store(to + (4 * r + 2) * a.out_position, columns[2][r] - columns[1][r]);
    I::store(to + (4 * r + 3) * a.out_position, columns[1][r] - columns[3][r]);
    columns[0][r] = columns[2][r];
    columns[1][r] = columns[3][r];
  }
}

template <class I>
SPNET_INLINE void winograd_input(const WinogradInputArgs& a) {
  // Tiles [first, last) lie within the image.
  const bool all_rows = a.rows[0] && a.rows[1] && a.rows[2] && a.rows[3];
  const std::int64_t first = all_rows ? std::min((std::max<std::int64_t>(-a.col, 0) + 1) / 2, a.tiles) : a.tiles;
  const std::int64_t last = std::clamp((a.cols - a.col - 2) / 2, first, a.tiles);
  for (std::int64_t c = 0; c < a.channels; c += I::kLanes) {
    typename I::Vector columns[4][4];
    winograd_input_column<I, false>(columns[0], a, a.col, c);
    winograd_input_column<I, false>(columns[1], a, a.col + 1, c);
    std::int64_t tile = 0;
    for (; tile < first; ++tile) winograd_input_tile<I, false>(columns, a, tile, c);
    for (; tile < last; ++tile) winograd_input_tile<I, true>(columns, a, tile, c);
    for (; tile < a.tiles; ++tile) winograd_input_tile<I, false>(columns, a, tile, c);
  }
}

// Aᵀ m A: the outputs of a tile that exist.
template <class I>
SPNET_INLINE void winograd_output(const WinogradOutputArgs& a) {
  using V = typename I::Vector;
  for (std::int64_t tile = 0; tile < a.tiles; ++tile) {
    for (std::int64_t c = 0; c < a.channels; c += I::kLanes) {
      const float* const from = a.in + tile * a.in_step + c;
      V rows[2][4];  // Aᵀ m
      SPNET_UNROLL for (int k = 0; k < 4; ++k) {
        V m[4];
        SPNET_UNROLL for (int r = 0; r < 4; ++r) I::load(m[r], from + (4 * r + k) * a.in_position);
        rows[0][k] = m[0] + m[1] + m[2];
        rows[1][k] = m[1] - m[2] - m[3];
      }
      SPNET_UNROLL for (int r = 0; r < 2; ++r) {
        if (!a.rows[r]) continue;
        float* const to = a.rows[r] + 2 * tile * a.step + c;
        I::store(to, rows[r][0] + rows[r][1] + rows[r][2]);
        if (2 * tile + 1 < a.cols) I::store(to + a.step, rows[r][1] - rows[r][2] - rows[r][3]);
      }
    }
  }
}

// A g Aᵀ, the transpose of winograd_output; outputs that do not exist have no gradient.
template <class I>
SPNET_INLINE void winograd_gradient(const WinogradGradientArgs& a) {
  using V = typename I::Vector;
  for (std::int64_t tile = 0; tile < a.tiles; ++tile) {
    for (std::int64_t c = 0; c < a.channels; c += I::kLanes) {
      V rows[4][2];  // A g
      SPNET_UNROLL for (int k = 0; k < 2; ++k) {
        V g[2];
        SPNET_UNROLL for (int r = 0; r < 2; ++r) {
          I::zero(g[r]);
          if (a.rows[r] && 2 * tile + k < a.cols) I::load(g[r], a.rows[r] + (2 * tile + k) * a.step + c);
        }
        rows[0][k] = g[0];
        rows[1][k] = g[0] + g[1];
        rows[2][k] = g[0] - g[1];
        rows[3][k] = -g[1];
      }
      float* const to = a.out + tile * a.out_step + c;
      SPNET_UNROLL for (int r = 0; r < 4; ++r) {
        I::store(to + (4 * r + 0) * a.out_position, rows[r][0]);
        I::store(to + (4 * r + 1) * a.out_position, rows[r][0] + rows[r][1]);
        I::store(to + (4 * r + 2) * a.out_position, rows[r][0] - rows[r][1]);
        I::store(to + (4 * r + 3) * a.out_position, -rows[r][1]);
      }
    }
  }
}

// G g Gᵀ of every one of `count` kernels g, tap by tap.
template <class I>
SPNET_INLINE void winograd_weights(const WinogradWeightsArgs& a) {
  using V = typename I::Vector;
  for (std::int64_t i = 0; i < a.count; i += I::kLanes) {
    V rows[4][3];  // G g
    SPNET_UNROLL for (int k = 0; k < 3; ++k) {
      V g[3];
      SPNET_UNROLL for (int r = 0; r < 3; ++r) I::load(g[r], a.taps + (3 * r + k) * a.count + i);
      const V outer = 0.5f * (g[0] + g[2]), inner = 0.5f * g[1];
      rows[0][k] = g[0];
      rows[1][k] = outer + inner;
      rows[2][k] = outer - inner;
      rows[3][k] = g[2];
    }
    SPNET_UNROLL for (int r = 0; r < 4; ++r) {
      const V outer = 0.5f * (rows[r][0] + rows[r][2]), inner = 0.5f * rows[r][1];
      float* const to = a.positions + 4 * r * a.count + i;
      I::store(to, rows[r][0]);
      I::store(to + a.count, outer + inner);
      I::store(to + 2 * a.count, outer - inner);
      I::store(to + 3 * a.count, rows[r][2]);
    }
  }
}

// Gᵀ s G of every one of `count` sums, the transpose of winograd_weights.
template <class I>
SPNET_INLINE void winograd_weight_grad(const WinogradWeightGradArgs& a) {
  using V = typename I::Vector;
  for (std::int64_t i = 0; i < a.count; i += I::kLanes) {
    V rows[3][4];  // Gᵀ s
    SPNET_UNROLL for (int k = 0; k < 4; ++k) {
      V s[4];
      SPNET_UNROLL for (int r = 0; r < 4; ++r) I::load(s[r], a.positions + (4 * r + k) * a.position + i);
      const V half = 0.5f * (s[1] + s[2]);
      rows[0][k] = s[0] + half;
      rows[1][k] = 0.5f * (s[1] - s[2]);
      rows[2][k] = half + s[3];
    }
    SPNET_UNROLL for (int r = 0; r < 3; ++r) {
      const V half = 0.5f * (rows[r][1] + rows[r][2]);
      float* const to = a.taps + 3 * r * a.tap + i;
      I::store(to, rows[r][0] + half);
      I::store(to + a.tap, 0.5f * (rows[r][1] - rows[r][2]));
      I::store(to + 2 * a.tap, half + rows[r][3]);
    }
  }
}

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
