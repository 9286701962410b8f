// The bodies of the integer kernels, written once for every instruction set: see conv_body.hpp. `I` supplies vectors of
// 32-bit units, `broadcast` and `dot`, the product of the elements of two units, summed.
#pragma once

#include <cstdint>
#include <cstring>

#include "spnet/kernels/conv_body.hpp"
#include "spnet/kernels/integer.hpp"
#include "spnet/kernels/lanes.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::body {

// sum += v, modulo 2^32.
template <class I>
SPNET_INLINE void add_modulo(typename I::Vector& sum, const typename I::Vector& v) {
  using Bits = typename I::Bits;
  sum = reinterpret_cast<typename I::Vector>(reinterpret_cast<Bits>(sum) + reinterpret_cast<Bits>(v));
}

// v *= factor, modulo 2^32.
template <class I>
SPNET_INLINE void multiply_modulo(typename I::Vector& v, std::int32_t factor) {
  v = reinterpret_cast<typename I::Vector>(reinterpret_cast<typename I::Bits>(v) * static_cast<std::uint32_t>(factor));
}

// From sums in lanes of their own kind to int32.
template <class I>
SPNET_INLINE void finish_sums(typename I::Vector& sum) {
  if constexpr (requires { I::finish(sum); }) I::finish(sum);
}

// A tile of M pixels by N vectors of outputs stays in registers while the segments pass by.
template <class I, int M, int N>
SPNET_INLINE void integer_tile(const IntegerProductArgs& a, std::int64_t pixel) {
  using V = typename I::Vector;
  constexpr int kLanes = I::kLanes;
  constexpr int kUnit = 4 / I::kElementBytes;                       // elements in a unit
  constexpr int kStep = static_cast<int>(kBlock) * I::kElementBytes;  // bytes from pixel to pixel
  const std::byte* x = a.x + pixel * kStep;
  V sum[M][N];
  SPNET_UNROLL for (int i = 0; i < M; ++i) {
    SPNET_UNROLL for (int j = 0; j < N; ++j) sum[i][j] = V{};
  }
  for (std::int64_t s = 0; s < a.segment_count; ++s) {
    const std::byte* at = x + a.segments[s].offset * I::kElementBytes;
    const std::byte* w = a.w + a.segments[s].weights * (N * kLanes * I::kElementBytes);
    for (const std::byte* end = at + a.segments[s].channels / kUnit * 4; at != end; at += 4) {
      V row[N];
      SPNET_UNROLL for (int j = 0; j < N; ++j) {
        AllLanes{}.load(row[j], w);
        w += 4 * kLanes;
      }
      SPNET_UNROLL for (int i = 0; i < M; ++i) {
        V unit;
        I::broadcast(unit, at + i * kStep);
        SPNET_UNROLL for (int j = 0; j < N; ++j) I::dot(sum[i][j], unit, row[j]);
      }
    }
  }
  SPNET_UNROLL for (int i = 0; i < M; ++i) {
    SPNET_UNROLL for (int j = 0; j < N; ++j) finish_sums<I>(sum[i][j]);
  }
  if (a.factor != 1) {
    SPNET_UNROLL for (int i = 0; i < M; ++i) {
      SPNET_UNROLL for (int j = 0; j < N; ++j) multiply_modulo<I>(sum[i][j], a.factor);
    }
  }
  if (a.starts) {
    SPNET_UNROLL for (int i = 0; i < M; ++i) {
      const std::int32_t* const from = a.initial + a.starts[pixel + i];
      SPNET_UNROLL for (int j = 0; j < N; ++j) {
        V term;
        AllLanes{}.load(term, from + j * kLanes);
        add_modulo<I>(sum[i][j], term);
      }
    }
  }
  if (a.pixel_terms) {
    SPNET_UNROLL for (int i = 0; i < M; ++i) {
      const V term = a.pixel_terms[pixel + i] - V{};
      SPNET_UNROLL for (int j = 0; j < N; ++j) add_modulo<I>(sum[i][j], term);
    }
  }
  std::int32_t* y = a.y + pixel * a.y_step;
  if (a.outputs == N * kLanes) {
    SPNET_UNROLL for (int i = 0; i < M; ++i) {
      SPNET_UNROLL for (int j = 0; j < N; ++j) {
        std::int32_t* to = y + i * a.y_step + j * kLanes;
        if (a.accumulate) {
          V before;
          AllLanes{}.load(before, to);
          add_modulo<I>(sum[i][j], before);
        }
        AllLanes{}.store(to, sum[i][j]);
      }
    }
    return;
  }
  std::int32_t lanes[M][N * kLanes];
  SPNET_UNROLL for (int i = 0; i < M; ++i) {
    SPNET_UNROLL for (int j = 0; j < N; ++j) AllLanes{}.store(&lanes[i][j * kLanes], sum[i][j]);
  }
  for (int i = 0; i < M; ++i, y += a.y_step) {
    for (std::int64_t o = 0; o < a.outputs; ++o) {
      const std::uint32_t before = a.accumulate ? static_cast<std::uint32_t>(y[o]) : 0;
      y[o] = static_cast<std::int32_t>(before + static_cast<std::uint32_t>(lanes[i][o]));
    }
  }
}

template <class I, int M, int N>
SPNET_INLINE void integer_tile_of(const IntegerProductArgs& a, std::int64_t pixel, std::int64_t size) {
  if (size == M) return integer_tile<I, M, N>(a, pixel);
  if constexpr (M > 1) integer_tile_of<I, M - 1, N>(a, pixel, size);
}

// Tiles of at most M pixels, as equal as can be: a small tile at the end of a row would leave most of the machine idle.
template <class I, int M, int N>
SPNET_INLINE void integer_tiles(const IntegerProductArgs& a) {
  std::int64_t left = (a.pixels + M - 1) / M;
  for (std::int64_t pixel = 0, size; left > 0; --left, pixel += size) {
    size = (a.pixels - pixel + left - 1) / left;
    integer_tile_of<I, M, N>(a, pixel, size);
  }
}

// Codes to bytes or to int16, in blocks.
template <class Element>
SPNET_INLINE void gather_codes(const CodeGatherArgs& a) {
  const std::uint8_t* from = a.source;
  auto* to = reinterpret_cast<Element*>(a.blocks);
  if (a.channels == kBlock) {
    for (std::int64_t p = 0; p < a.pixels; ++p, from += a.step, to += kBlock) {
      if constexpr (sizeof(Element) == 1) {
        std::memcpy(to, from, kBlock);
      } else {
        SPNET_UNROLL for (int c = 0; c < kBlock; ++c) to[c] = from[c];
      }
    }
    return;
  }
  for (std::int64_t p = 0; p < a.pixels; ++p, from += a.step, to += kBlock) {
    std::int64_t c = 0;
    for (; c < a.channels; ++c) to[c] = from[c];
    for (; c < kBlock; ++c) to[c] = 0;
  }
}

SPNET_INLINE void gather_bits(const CodeGatherArgs& a) {
  const std::uint8_t* from = a.source;
  std::byte* to = a.blocks;
  for (std::int64_t p = 0; p < a.pixels; ++p, from += a.step, to += kBlock) {
    std::uint8_t block[kBlock] = {};
    for (std::int64_t c = 0; c < a.channels; ++c) block[c] = pack_bits(from + 8 * c);
    std::memcpy(to, block, kBlock);
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

// Two sums of eight bytes, in 64 bits each, for every pixel of a row of blocks of bytes.
template <class I>
SPNET_INLINE void sum_pixels(const PixelSumArgs& a) {
  constexpr std::int64_t kBytes = sizeof(typename I::Vector);
  std::int64_t at = 0;
  for (; at + kBytes <= a.pixels * kBlock; at += kBytes) {
    typename I::Vector sum{}, codes, eights;
    for (std::int64_t b = 0; b < a.blocks; ++b) {
      AllLanes{}.load(codes, a.codes + b * a.block_step + at);
      I::sum_bytes(eights, codes);
      sum += eights;
    }
    std::memcpy(reinterpret_cast<std::byte*>(a.sums) + at, &sum, sizeof sum);
  }
  for (std::int64_t p = at / kBlock; p < a.pixels; ++p) {
    a.sums[2 * p] = a.sums[2 * p + 1] = 0;
    for (std::int64_t b = 0; b < a.blocks; ++b)
      for (std::int64_t c = 0; c < kBlock; ++c)
        a.sums[2 * p + c / 8] += std::to_integer<std::int64_t>(a.codes[b * a.block_step + p * kBlock + c]);
  }
}

// terms[p] = factor times the sum of the sums of pixel p at every offset.
template <class I>
SPNET_INLINE void sum_windows(const WindowSumArgs& a) {
  constexpr std::int64_t kPixels = sizeof(typename I::Vector) / 16;
  const auto factor = static_cast<std::uint32_t>(a.factor);
  std::int64_t p = 0;
  for (; p + kPixels <= a.pixels; p += kPixels) {
    typename I::Vector sum{}, v;
    for (std::int64_t t = 0; t < a.taps; ++t) {
      AllLanes{}.load(v, a.sums + 2 * (p + a.offsets[t]));
      sum += v;
    }
    std::uint32_t lanes[sizeof sum / 4];
    std::memcpy(lanes, &sum, sizeof sum);
    for (std::int64_t i = 0; i < kPixels; ++i) a.terms[p + i] = static_cast<std::int32_t>(factor * (lanes[4 * i] + lanes[4 * i + 2]));
  }
  for (; p < a.pixels; ++p) {
    std::int64_t sum = 0;
    for (std::int64_t t = 0; t < a.taps; ++t) sum += a.sums[2 * (p + a.offsets[t])] + a.sums[2 * (p + a.offsets[t]) + 1];
    a.terms[p] = static_cast<std::int32_t>(factor * static_cast<std::uint32_t>(sum));
  }
}

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
