// Integer convolution kernels of avx512, without and with VNNI.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>

#include "spnet/kernels/avx512/quantize.hpp"
#include "spnet/kernels/avx512/vector.hpp"
#include "spnet/kernels/depthwise_body.hpp"
#include "spnet/kernels/integer_body.hpp"
#include "spnet/kernels/totals_body.hpp"
#include "spnet/kernels/weights_body.hpp"

#define SPNET_AVX512_VNNI __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")))
#define SPNET_AVX512_POPCNT __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx512vpopcntdq,avx2,fma")))

namespace spnet {
inline namespace v0 {
namespace kernels::avx512 {

struct Units {
  static constexpr int kLanes = 16;
  typedef std::int32_t Vector __attribute__((vector_size(64)));
  typedef std::uint32_t Bits __attribute__((vector_size(64)));
  typedef std::uint64_t Wide __attribute__((vector_size(64)));

  [[gnu::always_inline]] static void broadcast(Vector& v, const std::byte* from) {
#if defined(__clang__)
    std::int32_t unit;
    std::memcpy(&unit, from, sizeof unit);
    v = unit - Vector{};
#else
    // Neighbouring broadcasts must stay loads: GCC merges them into permutations.
    typedef std::int32_t Unaligned __attribute__((aligned(1), may_alias));
    asm("vpbroadcastd %1, %0" : "=v"(v) : "m"(*reinterpret_cast<const Unaligned*>(from)));
#endif
  }
#if !defined(__clang__)
  // In one step, which GCC takes apart.
  [[gnu::always_inline]] static void widen(Vector& v, const std::uint8_t* from) {
    typedef std::uint8_t Bytes __attribute__((vector_size(16), aligned(1), may_alias));
    asm("vpmovzxbd %1, %0" : "=v"(v) : "m"(*reinterpret_cast<const Bytes*>(from)));
  }
#endif
  [[gnu::always_inline]] static void stream(float* to, const Float::Vector& v) { Float::stream(to, v); }
  // The squares of the even lanes.
#if defined(__clang__)
  SPNET_AVX512 static void square_even(Wide& squares, const Vector& v) {
    squares = (Wide)_mm512_mul_epi32((__m512i)v, (__m512i)v);
  }
#else
  [[gnu::always_inline]] static void square_even(Wide& squares, const Vector& v) {
    asm("vpmuldq %1, %1, %0" : "=v"(squares) : "v"(v));
  }
#endif
  // One bit of each code.
#if defined(__clang__)
  SPNET_AVX512 static void pack_bits(std::byte* to, const Vector& codes, int bit) {
    const std::uint64_t bits = _mm512_test_epi8_mask((__m512i)codes, _mm512_set1_epi8(static_cast<char>(1 << bit)));
    std::memcpy(to, &bits, sizeof bits);
  }
#else
  [[gnu::always_inline]] static void pack_bits(std::byte* to, const Vector& codes, int bit) {
    const Vector mask = (0x01010101 << bit) - Vector{};
    std::uint64_t bits;
    asm("vptestmb %1, %2, %%k1\n\tkmovq %%k1, %0" : "=r"(bits) : "v"(codes), "v"(mask) : "k1");
    std::memcpy(to, &bits, sizeof bits);
  }
#endif
};

// GCC spills the sums around the intrinsics; Clang does not take 512-bit operands of `asm` in a body without target.
struct Vnni : Units {
  static constexpr int kElementBytes = 1;
#if defined(__clang__)
  SPNET_AVX512_VNNI static void dot(Vector& sum, const Vector& x, const Vector& w) {
    sum = (Vector)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
  }
#endif
};

// Products of bytes by way of int16, which their pairs must fit.
struct Bytes : Units {
  static constexpr int kElementBytes = 1;
#if defined(__clang__)
  SPNET_AVX512 static void dot(Vector& sum, const Vector& x, const Vector& w) {
    sum += (Vector)_mm512_madd_epi16(_mm512_maddubs_epi16((__m512i)x, (__m512i)w), _mm512_set1_epi16(1));
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    const Vector ones = 0x10001 - Vector{};
    Vector products;
    asm("vpmaddubsw %2, %1, %0" : "=v"(products) : "v"(x), "v"(w));
    asm("vpmaddwd %1, %0, %0" : "+v"(products) : "v"(ones));
    body::add_modulo<Units>(sum, products);
  }
#endif
};

// Summed in int16, which whole sums must fit.
struct Shorts : Units {
  static constexpr int kElementBytes = 1;
#if defined(__clang__)
  SPNET_AVX512 static void dot(Vector& sum, const Vector& x, const Vector& w) {
    sum = (Vector)_mm512_add_epi16((__m512i)sum, _mm512_maddubs_epi16((__m512i)x, (__m512i)w));
  }
  SPNET_AVX512 static void finish(Vector& sum) {
    sum = (Vector)_mm512_madd_epi16((__m512i)sum, _mm512_set1_epi16(1));
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    Vector products;
    asm("vpmaddubsw %2, %1, %0" : "=v"(products) : "v"(x), "v"(w));
    asm("vpaddw %1, %0, %0" : "+v"(sum) : "v"(products));
  }
  [[gnu::always_inline]] static void finish(Vector& sum) {
    const Vector ones = 0x10001 - Vector{};
    asm("vpmaddwd %1, %0, %0" : "+v"(sum) : "v"(ones));
  }
#endif
};

struct Words : Units {
  static constexpr int kElementBytes = 2;
#if defined(__clang__)
  SPNET_AVX512 static void dot(Vector& sum, const Vector& x, const Vector& w) {
    sum += (Vector)_mm512_madd_epi16((__m512i)x, (__m512i)w);
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    Vector products;
    asm("vpmaddwd %2, %1, %0" : "=v"(products) : "v"(x), "v"(w));
    body::add_modulo<Units>(sum, products);
  }
#endif
};

struct VnniWords : Units {
#if defined(__clang__)
  SPNET_AVX512_VNNI static void dot(Vector& sum, const Vector& x, const Vector& w) {
    sum = (Vector)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
  }
#endif
};

// How many bits differ.
struct Differences : Units {
  static constexpr int kElementBytes = 1, kCodes = 8;
#if defined(__clang__)
  SPNET_AVX512_POPCNT static void dot(Vector& sum, const Vector& x, const Vector& w) {
    sum += (Vector)_mm512_popcnt_epi32((__m512i)(x ^ w));
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    Vector counts = x ^ w;
    asm("vpopcntd %0, %0" : "+v"(counts));
    body::add_modulo<Units>(sum, counts);
  }
#endif
};

// The largest tiles whose sums, weights and codes fit 32 registers, and that common row lengths fill.
template <class I>
SPNET_INLINE void integer_product(const IntegerProductArgs& a) {
  switch (a.width / Units::kLanes) {
    case 4: return body::integer_tiles<I, 6, 4>(a);
    case 3: return body::integer_tiles<I, 8, 3>(a);
    case 2: return body::integer_tiles<I, 8, 2>(a);
    default: return body::integer_tiles<I, 16, 1>(a);
  }
}

SPNET_AVX512_VNNI inline void vnni_product(const IntegerProductArgs& a) { integer_product<Vnni>(a); }
SPNET_AVX512_POPCNT inline void bit_product(const IntegerProductArgs& a) { integer_product<Differences>(a); }
SPNET_AVX512 inline void byte_product(const IntegerProductArgs& a) { integer_product<Bytes>(a); }
SPNET_AVX512 inline void short_product(const IntegerProductArgs& a) { integer_product<Shorts>(a); }
SPNET_AVX512 inline void word_product(const IntegerProductArgs& a) { integer_product<Words>(a); }
SPNET_AVX512 inline void byte_elements(const ElementArgs& a) { body::code_elements<std::uint8_t>(a); }
SPNET_AVX512 inline void word_elements(const ElementArgs& a) { body::code_elements<std::int16_t>(a); }
SPNET_AVX512 inline void bit_elements(const ElementArgs& a) { body::bit_elements<Units>(a); }
SPNET_AVX512_VNNI inline void vnni_depthwise(const CodeDepthwiseArgs& a) {
  body::depthwise<body::DepthwiseCodes<Lanes, VnniWords>, 8>(a);
}
SPNET_AVX512 inline void code_depthwise(const CodeDepthwiseArgs& a) {
  body::depthwise<body::DepthwiseCodes<Lanes, Words>, 8>(a);
}
SPNET_AVX512 inline void sum_pixels(const PixelSumArgs& a) { body::sum_pixels(a); }
SPNET_AVX512 inline void sum_windows(const WindowSumArgs& a) { body::sum_windows<Units>(a); }
SPNET_AVX512 inline void totals(const TotalsArgs& a) { body::totals<Units>(a); }
SPNET_AVX512 inline void gather_values(const ValueGatherArgs& a) { body::gather_values<Lanes>(a); }
SPNET_AVX512 inline void unpack_planes(const UnpackPlanesArgs& a) { body::unpack_planes<Units>(a); }
SPNET_AVX512 inline void pack_bytes(const PackWeightsArgs& a) { body::pack_weights<Units, std::int8_t>(a); }
SPNET_AVX512 inline void pack_words(const PackWeightsArgs& a) { body::pack_weights<Units, std::int16_t>(a); }
SPNET_AVX512 inline void pack_floats(const PackFloatsArgs& a) { body::pack_floats<Units>(a); }

constexpr CodeKernels code_kernels() {
  return {{"avx512 maddubs int16", Units::kLanes, 4 * Units::kLanes, 1, 1, 255, 32767, byte_elements, short_product},
          {"avx512 maddubs", Units::kLanes, 4 * Units::kLanes, 1, 1, 255, 0, byte_elements, byte_product},
          {"avx512 madd", Units::kLanes, 4 * Units::kLanes, 2, 1, 255, 0, word_elements, word_product},
          {},
          0,
          0,
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
constexpr CodeKernels vnni_code_kernels() {
  constexpr IntegerKernels vnni{"avx512 vnni", Units::kLanes, 4 * Units::kLanes, 1, 1, 255, 0, byte_elements, vnni_product};
  return {
      {},     vnni,          vnni,          {},         0,          0,          vnni_depthwise, sum_pixels, sum_windows,
      totals, gather_values, unpack_planes, pack_bytes, pack_words, pack_floats};
}
constexpr CodeKernels popcnt_code_kernels(std::int64_t plane_pairs) {
  CodeKernels kernels = vnni_code_kernels();
  kernels.bits = {
      "avx512 vpopcnt", Units::kLanes, 4 * Units::kLanes, 1, Differences::kCodes, 255, 0, bit_elements, bit_product};
  kernels.plane_pairs = plane_pairs;
  kernels.plane_reads = 12;
  return kernels;
}

}  // namespace kernels::avx512
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
