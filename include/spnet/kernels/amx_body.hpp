// The body of products on AMX tiles: registers of up to 16 rows of 64 bytes, of which one instruction multiplies two
// and adds to a third. `P` says what is multiplied: it supplies the tiles (those of amx/tiles.hpp, or others for
// tests), the product of two tiles and what becomes of the sums. Tiles are loaded from where pixels and weights lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

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

// Tiles 0 to 3 hold sums, the others operands. Segments come in chunks of 64 bytes and, where there is a rest, a
// narrower one. Where all chunks have one size, there are two tiles for pixels and two for weights; else one of each
// size.
inline constexpr int kOperands = 4;

/// How the pixels and the segments of a product are cut. Tiles follow each other in runs: the lines, or all lines as
/// one, with what lies between them, where that leaves fewer tiles.
struct TilePlan {
  std::int64_t run, run_tiles;  // pixels and tiles of a run
  std::int64_t line;            // pixels from one line of a run to the next
  std::int64_t tiles;           // of all runs
  std::int64_t rows;            // pixels of a tile; a run's last tile may overlap the one before
  std::int64_t chunk;           // bytes
  std::int64_t rest;            // bytes of the narrower chunks, 0 where there are none
  bool pays;
};

SPNET_INLINE std::int64_t tiles_of(std::int64_t pixels) { return (pixels + kTileRows - 1) / kTileRows; }

// Lays out the runs.
SPNET_INLINE void plan_runs(TilePlan& plan, std::int64_t pixels, std::int64_t x_step, const Lines& lines) {
  plan.run = plan.line = pixels;
  std::int64_t runs = lines.count;
  if (lines.count > 1 && x_step > 0 && lines.x >= pixels * x_step && lines.x % x_step == 0) {
    const std::int64_t all = (lines.count - 1) * (lines.x / x_step) + pixels;
    if (tiles_of(all) < lines.count * tiles_of(pixels)) {
      plan.run = all;
      plan.line = lines.x / x_step;
      runs = 1;
    }
  }
  plan.run_tiles = tiles_of(plan.run);
  plan.tiles = runs * plan.run_tiles;
  plan.rows = (plan.run + plan.run_tiles - 1) / plan.run_tiles;
}

template <class P>
SPNET_INLINE TilePlan tile_plan(const typename P::Args& a) {
  TilePlan plan{};
  plan_runs(plan, a.pixels, a.x_step, P::lines(a));
  std::int64_t bytes = 0, chunks = 0;
  bool has_full = false;
  for (std::int64_t s = 0; s < a.segment_count; ++s) {
    const std::int64_t size = a.segments[s].channels * P::kElementBytes, rest = size % kTileBytes;
    if (rest != 0 && plan.rest != 0 && rest != plan.rest) return plan;
    if (rest != 0) plan.rest = rest;
    has_full |= size >= kTileBytes;
    bytes += size;
    chunks += size / kTileBytes + (rest != 0);
  }
  plan.chunk = has_full || plan.rest == 0 ? kTileBytes : std::exchange(plan.rest, 0);
  // In cycles: a product of tiles takes one for each row, and eight at least to load its weights, however narrow the
  // chunk; vectors multiply so many bytes of 16 outputs in one; and tiles take longer to start.
  constexpr std::int64_t kStart = 200;
  const std::int64_t rows = plan.tiles * (plan.rows > 8 ? plan.rows : 8), pixels = P::lines(a).count * a.pixels;
  plan.pays = P::kOrderMatters || a.width / kTileLanes * (pixels * bytes / P::kVectorBytes - rows * chunks) > kStart;
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
  for (int tile = 0; tile < kOperands; ++tile) shape_tile(wanted, tile, plan.rows, kTileBytes);
  for (int pair = 0; pair < 2; ++pair) {
    const std::int64_t bytes = pair == 1 && plan.rest != 0 ? plan.rest : plan.chunk;
    shape_tile(wanted, kOperands + 2 * pair, plan.rows, bytes);
    shape_tile(wanted, kOperands + 2 * pair + 1, bytes / 4, kTileBytes);
  }
  T::read_config(present);
  if (std::memcmp(&wanted, &present, sizeof wanted) != 0) T::configure(wanted);
}

// One chunk of M tiles of pixels by N tiles of outputs; neighbouring tiles of pixels and of outputs may share theirs.
template <class P, int M, int N, int kX0, int kW0, int kX1, int kW1>
SPNET_INLINE void multiply_tiles(const std::byte* const (&x)[M], std::int64_t x_step, const std::byte* w,
                                 std::int64_t w_step) {
  using T = typename P::Tiles;
  static_assert(M * N <= 4 && N <= 2);
  T::template load<kX0>(x[0], x_step);
  T::template load<kW0>(w, w_step);
  P::template dot<0, kX0, kW0>();
  if constexpr (N == 2) {
    T::template load<kW1>(w + kTileBytes, w_step);
    P::template dot<1, kX0, kW1>();
  }
  if constexpr (M > 1) {
    T::template load<kX1>(x[1], x_step);
    if constexpr (N == 2) P::template dot<3, kX1, kW1>();
    if constexpr (N == 2 && kW0 == kW1) T::template load<kW0>(w, w_step);
    P::template dot<N, kX1, kW0>();
  }
  if constexpr (M > 2) {
    T::template load<kX0>(x[2], x_step);
    P::template dot<2, kX0, kW0>();
  }
  if constexpr (M > 3) {
    T::template load<kX1>(x[3], x_step);
    P::template dot<3, kX1, kW0>();
  }
}

// Where a tile's pixels begin in its run, and which of them no tile before has, too.
struct TilePlace {
  std::int64_t run, first, skipped;
};
SPNET_INLINE TilePlace place_of(const TilePlan& plan, std::int64_t tile) {
  const std::int64_t run = tile / plan.run_tiles, pixel = (tile - run * plan.run_tiles) * plan.rows;
  const std::int64_t last = plan.run - plan.rows, first = pixel < last ? pixel : last;
  return {run, first, pixel - first};
}

// The pixels of a tile that no tile before has, too, as pieces of lines: `count` of them, from a row of the tile on.
struct TilePieces {
  const TilePlan& plan;
  std::int64_t pixels;  // of a line
  std::int64_t row, line, pixel, count = 0;

  SPNET_INLINE TilePieces(const TilePlan& of, const TilePlace& place, std::int64_t of_line)
      : plan(of),
        pixels(of_line),
        row(place.skipped),
        line(place.run + place.first / of.line),
        pixel(place.first % of.line + place.skipped) {
    find();
  }
  SPNET_INLINE bool is_end() const { return row >= plan.rows; }
  SPNET_INLINE void next() {
    row += count;
    pixel += count;
    find();
  }
  SPNET_INLINE void find() {
    while (!is_end()) {
      while (pixel >= plan.line) {
        pixel -= plan.line;
        ++line;
      }
      if (pixel < pixels) break;
      row += plan.line - pixel;  // what lies between two lines
      pixel = plan.line;
    }
    count = plan.rows - row < pixels - pixel ? plan.rows - row : pixels - pixel;
  }
};

// Sums of tiles of pixels lie in tiles m * N, for tile m, and, where N is 2, m * N + 1. Where nothing but adding is to be
// done with them, they begin with what is there, so that an output's sum has one order in whatever tile its pixel is.
// Tiles of one line are read and written where they belong, unless they overlap and what is there is added to.
template <class P, int N>
SPNET_INLINE bool is_in_place(const typename P::Args& a, const TilePlan& plan, const TilePlace& place) {
  return P::are_sums(a) && a.outputs == N * kTileLanes && place.first % plan.line + plan.rows <= a.pixels &&
         (place.skipped == 0 || !a.accumulate);
}
template <class P>
SPNET_INLINE typename P::Sum* sums_of(const typename P::Args& a, const TilePlan& plan, const TilePlace& place) {
  return P::y(a, place.run + place.first / plan.line, place.first % plan.line);
}
template <class P, int N, int kSums>
SPNET_INLINE void load_tiles(const typename P::Sum* from, std::int64_t step) {
  const std::int64_t bytes = step * static_cast<std::int64_t>(sizeof(typename P::Sum));
  P::Tiles::template load<kSums>(from, bytes);
  if constexpr (N == 2) P::Tiles::template load<kSums + 1>(from + kTileLanes, bytes);
}
template <class P, int N, int kSums>
SPNET_INLINE void store_tiles(typename P::Sum* to, std::int64_t step) {
  const std::int64_t bytes = step * static_cast<std::int64_t>(sizeof(typename P::Sum));
  P::Tiles::template store<kSums>(to, bytes);
  if constexpr (N == 2) P::Tiles::template store<kSums + 1>(to + kTileLanes, bytes);
}

template <class P, int N, int kSums>
SPNET_INLINE void begin_tile(const typename P::Args& a, const TilePlan& plan, const TilePlace& place) {
  if (!a.accumulate || !P::are_sums(a)) {
    P::Tiles::template zero<kSums>();
    if constexpr (N == 2) P::Tiles::template zero<kSums + 1>();
  } else if (is_in_place<P, N>(a, plan, place)) {
    load_tiles<P, N, kSums>(sums_of<P>(a, plan, place), a.y_step);
  } else {
    alignas(64) typename P::Sum sums[kTileRows][N * kTileLanes] = {};
    for (TilePieces piece(plan, place, a.pixels); !piece.is_end(); piece.next())
      for (std::int64_t i = 0; i < piece.count; ++i)
        std::memcpy(sums[piece.row + i], P::y(a, piece.line, piece.pixel + i),
                    static_cast<std::size_t>(a.outputs) * sizeof(typename P::Sum));
    load_tiles<P, N, kSums>(sums[0], N * kTileLanes);
  }
}
template <class P, int N, int kSums>
SPNET_INLINE void end_tile(const typename P::Args& a, const TilePlan& plan, const TilePlace& place) {
  if (is_in_place<P, N>(a, plan, place))
    return store_tiles<P, N, kSums>(sums_of<P>(a, plan, place), a.y_step);
  alignas(64) typename P::Sum sums[kTileRows][N * kTileLanes];
  store_tiles<P, N, kSums>(sums[0], N * kTileLanes);
  typename P::Args rest = a;
  rest.accumulate = a.accumulate && !P::are_sums(a);
  for (TilePieces piece(plan, place, a.pixels); !piece.is_end(); piece.next()) {
    std::int64_t i = 0;
    for (; i + 4 <= piece.count; i += 4)
      P::template write<4, N>(rest, piece.line, piece.pixel + i, sums[piece.row + i]);
    for (; i < piece.count; ++i) P::template write<1, N>(rest, piece.line, piece.pixel + i, sums[piece.row + i]);
  }
}

// M tiles of pixels, from `tile` on, by the first N tiles of outputs.
template <class P, int M, int N>
SPNET_INLINE void tile_block(const typename P::Args& a, const TilePlan& plan, std::int64_t tile) {
  const std::int64_t x_step = P::x_step(a), w_step = a.width * 4;
  TilePlace places[M];
  const std::byte* x[M];
  SPNET_UNROLL for (int m = 0; m < M; ++m) {
    places[m] = place_of(plan, tile + m);
    x[m] = reinterpret_cast<const std::byte*>(a.x) + places[m].run * P::lines(a).x * P::kStepBytes +
           places[m].first * x_step;
  }
  begin_tile<P, N, 0>(a, plan, places[0]);
  if constexpr (M > 1) begin_tile<P, N, N>(a, plan, places[1]);
  if constexpr (M > 2) begin_tile<P, N, 2>(a, plan, places[2]);
  if constexpr (M > 3) begin_tile<P, N, 3>(a, plan, places[3]);
  for (std::int64_t s = 0; s < a.segment_count; ++s) {
    const Segment segment = a.segments[s];
    const std::byte* at[M];
    SPNET_UNROLL for (int m = 0; m < M; ++m) at[m] = x[m] + segment.offset * P::kElementBytes;
    const std::byte* w = reinterpret_cast<const std::byte*>(a.w) + segment.weights * P::kElementBytes * (w_step / 4);
    std::int64_t bytes = segment.channels * P::kElementBytes;
    if (plan.rest == 0) {
      for (; bytes > 0; bytes -= plan.chunk) {
        multiply_tiles<P, M, N, 4, 5, 6, 7>(at, x_step, w, w_step);
        SPNET_UNROLL for (int m = 0; m < M; ++m) at[m] += plan.chunk;
        w += plan.chunk / 4 * w_step;
      }
    } else {
      for (; bytes >= kTileBytes; bytes -= kTileBytes) {
        multiply_tiles<P, M, N, 4, 5, 4, 5>(at, x_step, w, w_step);
        SPNET_UNROLL for (int m = 0; m < M; ++m) at[m] += kTileBytes;
        w += kTileRows * w_step;
      }
      if (bytes > 0) multiply_tiles<P, M, N, 6, 7, 6, 7>(at, x_step, w, w_step);
    }
  }
  end_tile<P, N, 0>(a, plan, places[0]);
  if constexpr (M > 1) end_tile<P, N, N>(a, plan, places[1]);
  if constexpr (M > 2) end_tile<P, N, 2>(a, plan, places[2]);
  if constexpr (M > 3) end_tile<P, N, 3>(a, plan, places[3]);
}

// All tiles of pixels, at most M at a time: four sums hide how long each takes.
template <class P, int M, int N>
SPNET_INLINE void tile_blocks(const typename P::Args& a, const TilePlan& plan, std::int64_t tile) {
  for (; tile + M <= plan.tiles; tile += M) tile_block<P, M, N>(a, plan, tile);
  if constexpr (M > 1) tile_blocks<P, M - 1, N>(a, plan, tile);
}

/// The product, if it is one that tiles do faster than vectors; otherwise nothing is done.
template <class P>
SPNET_INLINE bool tile_product(const typename P::Args& a) {
  const TilePlan plan = tile_plan<P>(a);
  if (!plan.pays) return false;
  shape_tiles<typename P::Tiles>(plan);
  const std::int64_t output_tiles = (a.outputs + kTileLanes - 1) / kTileLanes;
  std::int64_t output_tile = 0;
  for (; output_tile + 2 <= output_tiles; output_tile += 2)
    tile_blocks<P, 2, 2>(P::outputs_from(a, output_tile * kTileLanes, 2 * kTileLanes), plan, 0);
  if (output_tile < output_tiles)
    tile_blocks<P, 4, 1>(P::outputs_from(a, output_tile * kTileLanes, kTileLanes), plan, 0);
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
  static constexpr int kStepBytes = 1;  // in the unit of steps
  static constexpr int kVectorBytes = 7;
  static constexpr bool kOrderMatters = false;

  SPNET_INLINE static std::int64_t x_step(const Args& a) { return a.x_step; }
  SPNET_INLINE static Lines lines(const Args& a) { return a.lines; }
  /// Whether nothing is to be done with the sums but to add them to what is there.
  SPNET_INLINE static bool are_sums(const Args& a) { return a.factor == 1 && !a.initial && !a.pixel_terms; }
  SPNET_INLINE static Sum* y(const Args& a, std::int64_t line, std::int64_t pixel) {
    return a.y + line * a.lines.y + pixel * a.y_step;
  }
  SPNET_INLINE static Args line_of(Args a, std::int64_t line) {
    a.x += line * a.lines.x;
    a.y += line * a.lines.y;
    if (a.pixel_terms) a.pixel_terms += line * a.pixel_terms_line;
    a.lines = {};
    return a;
  }
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
  SPNET_INLINE static void write(const Args& a, std::int64_t line, std::int64_t pixel, const Sum* sums) {
    typename I::Vector sum[M][N];
    load_sums(sum, sums);
    write_sums<I, M, N>(line_of(a, line), pixel, sum);
  }
};

/// Products of bf16.
template <class T, class F>
struct TileBf16 {
  using Tiles = T;
  using Args = Bf16ProductArgs;
  using Sum = float;
  static constexpr int kElementBytes = 2;
  static constexpr int kStepBytes = 2;
  static constexpr int kVectorBytes = 3;
  /// Sums depend on whether vectors or tiles make them: the number of pixels must not choose.
  static constexpr bool kOrderMatters = true;

  SPNET_INLINE static std::int64_t x_step(const Args& a) { return 2 * a.x_step; }
  SPNET_INLINE static Lines lines(const Args& a) { return a.lines; }
  SPNET_INLINE static bool are_sums(const Args&) { return true; }
  SPNET_INLINE static Sum* y(const Args& a, std::int64_t line, std::int64_t pixel) {
    return a.y + line * a.lines.y + pixel * a.y_step;
  }
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
  SPNET_INLINE static void write(const Args& a, std::int64_t line, std::int64_t pixel, const Sum* sums) {
    typename F::Vector sum[M][N];
    load_sums(sum, sums);
    store_tile<F, M, N>(sum, y(a, line, pixel), a.y_step, a.outputs, a.accumulate);
  }
};

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
