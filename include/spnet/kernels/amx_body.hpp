// The body of products on AMX tiles: registers of up to 16 rows of 64 bytes, of which one instruction multiplies two
// and adds to a third. `P` says what is multiplied: it supplies the tiles (those of amx/tiles.hpp, or others for
// tests), the product of two tiles and what becomes of the sums. Tiles are loaded from where pixels and weights lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "spnet/kernels/bf16.hpp"
#include "spnet/kernels/conv_body.hpp"
#include "spnet/kernels/integer_body.hpp"
#include "spnet/kernels/lanes.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::body {

inline constexpr std::int64_t kTileRows = 16;
inline constexpr std::int64_t kTileBytes = 64;  // of a row
inline constexpr std::int64_t kTileLanes = 16;  // sums, or units of weights, in a row

/// The shapes of a thread's tiles, as the processor reads and writes them.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

// Tiles 0 to 3 hold sums. Segments come in chunks of 64 bytes and, where there is a rest, a narrower one.
inline constexpr int kPixelTile = 4, kWeightTile = 5, kLastPixelTile = 6, kLastWeightTile = 7;

/// How the pixels and the segments of a product are cut.
struct TilePlan {
  std::int64_t tiles;  // of pixels: whole blocks, so that the last ones may overlap
  std::int64_t rows;   // pixels of a tile
  std::int64_t rest;   // bytes of the narrower chunks, 0 where there are none
  bool pays;
};

/// A pair of tiles of outputs is multiplied with two tiles of pixels at a time, a single one with four: four sums hide
/// how long each takes.
SPNET_INLINE std::int64_t pixel_tiles(std::int64_t output_tiles) { return output_tiles % 2 == 0 ? 2 : 4; }

template <class P>
SPNET_INLINE TilePlan tile_plan(const typename P::Args& a) {
  const std::int64_t output_tiles = a.width / kTileLanes, block = pixel_tiles(output_tiles);
  const std::int64_t blocks = (a.pixels - 1) / (block * kTileRows) + 1;
  TilePlan plan{blocks * block, (a.pixels + blocks * block - 1) / (blocks * block), 0, false};
  std::int64_t bytes = 0, chunks = 0;
  for (std::int64_t s = 0; s < a.segment_count; ++s) {
    const std::int64_t size = a.segments[s].channels * P::kElementBytes, rest = size % kTileBytes;
    if (rest != 0 && plan.rest != 0 && rest != plan.rest) return plan;
    if (rest != 0) plan.rest = rest;
    bytes += size;
    chunks += size / kTileBytes + (rest != 0);
  }
  // In cycles: a product of tiles takes one for each row, and eight at least to load its weights, however narrow the
  // chunk; vectors multiply so many bytes of 16 outputs in one; and tiles take longer to start.
  constexpr std::int64_t kStart = 200;
  const std::int64_t rows = plan.tiles * (plan.rows > 8 ? plan.rows : 8);
  plan.pays = output_tiles * (a.pixels * bytes / P::kVectorBytes - rows * chunks) > kStart;
  return plan;
}

SPNET_INLINE void shape_tile(TileConfig& config, int tile, std::int64_t rows, std::int64_t row_bytes) {
  config.rows[tile] = static_cast<std::uint8_t>(rows);
  config.row_bytes[tile] = static_cast<std::uint16_t>(row_bytes);
}

/// Other code of the program may have shaped the thread's tiles since the last product, so they are asked, which takes
/// a tenth of the time of shaping them.
template <class T>
SPNET_INLINE void shape_tiles(const TilePlan& plan) {
  TileConfig wanted, present;
  for (int tile = 0; tile < 4; ++tile) shape_tile(wanted, tile, plan.rows, kTileBytes);
  shape_tile(wanted, kPixelTile, plan.rows, kTileBytes);
  shape_tile(wanted, kWeightTile, kTileRows, kTileBytes);
  if (plan.rest != 0) {
    shape_tile(wanted, kLastPixelTile, plan.rows, plan.rest);
    shape_tile(wanted, kLastWeightTile, plan.rest / 4, kTileBytes);
  }
  T::read_config(present);
  if (std::memcmp(&wanted, &present, sizeof wanted) != 0) T::configure(wanted);
}

// One chunk of 4 / N tiles of pixels by N tiles of outputs.
template <class P, int N, int kPixels, int kWeights>
SPNET_INLINE void multiply_tiles(const std::byte* const (&x)[4 / N], std::int64_t x_step, const std::byte* w,
                                 std::int64_t w_step) {
  using T = typename P::Tiles;
  T::template load<kPixels>(x[0], x_step);
  T::template load<kWeights>(w, w_step);
  P::template dot<0, kPixels, kWeights>();
  if constexpr (N == 2) {
    T::template load<kWeights>(w + kTileBytes, w_step);
    P::template dot<1, kPixels, kWeights>();
    T::template load<kPixels>(x[1], x_step);
    P::template dot<3, kPixels, kWeights>();
    T::template load<kWeights>(w, w_step);
    P::template dot<2, kPixels, kWeights>();
  } else {
    T::template load<kPixels>(x[1], x_step);
    P::template dot<1, kPixels, kWeights>();
    T::template load<kPixels>(x[2], x_step);
    P::template dot<2, kPixels, kWeights>();
    T::template load<kPixels>(x[3], x_step);
    P::template dot<3, kPixels, kWeights>();
  }
}

// 4 / N tiles of pixels, from `tile` on, by the first N tiles of outputs.
template <class P, int N>
SPNET_INLINE void tile_block(const typename P::Args& a, const TilePlan& plan, std::int64_t tile) {
  using T = typename P::Tiles;
  constexpr int M = 4 / N;
  const std::int64_t x_step = P::x_step(a), w_step = a.width * 4;
  std::int64_t first[M];
  const std::byte* x[M];
  SPNET_UNROLL for (int m = 0; m < M; ++m) {
    const std::int64_t pixel = (tile + m) * plan.rows, last = a.pixels - plan.rows;
    first[m] = pixel < last ? pixel : last;
    x[m] = reinterpret_cast<const std::byte*>(a.x) + first[m] * x_step;
  }
  T::template zero<0>();
  T::template zero<1>();
  T::template zero<2>();
  T::template zero<3>();
  for (std::int64_t s = 0; s < a.segment_count; ++s) {
    const Segment segment = a.segments[s];
    const std::byte* at[M];
    SPNET_UNROLL for (int m = 0; m < M; ++m) at[m] = x[m] + segment.offset * P::kElementBytes;
    const std::byte* w = reinterpret_cast<const std::byte*>(a.w) + segment.weights * P::kElementBytes * (w_step / 4);
    std::int64_t bytes = segment.channels * P::kElementBytes;
    for (; bytes >= kTileBytes; bytes -= kTileBytes) {
      multiply_tiles<P, N, kPixelTile, kWeightTile>(at, x_step, w, w_step);
      SPNET_UNROLL for (int m = 0; m < M; ++m) at[m] += kTileBytes;
      w += kTileRows * w_step;
    }
    if (bytes > 0) multiply_tiles<P, N, kLastPixelTile, kLastWeightTile>(at, x_step, w, w_step);
  }
  alignas(64) typename P::Sum sums[M][kTileRows][N * kTileLanes];
  constexpr std::int64_t kStep = sizeof sums[0][0];
  T::template store<0>(&sums[0][0][0], kStep);
  T::template store<1>(&sums[1 / N][0][1 % N * kTileLanes], kStep);
  T::template store<2>(&sums[2 / N][0][0], kStep);
  T::template store<3>(&sums[3 / N][0][3 % N * kTileLanes], kStep);
  for (int m = 0; m < M; ++m) {
    // Without the rows that the tile before has, too.
    std::int64_t row = (tile + m) * plan.rows - first[m];
    for (; row + 4 <= plan.rows; row += 4) P::template write<4, N>(a, first[m] + row, sums[m][row]);
    for (; row < plan.rows; ++row) P::template write<1, N>(a, first[m] + row, sums[m][row]);
  }
}

/// The product, if it is one that tiles do faster than vectors; otherwise nothing is done.
template <class P>
SPNET_INLINE bool tile_product(const typename P::Args& a) {
  const TilePlan plan = tile_plan<P>(a);
  if (!plan.pays) return false;
  shape_tiles<typename P::Tiles>(plan);
  const std::int64_t output_tiles = a.width / kTileLanes;
  std::int64_t output_tile = 0;
  for (; output_tile + 2 <= output_tiles; output_tile += 2) {
    const auto part = P::outputs_from(a, output_tile * kTileLanes, 2 * kTileLanes);
    for (std::int64_t tile = 0; tile < plan.tiles; tile += 2) tile_block<P, 2>(part, plan, tile);
  }
  if (output_tile < output_tiles) {
    const auto part = P::outputs_from(a, output_tile * kTileLanes, kTileLanes);
    for (std::int64_t tile = 0; tile < plan.tiles; tile += 4) tile_block<P, 1>(part, plan, tile);
  }
  return true;
}

template <class V, int M, int N, class Sum>
SPNET_INLINE void load_sums(V (&sum)[M][N], const Sum* sums) {
  SPNET_UNROLL for (int i = 0; i < M; ++i) {
    SPNET_UNROLL for (int j = 0; j < N; ++j) AllLanes{}.load(sum[i][j], sums + (i * N + j) * kTileLanes);
  }
}

/// Products of codes, on tiles T; vectors of I write the sums.
template <class T, class I>
struct TileCodes {
  using Tiles = T;
  using Args = IntegerProductArgs;
  using Sum = std::int32_t;
  static constexpr int kElementBytes = 1;
  static constexpr int kVectorBytes = 7;

  SPNET_INLINE static std::int64_t x_step(const Args& a) { return a.x_step; }
  template <int kSums, int kPixels, int kWeights>
  SPNET_INLINE static void dot() {
    T::template dot_codes<kSums, kPixels, kWeights>();
  }
  // At most `count` of the outputs from `first` on.
  SPNET_INLINE static Args outputs_from(Args a, std::int64_t first, std::int64_t count) {
    a.w += 4 * first;
    a.y += first;
    if (a.initial) a.initial += first;
    a.outputs = a.outputs - first < count ? a.outputs - first : count;
    return a;
  }
  template <int M, int N>
  SPNET_INLINE static void write(const Args& a, std::int64_t pixel, const Sum* sums) {
    typename I::Vector sum[M][N];
    load_sums(sum, sums);
    write_sums<I, M, N>(a, pixel, sum);
  }
};

/// Products of bf16.
template <class T, class F>
struct TileBf16 {
  using Tiles = T;
  using Args = Bf16ProductArgs;
  using Sum = float;
  static constexpr int kElementBytes = 2;
  static constexpr int kVectorBytes = 3;

  SPNET_INLINE static std::int64_t x_step(const Args& a) { return 2 * a.x_step; }
  template <int kSums, int kPixels, int kWeights>
  SPNET_INLINE static void dot() {
    T::template dot_bf16<kSums, kPixels, kWeights>();
  }
  SPNET_INLINE static Args outputs_from(Args a, std::int64_t first, std::int64_t count) {
    a.w += 2 * first;
    a.y += first;
    a.outputs = a.outputs - first < count ? a.outputs - first : count;
    return a;
  }
  template <int M, int N>
  SPNET_INLINE static void write(const Args& a, std::int64_t pixel, const Sum* sums) {
    typename F::Vector sum[M][N];
    load_sums(sum, sums);
    store_tile<F, M, N>(sum, a.y + pixel * a.y_step, a.y_step, a.outputs, a.accumulate);
  }
};

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
