// The bodies of the convolution kernels, written once for every instruction set. `I` supplies a vector type and four
// operations on it. The functions carry no target attribute and take no vector by value: they are inlined, always,
// into functions that have one, and compiled for its instruction set.
#pragma once

#include <bit>
#include <cstdint>

#include "spnet/kernels/conv.hpp"

#if defined(__clang__)
#define SPNET_UNROLL _Pragma("unroll")
#else
#define SPNET_UNROLL _Pragma("GCC unroll 32")
#endif
#define SPNET_INLINE [[gnu::always_inline]] inline

namespace spnet {
inline namespace v0 {
namespace kernels::body {

// Writes a tile's sums of M pixels by N vectors, of which the first `outputs` exist, or adds them to what is there.
template <class I, int M, int N>
SPNET_INLINE void store_tile(typename I::Vector (&sum)[M][N], float* y, std::int64_t y_step, std::int64_t outputs,
                             bool accumulate, [[maybe_unused]] bool stream = false) {
  constexpr int kLanes = I::kLanes;
  if constexpr (requires { I::stream(y, sum[0][0]); }) {
    if (stream && outputs == N * kLanes) {
      SPNET_UNROLL for (int i = 0; i < M; ++i) {
        SPNET_UNROLL for (int j = 0; j < N; ++j) I::stream(y + i * y_step + j * kLanes, sum[i][j]);
      }
      return;
    }
  }
  if (outputs == N * kLanes) {
    SPNET_UNROLL for (int i = 0; i < M; ++i) {
      SPNET_UNROLL for (int j = 0; j < N; ++j) {
        float* to = y + i * y_step + j * kLanes;
        if (accumulate) {
          typename I::Vector before;
          I::load(before, to);
          I::add(sum[i][j], before);
        }
        I::store(to, sum[i][j]);
      }
    }
    return;
  }
  float lanes[M][N * kLanes];
  SPNET_UNROLL for (int i = 0; i < M; ++i) {
    SPNET_UNROLL for (int j = 0; j < N; ++j) I::store(&lanes[i][j * kLanes], sum[i][j]);
  }
  for (int i = 0; i < M; ++i, y += y_step) {
    for (std::int64_t o = 0; o < outputs; ++o) y[o] = accumulate ? y[o] + lanes[i][o] : lanes[i][o];
  }
}

// What tiles ask for on their way, as much in each step of their sums: nothing, or the weights behind those of the
// product.
struct NothingAhead {
  SPNET_INLINE void operator()() const {}
};
struct WeightsAhead {
  std::uintptr_t at;  // perhaps behind all weights
  std::uintptr_t step;

  SPNET_INLINE WeightsAhead(const ProductArgs& a, int tile) {
    const Segment& last = a.segments[a.segment_count - 1];
    const std::int64_t tiles = (a.pixels + tile - 1) / tile;
    at = reinterpret_cast<std::uintptr_t>(a.w.data + (last.weights + last.channels) * a.w.unit);
    step = static_cast<std::uintptr_t>(a.w.step) * sizeof(float) / static_cast<std::uintptr_t>(tiles);
  }
  SPNET_INLINE void operator()() {
    __builtin_prefetch(reinterpret_cast<const void*>(at), 0, 2);
    at += step;
  }
};

// A tile of M pixels by N vectors of outputs stays in registers while the segments pass by.
template <class I, int M, int N, bool kBlocked, class Ahead = NothingAhead>
SPNET_INLINE void product_tile(const ProductArgs& a, std::int64_t pixel, Ahead&& ahead = {}) {
  using V = typename I::Vector;
  constexpr int kLanes = I::kLanes;
  const std::int64_t step = kBlocked ? kBlock : a.x_step;
  const float* x = a.x + pixel * step;
  V sum[M][N];
  SPNET_UNROLL for (int i = 0; i < M; ++i) {
    SPNET_UNROLL for (int j = 0; j < N; ++j) I::zero(sum[i][j]);
  }
  for (std::int64_t s = 0; s < a.segment_count; ++s) {
    const float* at = x + a.segments[s].offset;
    const float* w = a.w.data + a.segments[s].weights * a.w.unit;
    for (const float* end = at + a.segments[s].channels; at != end; ++at) {
      V row[N];
      SPNET_UNROLL for (int j = 0; j < N; ++j) I::load(row[j], w + j * kLanes);
      w += a.w.step;
      ahead();
      SPNET_UNROLL for (int i = 0; i < M; ++i) {
        const float value = at[i * step];
        SPNET_UNROLL for (int j = 0; j < N; ++j) I::multiply_add(sum[i][j], row[j], value);
      }
    }
  }
  store_tile<I, M, N>(sum, a.y + pixel * a.y_step, a.y_step, a.outputs, a.accumulate, a.stream);
}

template <class I, int M, int N, bool kBlocked>
SPNET_INLINE void product_tiles(const ProductArgs& a, std::int64_t& pixel) {
  for (; a.pixels - pixel >= M; pixel += M) product_tile<I, M, N, kBlocked>(a, pixel);
}

template <class I, int M, int N, class Ahead>
SPNET_INLINE void product_tile_of(const ProductArgs& a, std::int64_t pixel, std::int64_t size, Ahead& ahead) {
  if (size == M) return product_tile<I, M, N, false>(a, pixel, ahead);
  if constexpr (M > 1) product_tile_of<I, M - 1, N>(a, pixel, size, ahead);
}

// The size of the next tile of at most M, where `left` pixels are left: tiles are as equal as can be, for a small one at
// the end of a row would leave most of the machine idle.
template <int M>
SPNET_INLINE std::int64_t even_tile(std::int64_t left) {
  const std::int64_t tiles = (left + M - 1) / M;
  return (left + tiles - 1) / tiles;
}

template <class I, int M, int N>
SPNET_INLINE void even_product_tiles(const ProductArgs& a, auto&& ahead) {
  for (std::int64_t pixel = 0, size; pixel < a.pixels; pixel += size) {
    size = even_tile<M>(a.pixels - pixel);
    product_tile_of<I, M, N>(a, pixel, size, ahead);
  }
}
// Of full panels, which may have others behind them, and of narrower ones.
template <class I, int M, int N>
SPNET_INLINE void even_product_tiles(const ProductArgs& a) {
  if constexpr (N > 1) {
    if (a.next && a.segment_count > 0) return even_product_tiles<I, M, N>(a, WeightsAhead(a, M));
  }
  even_product_tiles<I, M, N>(a, NothingAhead());
}

// dw is a tile of M scalars by N vectors, over all pixels.
template <class I, int M, int N>
SPNET_INLINE void weight_grad_tile(const WeightGradArgs& a, std::int64_t output, std::int64_t vector) {
  using V = typename I::Vector;
  constexpr int kLanes = I::kLanes;
  constexpr int kParts = static_cast<int>(kBlock) / kLanes;
  const float* base[N];
  float* dw[N];
  V sum[M][N];
  SPNET_UNROLL for (int j = 0; j < N; ++j) {
    const std::int64_t block = (vector + j) / kParts, lane = (vector + j) % kParts * kLanes;
    base[j] = a.vectors.data + a.offsets[block] + lane;
    dw[j] = a.dw + output * a.dw_step + a.targets[block] + lane;
    SPNET_UNROLL for (int i = 0; i < M; ++i) {
      I::zero(sum[i][j]);
      if (a.accumulate) I::load(sum[i][j], dw[j] + i * a.dw_step);
    }
  }
  for (std::int64_t image = 0; image < a.images; ++image) {
    for (std::int64_t row = 0; row < a.rows; ++row) {
      const float* scalars = a.scalars.data + image * a.scalars.image + row * a.scalars.row + output;
      std::int64_t at = image * a.vectors.image + row * a.vectors.row;
      for (std::int64_t col = 0; col < a.cols; ++col, at += a.vectors.step, scalars += a.scalars.step) {
        V v[N];
        SPNET_UNROLL for (int j = 0; j < N; ++j) I::load(v[j], base[j] + at);
        SPNET_UNROLL for (int i = 0; i < M; ++i) {
          const float value = scalars[i];
          SPNET_UNROLL for (int j = 0; j < N; ++j) I::multiply_add(sum[i][j], v[j], value);
        }
      }
    }
  }
  SPNET_UNROLL for (int j = 0; j < N; ++j) {
    SPNET_UNROLL for (int i = 0; i < M; ++i) I::store(dw[j] + i * a.dw_step, sum[i][j]);
  }
}

template <class I, int M, int N>
SPNET_INLINE void weight_grad_tile_of(const WeightGradArgs& a, std::int64_t output, std::int64_t vector, std::int64_t size) {
  if (size == M) return weight_grad_tile<I, M, N>(a, output, vector);
  if constexpr (M > 1) weight_grad_tile_of<I, M - 1, N>(a, output, vector, size);
}

// Tiles of N vectors by at most M scalars.
template <class I, int M, int N>
SPNET_INLINE void weight_grad_tiles(const WeightGradArgs& a, std::int64_t& vector) {
  const std::int64_t vectors = a.count * (kBlock / I::kLanes);
  for (; vectors - vector >= N; vector += N) {
    for (std::int64_t output = 0, size; output < a.outputs; output += size) {
      size = even_tile<M>(a.outputs - output);
      weight_grad_tile_of<I, M, N>(a, output, vector, size);
    }
  }
}

template <class I>
SPNET_INLINE void gather(const GatherArgs& a) {
  using V = typename I::Vector;
  constexpr int kParts = static_cast<int>(kBlock) / I::kLanes;
  const float* from = a.source;
  float* to = a.blocks;
  if (a.channels == kBlock) {
    for (std::int64_t p = 0; p < a.pixels; ++p, from += a.step, to += kBlock) {
      __builtin_prefetch(from + a.ahead);
      V v[kParts];
      SPNET_UNROLL for (int k = 0; k < kParts; ++k) I::load(v[k], from + k * I::kLanes);
      SPNET_UNROLL for (int k = 0; k < kParts; ++k) I::store(to + k * I::kLanes, v[k]);
    }
    return;
  }
  // Whole vectors while they stay within the source, but of their bits only those of the channels.
  float kept[kBlock];
  for (std::int64_t c = 0; c < kBlock; ++c) kept[c] = std::bit_cast<float>(c < a.channels ? ~std::uint32_t{0} : 0u);
  V mask[kParts];
  SPNET_UNROLL for (int k = 0; k < kParts; ++k) I::load(mask[k], kept + k * I::kLanes);
  std::int64_t p = 0;
  const std::int64_t whole = a.pixels - 1 - (kBlock - a.channels + a.step - 1) / a.step;
  for (; p < whole; ++p, from += a.step, to += kBlock) {
    __builtin_prefetch(from + a.ahead);
    SPNET_UNROLL for (int k = 0; k < kParts; ++k) {
      V v;
      I::load(v, from + k * I::kLanes);
      I::keep(v, mask[k]);
      I::store(to + k * I::kLanes, v);
    }
  }
  for (; p < a.pixels; ++p, from += a.step, to += kBlock) {
    for (std::int64_t c = 0; c < kBlock; ++c) to[c] = c < a.channels ? from[c] : 0.0f;
  }
}

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
