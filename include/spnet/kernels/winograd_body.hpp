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

// Bᵀ d B of one tile's channels from c on; where not kWhole, what lies outside the image is zero.
template <class I, bool kWhole>
SPNET_INLINE void winograd_input_vector(const WinogradInputArgs& a, std::int64_t tile, std::int64_t c) {
  using V = typename I::Vector;
  const std::int64_t col = a.col + 2 * tile;
  V rows[4][4];  // Bᵀ d
  SPNET_UNROLL for (int k = 0; k < 4; ++k) {
    V d[4];
    SPNET_UNROLL for (int r = 0; r < 4; ++r) {
      I::zero(d[r]);
      if (kWhole || (a.rows[r] && col + k >= 0 && col + k < a.cols)) I::load(d[r], a.rows[r] + (col + k) * a.step + c);
    }
    rows[0][k] = d[0] - d[2];
    rows[1][k] = d[1] + d[2];
    rows[2][k] = d[2] - d[1];
    rows[3][k] = d[1] - d[3];
  }
  float* const to = a.out + tile * a.out_step + c;
  SPNET_UNROLL for (int r = 0; r < 4; ++r) {
    I::store(to + (4 * r + 0) * a.out_position, rows[r][0] - rows[r][2]);
    I::store(to + (4 * r + 1) * a.out_position, rows[r][1] + rows[r][2]);
    I::store(to + (4 * r + 2) * a.out_position, rows[r][2] - rows[r][1]);
    I::store(to + (4 * r + 3) * a.out_position, rows[r][1] - rows[r][3]);
  }
}

template <class I>
SPNET_INLINE void winograd_input(const WinogradInputArgs& a) {
  const bool all_rows = a.rows[0] && a.rows[1] && a.rows[2] && a.rows[3];
  for (std::int64_t tile = 0; tile < a.tiles; ++tile) {
    const std::int64_t col = a.col + 2 * tile;
    if (all_rows && col >= 0 && col + 4 <= a.cols) {
      for (std::int64_t c = 0; c < a.channels; c += I::kLanes) winograd_input_vector<I, true>(a, tile, c);
    } else {
      for (std::int64_t c = 0; c < a.channels; c += I::kLanes) winograd_input_vector<I, false>(a, tile, c);
    }
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

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
