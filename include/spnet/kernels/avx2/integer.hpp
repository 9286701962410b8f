// Integer convolution kernels of avx2, without and with VNNI, which came with AVX-512 and then without it, in two encodings.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>

#include "spnet/kernels/avx2/quantize.hpp"
#include "spnet/kernels/avx2/vector.hpp"
#include "spnet/kernels/depthwise_body.hpp"
#include "spnet/kernels/integer_body.hpp"
#include "spnet/kernels/totals_body.hpp"
#include "spnet/kernels/weights_body.hpp"

#define SPNET_AVX2_VNNI __attribute__((target("avx2,fma,avxvnni")))
#define SPNET_AVX2_VNNI_EVEX __attribute__((target("avx2,fma,avx512vl,avx512vnni")))

namespace spnet {
inline namespace v0 {
namespace kernels::avx2 {

struct Units {
  static constexpr int kLanes = 8;
  typedef std::int32_t Vector __attribute__((vector_size(32)));
  typedef std::uint32_t Bits __attribute__((vector_size(32)));
  typedef std::uint64_t Wide __attribute__((vector_size(32)));

  [[gnu::always_inline]] static void broadcast(Vector& v, const std::byte* from) {
#if defined(__clang__)
    std::int32_t unit;
    std::memcpy(&unit, from, sizeof unit);
    v = unit - Vector{};
#else
    // Neighbouring broadcasts must stay loads: GCC merges them into permutations.
    typedef std::int32_t Unaligned __attribute__((aligned(1), may_alias));
    asm("vpbroadcastd %1, %0" : "=x"(v) : "m"(*reinterpret_cast<const Unaligned*>(from)));
#endif
  }
#if !defined(__clang__)
  // In one step, which GCC takes apart.
  [[gnu::always_inline]] static void widen(Vector& v, const std::uint8_t* from) {
    typedef std::uint8_t Bytes __attribute__((vector_size(8), aligned(1), may_alias));
    asm("vpmovzxbd %1, %0" : "=x"(v) : "m"(*reinterpret_cast<const Bytes*>(from)));
  }
#endif
  [[gnu::always_inline]] static void stream(float* to, const Float::Vector& v) { Float::stream(to, v); }
  // The squares of the even lanes.
#if defined(__clang__)
  SPNET_AVX2 static void square_even(Wide& squares, const Vector& v) {
    squares = (Wide)_mm256_mul_epi32((__m256i)v, (__m256i)v);
  }
#else
  [[gnu::always_inline]] static void square_even(Wide& squares, const Vector& v) {
    asm("vpmuldq %1, %1, %0" : "=x"(squares) : "x"(v));
  }
#endif
};

// Products of bytes by way of int16, which their pairs must fit.
struct Bytes : Units {
  static constexpr int kElementBytes = 1;
#if defined(__clang__)
  SPNET_AVX2 static void dot(Vector& sum, const Vector& x, const Vector& w) {
    sum += (Vector)_mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)x, (__m256i)w), _mm256_set1_epi16(1));
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    const Vector ones = 0x10001 - Vector{};
    Vector products;
    asm("vpmaddubsw %2, %1, %0" : "=x"(products) : "x"(x), "x"(w));
    asm("vpmaddwd %1, %0, %0" : "+x"(products) : "x"(ones));
    body::add_modulo<Units>(sum, products);
  }
#endif
};

// Summed in int16, which whole sums must fit.
struct Shorts : Units {
  static constexpr int kElementBytes = 1;
#if defined(__clang__)
  SPNET_AVX2 static void dot(Vector& sum, const Vector& x, const Vector& w) {
    sum = (Vector)_mm256_add_epi16((__m256i)sum, _mm256_maddubs_epi16((__m256i)x, (__m256i)w));
  }
  SPNET_AVX2 static void finish(Vector& sum) {
    sum = (Vector)_mm256_madd_epi16((__m256i)sum, _mm256_set1_epi16(1));
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    Vector products;
    asm("vpmaddubsw %2, %1, %0" : "=x"(products) : "x"(x), "x"(w));
    asm("vpaddw %1, %0, %0" : "+x"(sum) : "x"(products));
  }
  [[gnu::always_inline]] static void finish(Vector& sum) {
    const Vector ones = 0x10001 - Vector{};
    asm("vpmaddwd %1, %0, %0" : "+x"(sum) : "x"(ones));
  }
#endif
};

struct Words : Units {
  static constexpr int kElementBytes = 2;
#if defined(__clang__)
  SPNET_AVX2 static void dot(Vector& sum, const Vector& x, const Vector& w) {
    sum += (Vector)_mm256_madd_epi16((__m256i)x, (__m256i)w);
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    Vector products;
    asm("vpmaddwd %2, %1, %0" : "=x"(products) : "x"(x), "x"(w));
    body::add_modulo<Units>(sum, products);
  }
#endif
};

struct Vnni : Units {
  static constexpr int kElementBytes = 1;
#if defined(__clang__)
  SPNET_AVX2_VNNI static void dot(Vector& sum, const Vector& x, const Vector& w) {
    sum = (Vector)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)x, (__m256i)w);
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(x), "x"(w));
  }
#endif
};

struct VnniEvex : Units {
  static constexpr int kElementBytes = 1;
#if defined(__clang__)
  SPNET_AVX2_VNNI_EVEX static void dot(Vector& sum, const Vector& x, const Vector& w) {
    sum = (Vector)_mm256_dpbusd_epi32((__m256i)sum, (__m256i)x, (__m256i)w);
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    asm("%{evex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(x), "x"(w));
  }
#endif
};

// How many bits of half bytes differ, from a table, summed in bytes, which whole sums must fit.
struct Differences : Units {
  static constexpr int kElementBytes = 1, kCodes = 4;
#if defined(__clang__)
  SPNET_AVX2 static void dot(Vector& sum, const Vector& x, const Vector& w) {
    const __m256i table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    sum = (Vector)_mm256_add_epi8((__m256i)sum, _mm256_shuffle_epi8(table, (__m256i)(x ^ w)));
  }
  SPNET_AVX2 static void finish(Vector& sum) {
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)sum, _mm256_set1_epi8(1));
    sum = (Vector)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    const Vector table{0x02010100, 0x03020201, 0x03020201, 0x04030302, 0x02010100, 0x03020201, 0x03020201, 0x04030302};
    Vector counts = x ^ w;
    asm("vpshufb %0, %1, %0" : "+x"(counts) : "x"(table));
    body::add_modulo<Units>(sum, counts);  // no byte carries over
  }
  [[gnu::always_inline]] static void finish(Vector& sum) {
    const Vector bytes = 0x01010101 - Vector{}, words = 0x10001 - Vector{};
    asm("vpmaddubsw %1, %0, %0" : "+x"(sum) : "x"(bytes));
    asm("vpmaddwd %1, %0, %0" : "+x"(sum) : "x"(words));
  }
#endif
};

// The largest tiles whose sums, weights and codes fit 16 registers.
template <class I>
SPNET_INLINE void integer_product(const IntegerProductArgs& a) {
  if (a.width == 2 * Units::kLanes) return body::integer_tiles<I, 4, 2>(a);
  body::integer_tiles<I, 8, 1>(a);
}

// Beside the table and the masks there is room for fewer sums.
SPNET_AVX2 inline void bit_product(const IntegerProductArgs& a) {
  if (a.width == 2 * Units::kLanes) return body::integer_tiles<Differences, 4, 2>(a);
  body::integer_tiles<Differences, 8, 1>(a);
}
// Nor is one for a vector of ones.
SPNET_AVX2 inline void short_product(const IntegerProductArgs& a) {
  if (a.width == 2 * Units::kLanes) return body::integer_tiles<Shorts, 6, 2>(a);
  body::integer_tiles<Shorts, 12, 1>(a);
}
// One instruction does a product: no register is needed for its steps.
template <class I>
SPNET_INLINE void vnni_tiles(const IntegerProductArgs& a) {
  if (a.width == 2 * Units::kLanes) return body::integer_tiles<I, 6, 2>(a);
  body::integer_tiles<I, 12, 1>(a);
}
SPNET_AVX2_VNNI inline void vnni_product(const IntegerProductArgs& a) { vnni_tiles<Vnni>(a); }
SPNET_AVX2_VNNI_EVEX inline void vnni_evex_product(const IntegerProductArgs& a) { vnni_tiles<VnniEvex>(a); }
SPNET_AVX2 inline void byte_product(const IntegerProductArgs& a) { integer_product<Bytes>(a); }
SPNET_AVX2 inline void word_product(const IntegerProductArgs& a) { integer_product<Words>(a); }
SPNET_AVX2 inline void byte_elements(const ElementArgs& a) { body::code_elements<std::uint8_t>(a); }
SPNET_AVX2 inline void word_elements(const ElementArgs& a) { body::code_elements<std::int16_t>(a); }
// Of 32 codes element i has those of i, i + 8, i + 16 and i + 24; of fewer, at the end of a run, four neighbours.
SPNET_AVX2 inline void bit_elements(const ElementArgs& given) {
  const ElementArgs a = given.channels % 32 == 0 ? body::joined(given, Differences::kCodes) : given;
  const __m256i ones = _mm256_set1_epi8(1), places = _mm256_setr_epi64x(0, 1, 2, 3);
  const __m128i bit = _mm_cvtsi32_si128(a.bit);
  const std::uint8_t* from = a.codes;
  std::byte* to = a.elements;
  for (std::int64_t p = 0; p < a.pixels; ++p, from += a.code_step, to += a.element_step) {
    std::int64_t c = 0;
    for (; c + 32 <= a.channels; c += 32) {
      const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + c));
      const __m256i bits = _mm256_sllv_epi64(_mm256_and_si256(_mm256_srl_epi64(codes, bit), ones), places);
      const __m128i pairs = _mm_or_si128(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(to + c / 4), _mm_or_si128(pairs, _mm_srli_si128(pairs, 8)));
    }
    for (; c < a.channels; c += 8) {
      const std::uint8_t bits = body::pack_first_bits(from + c, a.channels - c, a.bit);
      to[c / 4] = std::byte(bits & 15);
      if (c + 4 < a.channels) to[c / 4 + 1] = std::byte(bits >> 4);
    }
    for (c = (a.channels + 3) / 4; c < a.element_step; ++c) to[c] = std::byte{0};
  }
}
SPNET_AVX2 inline void code_depthwise(const CodeDepthwiseArgs& a) { body::depthwise<body::DepthwiseCodes<Lanes, Words>, 4>(a); }
SPNET_AVX2 inline void sum_pixels(const PixelSumArgs& a) { body::sum_pixels(a); }
SPNET_AVX2 inline void sum_windows(const WindowSumArgs& a) { body::sum_windows<Units>(a); }
SPNET_AVX2 inline void totals(const TotalsArgs& a) { body::totals<Units>(a); }
SPNET_AVX2 inline void gather_values(const ValueGatherArgs& a) { body::gather_values<Lanes>(a); }
SPNET_AVX2 inline void unpack_planes(const UnpackPlanesArgs& a) { body::unpack_planes<Units>(a); }
SPNET_AVX2 inline void pack_bytes(const PackWeightsArgs& a) { body::pack_weights<Units, std::int8_t>(a); }
SPNET_AVX2 inline void pack_words(const PackWeightsArgs& a) { body::pack_weights<Units, std::int16_t>(a); }
SPNET_AVX2 inline void pack_floats(const PackFloatsArgs& a) { body::pack_floats<Units>(a); }

constexpr CodeKernels code_kernels() {
  return {
      {"avx2 maddubs int16", Units::kLanes, 2 * Units::kLanes, 1, 1, 255, 32767, byte_elements, short_product},
      {"avx2 maddubs", Units::kLanes, 2 * Units::kLanes, 1, 1, 255, 0, byte_elements, byte_product},
      {"avx2 madd", Units::kLanes, 2 * Units::kLanes, 2, 1, 255, 0, word_elements, word_product},
      {"avx2 popcount", Units::kLanes, 2 * Units::kLanes, 1, Differences::kCodes, 255, 255, bit_elements, bit_product},
      2,
      96,
      code_depthwise,
      sum_pixels,
      sum_windows,
      totals,
      gather_values,
      unpack_planes,
      pack_bytes,
      pack_words,
      pack_floats};
}
constexpr CodeKernels vnni_code_kernels(void (*product)(const IntegerProductArgs&)) {
  CodeKernels kernels = code_kernels();
  kernels.narrow = {};
  kernels.small = kernels.exact = {"avx2 vnni", Units::kLanes, 2 * Units::kLanes, 1, 1, 255, 0, byte_elements, product};
  return kernels;
}

}  // namespace kernels::avx2
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
