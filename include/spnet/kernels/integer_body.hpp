// The bodies of the integer kernels, written once for every instruction set: see conv_body.hpp. `I` supplies vectors of
// 32-bit units and `dot`, the product of the elements of two units, summed.
#pragma once

#include <cstdint>
#include <cstring>

#include "spnet/kernels/conv_body.hpp"
#include "spnet/kernels/integer.hpp"
#include "spnet/kernels/lanes.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::body {

// A tile of M pixels by N vectors of outputs stays in registers while the segments pass by.
template <class I, int M, int N>
SPNET_INLINE void integer_tile(const IntegerProductArgs& a, std::int64_t pixel) {
  using V = typename I::Vector;
  constexpr int kLanes = I::kLanes;
  constexpr int kUnit = 4 / I::kElementBytes;                       // elements in a unit
  constexpr int kStep = static_cast<int>(kBlock) * I::kElementBytes;  // bytes from pixel to pixel
  const std::byte* x = a.x + pixel * kStep;
  const std::byte* w = a.w;
  V sum[M][N];
  SPNET_UNROLL for (int i = 0; i < M; ++i) {
    SPNET_UNROLL for (int j = 0; j < N; ++j) sum[i][j] = V{};
  }
  for (std::int64_t s = 0; s < a.segment_count; ++s) {
    const std::byte* at = x + a.segments[s].offset * I::kElementBytes;
    for (const std::byte* end = at + a.segments[s].channels / kUnit * 4; at != end; at += 4) {
      V row[N];
      SPNET_UNROLL for (int j = 0; j < N; ++j) {
        I::load(row[j], w);
        w += 4 * kLanes;
      }
      SPNET_UNROLL for (int i = 0; i < M; ++i) {
        V unit;
        I::broadcast(unit, at + i * kStep);
        SPNET_UNROLL for (int j = 0; j < N; ++j) I::dot(sum[i][j], unit, row[j]);
      }
    }
  }
  std::int32_t* y = a.y + pixel * a.y_step;
  if (a.outputs == N * kLanes) {
    SPNET_UNROLL for (int i = 0; i < M; ++i) {
      SPNET_UNROLL for (int j = 0; j < N; ++j) {
        std::int32_t* to = y + i * a.y_step + j * kLanes;
        if (a.accumulate) {
          V before;
          I::load(before, reinterpret_cast<const std::byte*>(to));
          sum[i][j] += before;
        }
        I::store(to, sum[i][j]);
      }
    }
    return;
  }
  std::int32_t lanes[M][N * kLanes];
  SPNET_UNROLL for (int i = 0; i < M; ++i) {
    SPNET_UNROLL for (int j = 0; j < N; ++j) I::store(&lanes[i][j * kLanes], sum[i][j]);
  }
  for (int i = 0; i < M; ++i, y += a.y_step) {
    for (std::int64_t o = 0; o < a.outputs; ++o) y[o] = a.accumulate ? y[o] + lanes[i][o] : lanes[i][o];
  }
}

template <class I, int M, int N>
SPNET_INLINE void integer_tiles(const IntegerProductArgs& a, std::int64_t& pixel) {
  for (; a.pixels - pixel >= M; pixel += M) integer_tile<I, M, N>(a, pixel);
}

// Codes to bytes or to int16, in blocks.
template <class Element>
SPNET_INLINE void gather_codes(const CodeGatherArgs& a) {
  const std::uint8_t* from = a.source;
  auto* to = reinterpret_cast<Element*>(a.blocks);
  if (a.channels == kBlock) {
    for (std::int64_t p = 0; p < a.pixels; ++p, from += a.step, to += kBlock)
      SPNET_UNROLL for (int c = 0; c < kBlock; ++c) to[c] = from[c];
    return;
  }
  for (std::int64_t p = 0; p < a.pixels; ++p, from += a.step, to += kBlock) {
    std::int64_t c = 0;
    for (; c < a.channels; ++c) to[c] = from[c];
    for (; c < kBlock; ++c) to[c] = 0;
  }
}

template <class L>
SPNET_INLINE void gather_values(const ValueGatherArgs& a) {
  const std::uint8_t* from = a.source;
  float* to = a.blocks;
  for (std::int64_t p = 0; p < a.pixels; ++p, from += a.step, to += kBlock) {
    std::int64_t c = 0;
    for (; c + L::kCount <= a.channels; c += L::kCount) {
      typename L::Byte codes;
      typename L::Int integers;
      std::memcpy(&codes, from + c, sizeof codes);
      widen<L>(integers, codes);
      integers = integers * a.code_step - a.zero_point;
      const auto values = __builtin_convertvector(integers, typename L::Float);
      std::memcpy(to + c, &values, sizeof values);
    }
    for (; c < a.channels; ++c) to[c] = static_cast<float>(a.code_step * from[c] - a.zero_point);
    for (; c < kBlock; ++c) to[c] = 0;
  }
}

// 32-bit lanes, modulo 2^32.
template <class I>
SPNET_INLINE void finish_sums(const IntegerFinishArgs& a) {
  using V = typename I::Bits;
  constexpr int kLanes = I::kLanes;
  const auto factor = static_cast<std::uint32_t>(a.factor);
  std::int32_t* y = a.y;
  for (std::int64_t p = 0; p < a.pixels; ++p, y += a.y_step) {
    const std::uint32_t add =
        a.pixel_sums ? static_cast<std::uint32_t>(a.pixel_factor) * static_cast<std::uint32_t>(a.pixel_sums[p]) : 0;
    std::int64_t o = 0;
    for (; o + kLanes <= a.outputs; o += kLanes) {
      V v, offset{};
      std::memcpy(&v, y + o, sizeof v);
      if (a.offsets) std::memcpy(&offset, a.offsets + o, sizeof offset);
      v = v * factor + offset + add;
      std::memcpy(y + o, &v, sizeof v);
    }
    for (; o < a.outputs; ++o) {
      const std::uint32_t offset = a.offsets ? static_cast<std::uint32_t>(a.offsets[o]) : 0;
      y[o] = static_cast<std::int32_t>(static_cast<std::uint32_t>(y[o]) * factor + offset + add);
    }
  }
}

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
