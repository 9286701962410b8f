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

// What becomes of the sums of M pixels from `pixel` on and of the first N vectors of outputs.
template <class I, int M, int N>
SPNET_INLINE void write_sums(const IntegerProductArgs& a, std::int64_t pixel, typename I::Vector (&sum)[M][N]) {
  using V = typename I::Vector;
  constexpr int kLanes = I::kLanes;
  if (a.factor != 1) {
    SPNET_UNROLL for (int i = 0; i < M; ++i) {
      SPNET_UNROLL for (int j = 0; j < N; ++j) multiply_modulo<I>(sum[i][j], a.factor);
    }
  }
  if (a.initial) {
    SPNET_UNROLL for (int j = 0; j < N; ++j) {
      V term;
      AllLanes{}.load(term, a.initial + j * kLanes);
      SPNET_UNROLL for (int i = 0; i < M; ++i) add_modulo<I>(sum[i][j], term);
    }
  }
  if (a.pixel_terms) {
    SPNET_UNROLL for (int i = 0; i < M; ++i) {
      const V term = a.pixel_terms[(pixel + i) * a.pixel_terms_step] - V{};
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

// A tile of M pixels by N vectors of outputs stays in registers while the segments pass by.
template <class I, int M, int N>
SPNET_INLINE void integer_tile(const IntegerProductArgs& a, std::int64_t pixel) {
  using V = typename I::Vector;
  constexpr int kLanes = I::kLanes;
  constexpr int kUnit = 4 / I::kElementBytes;  // elements in a unit
  // A pointer for every four pixels: one for each would not stay in registers.
  constexpr int kFours = (M + 3) / 4;
  const std::int64_t step = a.x_step;
  const std::byte* x[kFours];
  SPNET_UNROLL for (int f = 0; f < kFours; ++f) x[f] = a.x + (pixel + 4 * f) * step;
  V sum[M][N];
  SPNET_UNROLL for (int i = 0; i < M; ++i) {
    SPNET_UNROLL for (int j = 0; j < N; ++j) sum[i][j] = V{};
  }
  for (std::int64_t s = 0; s < a.segment_count; ++s) {
    if constexpr (requires { I::kCodes; }) {
      if (a.segments[s].doubles) [[unlikely]] {
        SPNET_UNROLL for (int i = 0; i < M; ++i) {
          SPNET_UNROLL for (int j = 0; j < N; ++j) add_modulo<I>(sum[i][j], sum[i][j]);
        }
      }
    }
    const std::byte* at[kFours];
    SPNET_UNROLL for (int f = 0; f < kFours; ++f) at[f] = x[f] + a.segments[s].offset * I::kElementBytes;
    const std::byte* w = a.w + a.segments[s].weights * (N * kLanes * I::kElementBytes);
    for (std::int64_t units = a.segments[s].channels / kUnit; units > 0; --units) {
      V row[N];
      SPNET_UNROLL for (int j = 0; j < N; ++j) {
        AllLanes{}.load(row[j], w);
        w += 4 * kLanes;
      }
      SPNET_UNROLL for (int i = 0; i < M; ++i) {
        V unit;
        I::broadcast(unit, at[i / 4] + i % 4 * step);
        SPNET_UNROLL for (int j = 0; j < N; ++j) I::dot(sum[i][j], unit, row[j]);
      }
      SPNET_UNROLL for (int f = 0; f < kFours; ++f) at[f] += 4;
    }
  }
  SPNET_UNROLL for (int i = 0; i < M; ++i) {
    SPNET_UNROLL for (int j = 0; j < N; ++j) finish_sums<I>(sum[i][j]);
  }
  write_sums<I, M, N>(a, pixel, sum);
}

template <class I, int M, int N>
SPNET_INLINE void integer_tile_of(const IntegerProductArgs& a, std::int64_t pixel, std::int64_t size) {
  if (size == M) return integer_tile<I, M, N>(a, pixel);
  if constexpr (M > 1) integer_tile_of<I, M - 1, N>(a, pixel, size);
}

// Tiles of at most M pixels.
template <class I, int M, int N>
SPNET_INLINE void integer_tiles(const IntegerProductArgs& a) {
  for (std::int64_t pixel = 0, size; pixel < a.pixels; pixel += size) {
    size = even_tile<M>(a.pixels - pixel);
    integer_tile_of<I, M, N>(a, pixel, size);
  }
}

// Where runs follow each other without a gap, on both sides, they are one.
SPNET_INLINE ElementArgs joined(ElementArgs a, std::int64_t element_codes) {
  if (a.code_step == a.channels && a.element_step * element_codes == a.channels) {
    a.channels *= a.pixels;
    a.element_step *= a.pixels;
    a.pixels = 1;
  }
  return a;
}

// Of whole blocks: loops of constant length, for the compiler to see vectors.
template <class Element>
SPNET_INLINE void copy_blocks(Element* to, const std::uint8_t* from, std::int64_t count) {
  for (std::int64_t c = 0; c < count; c += kBlock) {
    SPNET_UNROLL for (int i = 0; i < kBlock; ++i) to[c + i] = from[c + i];
  }
}

// The runs whose last block, `block` codes from code `whole` on to as many as `elements` elements from element `begin`
// on, may reach into the runs behind: what it writes there, they write again. None where a block is not all that is
// left.
SPNET_INLINE std::int64_t reaching_runs(const ElementArgs& a, std::int64_t whole, std::int64_t block,
                                        std::int64_t begin, std::int64_t elements) {
  if (begin >= a.element_step || a.element_step > begin + elements) return 0;
  const std::int64_t behind_codes = (block - (a.channels - whole) + a.code_step - 1) / a.code_step;
  const std::int64_t behind_elements = (elements - 1 + begin) / a.element_step;
  return a.pixels - (behind_codes > behind_elements ? behind_codes : behind_elements);
}

// Codes to bytes or to int16.
template <class Element>
SPNET_INLINE void code_elements(const ElementArgs& given) {
  const ElementArgs a = joined(given, 1);
  const std::uint8_t* from = a.codes;
  auto* to = reinterpret_cast<Element*>(a.elements);
  const std::int64_t whole = a.channels - a.channels % kBlock, rest = a.channels - whole;
  typedef std::uint8_t Codes __attribute__((vector_size(kBlock)));
  typedef Element Elements __attribute__((vector_size(kBlock * sizeof(Element))));
  Codes kept;
  SPNET_UNROLL for (int i = 0; i < kBlock; ++i) kept[i] = i < rest ? 255 : 0;
  std::int64_t p = 0;
  for (const std::int64_t end = reaching_runs(a, whole, kBlock, whole, kBlock); p < end;
       ++p, from += a.code_step, to += a.element_step) {
    copy_blocks(to, from, whole);
    Codes last;
    AllLanes{}.load(last, from + whole);
    last &= kept;
    AllLanes{}.store(to + whole, __builtin_convertvector(last, Elements));
  }
  for (; p < a.pixels; ++p, from += a.code_step, to += a.element_step) {
    copy_blocks(to, from, whole);
    std::int64_t c = whole;
    for (; c < a.channels; ++c) to[c] = from[c];
    for (; c < a.element_step; ++c) to[c] = 0;
  }
}

// pack_bits of the first eight of `count` codes, or of fewer and zeros.
SPNET_INLINE std::uint8_t pack_first_bits(const std::uint8_t* codes, std::int64_t count, int bit) {
  if (count >= 8) return pack_bits(codes, bit);
  std::uint64_t last;
  FirstLanes{static_cast<std::size_t>(count)}.load(last, codes);
  return pack_bits(reinterpret_cast<const std::uint8_t*>(&last), bit);
}

template <class I>
SPNET_INLINE void bit_elements(const ElementArgs& given) {
  const ElementArgs a = joined(given, 8);
  const std::uint8_t* from = a.codes;
  std::byte* to = a.elements;
  constexpr std::int64_t kCodes = 4 * I::kLanes;
  constexpr bool kPacks = requires(typename I::Vector v) { I::pack_bits(to, v, a.bit); };
  const auto pack_vectors = [&]() __attribute__((always_inline)) {
    std::int64_t c = 0;
    if constexpr (kPacks) {
      for (; c + kCodes <= a.channels; c += kCodes) {
        typename I::Vector codes;
        AllLanes{}.load(codes, from + c);
        I::pack_bits(to + c / 8, codes, a.bit);
      }
    }
    return c;
  };
  std::int64_t p = 0;
  if constexpr (kPacks && kCodes == 64) {
    const std::int64_t whole = a.channels - a.channels % kCodes;
    const std::uint64_t kept = (std::uint64_t{1} << a.channels % kCodes) - 1;
    for (const std::int64_t end = reaching_runs(a, whole, kCodes, whole / 8, 8); p < end;
         ++p, from += a.code_step, to += a.element_step) {
      pack_vectors();
      typename I::Vector codes;
      std::uint64_t bits;
      AllLanes{}.load(codes, from + whole);
      I::pack_bits(reinterpret_cast<std::byte*>(&bits), codes, a.bit);
      AllLanes{}.store(to + whole / 8, bits & kept);
    }
  }
  for (; p < a.pixels; ++p, from += a.code_step, to += a.element_step) {
    std::int64_t c = pack_vectors();
    for (; c < a.channels; c += 8) to[c / 8] = std::byte{pack_first_bits(from + c, a.channels - c, a.bit)};
    for (c /= 8; c < a.element_step; ++c) to[c] = std::byte{0};
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

// The sums of the two halves of 16 bytes.
typedef std::uint64_t TwoSums __attribute__((vector_size(16)));
SPNET_INLINE void sum_bytes(TwoSums& sums, const TwoSums& bytes) {
#if defined(__SSE2__)
  typedef char Bytes __attribute__((vector_size(16)));
  sums = reinterpret_cast<TwoSums>(__builtin_ia32_psadbw128(reinterpret_cast<Bytes>(bytes), Bytes{}));
#else
  constexpr std::uint64_t kEven = 0x00FF00FF00FF00FF;
  const TwoSums pairs = (bytes & kEven) + ((bytes >> 8) & kEven), fours = pairs + (pairs >> 16);
  sums = (fours + (fours >> 32)) & 0xFFFF;
#endif
}

// The sums of the codes of P pixels: 1 or 4.
template <int P>
SPNET_INLINE void sum_pixels_of(const PixelSumArgs& a, std::int64_t pixel) {
  const std::uint8_t* const from = a.codes + pixel * a.step;
  TwoSums sum[P] = {};
  std::int64_t c = 0;
  for (; c + 16 <= a.channels; c += 16) {
    SPNET_UNROLL for (int p = 0; p < P; ++p) {
      TwoSums codes, eights;
      std::memcpy(&codes, from + p * a.step + c, sizeof codes);
      sum_bytes(eights, codes);
      sum[p] += eights;
    }
  }
  std::int32_t* const to = a.sums + pixel;
  if constexpr (P == 4) {
    typedef std::int32_t FourSums __attribute__((vector_size(16)));
    const TwoSums first = __builtin_shufflevector(sum[0], sum[1], 0, 2) + __builtin_shufflevector(sum[0], sum[1], 1, 3);
    const TwoSums last = __builtin_shufflevector(sum[2], sum[3], 0, 2) + __builtin_shufflevector(sum[2], sum[3], 1, 3);
    const auto low = reinterpret_cast<FourSums>(first), high = reinterpret_cast<FourSums>(last);
    const FourSums sums = __builtin_shufflevector(low, high, 0, 2, 4, 6);
    AllLanes{}.store(to, sums);
  } else {
    to[0] = static_cast<std::int32_t>(sum[0][0] + sum[0][1]);
  }
  for (int p = 0; p < P; ++p)
    for (std::int64_t i = c; i < a.channels; ++i) to[p] += from[p * a.step + i];
}

SPNET_INLINE void sum_pixels(const PixelSumArgs& a) {
  std::int64_t p = 0;
  for (; p + 4 <= a.pixels; p += 4) sum_pixels_of<4>(a, p);
  for (; p < a.pixels; ++p) sum_pixels_of<1>(a, p);
}

template <class I>
SPNET_INLINE void sum_windows(const WindowSumArgs& a) {
  using V = typename I::Vector;
  std::int64_t p = 0;
  for (; a.stride == 1 && p + I::kLanes <= a.pixels; p += I::kLanes) {
    V sum{}, v;
    for (std::int64_t t = 0; t < a.taps; ++t) {
      AllLanes{}.load(v, a.sums + p + a.offsets[t]);
      add_modulo<I>(sum, v);
    }
    multiply_modulo<I>(sum, a.factor);
    AllLanes{}.store(a.terms + p, sum);
  }
  for (; p < a.pixels; ++p) {
    std::uint32_t sum = 0;
    for (std::int64_t t = 0; t < a.taps; ++t) sum += static_cast<std::uint32_t>(a.sums[p * a.stride + a.offsets[t]]);
    a.terms[p] = static_cast<std::int32_t>(static_cast<std::uint32_t>(a.factor) * sum);
  }
}

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
