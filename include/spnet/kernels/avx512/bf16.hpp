// bf16 kernels of avx512.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>

#include "spnet/kernels/avx512/integer.hpp"
#include "spnet/kernels/avx512/vector.hpp"
#include "spnet/kernels/bf16_body.hpp"

#define SPNET_AVX512_BF16 __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")))

namespace spnet {
inline namespace v0 {
namespace kernels::avx512 {

struct Bf16Pairs : Float {
  using Pairs = Units::Vector;

  [[gnu::always_inline]] static void broadcast(Pairs& v, const std::uint16_t* from) {
    Units::broadcast(v, reinterpret_cast<const std::byte*>(from));
  }
  // As Vnni.
#if defined(__clang__)
  SPNET_AVX512_BF16 static void dot(Vector& sum, const Pairs& x, const Pairs& w) {
    sum = (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)w);
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Pairs& x, const Pairs& w) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
  }
#endif
};

SPNET_AVX512_BF16 inline void bf16_product(const Bf16ProductArgs& a) {
  switch (a.width / Bf16Pairs::kLanes) {
    case 4:
      return body::bf16_tiles<Bf16Pairs, 6, 4>(a);
    case 3:
      return body::bf16_tiles<Bf16Pairs, 8, 3>(a);
    case 2:
      return body::bf16_tiles<Bf16Pairs, 12, 2>(a);
    default:
      return body::bf16_tiles<Bf16Pairs, 16, 1>(a);
  }
}

// The first `count` of 16 or 32 lanes.
SPNET_AVX512_BF16 inline __mmask16 first_floats(std::int64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xFFFF : (1u << (count > 0 ? count : 0)) - 1);
}
SPNET_AVX512_BF16 inline __mmask32 first_halves(std::int64_t count) {
  return count >= 32 ? ~__mmask32{0} : (__mmask32{1} << (count > 0 ? count : 0)) - 1;
}

// What x's upper bits `high` leave of it.
SPNET_AVX512_BF16 inline __m512 left_of(__m512 x, Units::Bits high) {
  constexpr int kNotFinite = 0x99;
  const __m512 left = x - (__m512)high;
  return _mm512_maskz_mov_ps(_knot_mask16(_mm512_fpclass_ps_mask(left, kNotFinite)), left);
}

// The first `count` of 16 bf16. They are read again soon, which must not wait for a masked store.
SPNET_AVX512_BF16 inline void store_halves(std::uint16_t* to, __m256bh halves, std::int64_t count) {
  if (count >= 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(to), (__m256i)halves);
  else
    _mm256_mask_storeu_epi16(to, first_floats(count), (__m256i)halves);
}

SPNET_AVX512_BF16 inline void bf16_split(const Bf16SplitArgs& given) {
  typedef std::uint16_t Halves __attribute__((vector_size(32)));
  Bf16SplitArgs a = given;
  // Runs that follow each other without a gap, on both sides, are one.
  if (a.x_step == a.channels && a.step == a.channels && a.channels % 2 == 0 && !a.scale) {
    a.channels *= a.pixels;
    a.pixels = 1;
  }
  const std::int64_t even = (a.channels + 1) / 2 * 2;
  for (std::int64_t p = 0; p < a.pixels; ++p, a.x += a.x_step, a.high += a.step) {
    std::int64_t c = 0;
    for (; !a.low && !a.scale && c + 32 <= a.channels; c += 32)
      _mm512_storeu_si512(a.high + c,
                          (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(a.x + c + 16), _mm512_loadu_ps(a.x + c)));
    for (; c < even; c += 16) {
      const __mmask16 present = first_floats(a.channels - c);
      __m512 x = _mm512_maskz_loadu_ps(present, a.x + c);
      if (a.scale) x *= _mm512_maskz_loadu_ps(present, a.scale + c);
      const __m256bh high = _mm512_cvtneps_pbh(x);
      store_halves(a.high + c, high, even - c);
      if (!a.low) continue;
      const __m512 left = left_of(x, __builtin_convertvector((Halves)high, Units::Bits) << 16);
      store_halves(a.low + c, _mm512_cvtneps_pbh(left), even - c);
    }
    if (a.low) a.low += a.step;
  }
}

// Pairs of 16 channels of two pixels, zeros where a channel or a pixel is not there.
SPNET_AVX512_BF16 inline __m512i load_pairs(const std::uint16_t* even, __mmask16 in_even, const std::uint16_t* odd,
                                            __mmask16 in_odd) {
  typedef std::uint16_t Halves __attribute__((vector_size(32), aligned(2)));
  constexpr __mmask16 kAll = 0xFFFF;
  Halves first, second;
  if (in_even == kAll && in_odd == kAll) {
    first = *reinterpret_cast<const Halves*>(even);
    second = *reinterpret_cast<const Halves*>(odd);
  } else {
    first = (Halves)_mm256_maskz_loadu_epi16(in_even, even);
    second = (Halves)_mm256_maskz_loadu_epi16(in_odd, odd);
  }
  return (__m512i)__builtin_shufflevector(first, second, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24,
                                          9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

SPNET_AVX512_BF16 inline void bf16_interleave(const Bf16OrderArgs& given) {
  const Bf16OrderArgs a = given;  // which no store changes
  const std::int64_t first = a.leads ? 1 : 0;
  for (std::int64_t c = 0; c < a.step; c += 16) {
    const __mmask16 present = first_floats(a.channels - c), none = 0;
    const std::uint16_t* x = a.x + c - first * a.x_step;
    std::uint16_t* to = a.to + 2 * c;
    for (std::int64_t p = 0; p < a.pixels; p += 2, x += 2 * a.x_step, to += 2 * a.step)
      _mm512_storeu_si512(to,
                          load_pairs(x, p >= first ? present : none, x + a.x_step, p + 1 < a.pixels ? present : none));
  }
}

// Transposes 16 × 16 pairs, by the masked forms of intrinsics, for GCC 12 warns of the plain ones' own definitions.
SPNET_AVX512_BF16 inline void transpose_pairs(__m512i (&v)[16]) {
  __m512i t[16];
  SPNET_UNROLL for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_maskz_unpacklo_epi32(0xFFFF, v[i], v[i + 1]);
    t[i + 1] = _mm512_maskz_unpackhi_epi32(0xFFFF, v[i], v[i + 1]);
  }
  SPNET_UNROLL for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_maskz_unpacklo_epi64(0xFF, t[i], t[i + 2]);
    v[i + 1] = _mm512_maskz_unpackhi_epi64(0xFF, t[i], t[i + 2]);
    v[i + 2] = _mm512_maskz_unpacklo_epi64(0xFF, t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_maskz_unpackhi_epi64(0xFF, t[i + 1], t[i + 3]);
  }
  // Now v[4·i + j] holds column 4·k + j of rows 4·i to 4·i + 3 in its quarter k.
  SPNET_UNROLL for (int j = 0; j < 4; ++j) {
    const __m512i first = _mm512_maskz_shuffle_i32x4(0xFFFF, v[j], v[4 + j], 0x44),
                  second = _mm512_maskz_shuffle_i32x4(0xFFFF, v[j], v[4 + j], 0xEE);
    const __m512i third = _mm512_maskz_shuffle_i32x4(0xFFFF, v[8 + j], v[12 + j], 0x44),
                  fourth = _mm512_maskz_shuffle_i32x4(0xFFFF, v[8 + j], v[12 + j], 0xEE);
    v[j] = _mm512_maskz_shuffle_i32x4(0xFFFF, first, third, 0x88);
    v[4 + j] = _mm512_maskz_shuffle_i32x4(0xFFFF, first, third, 0xDD);
    v[8 + j] = _mm512_maskz_shuffle_i32x4(0xFFFF, second, fourth, 0x88);
    v[12 + j] = _mm512_maskz_shuffle_i32x4(0xFFFF, second, fourth, 0xDD);
  }
}
SPNET_AVX512_BF16 inline void bf16_transpose(const Bf16OrderArgs& given) {
  const Bf16OrderArgs a = given;
  for (std::int64_t p = 0; p < a.pixels; p += 32) {
    for (std::int64_t c = 0; c < a.channels; c += 16) {
      const __mmask16 present = first_floats(a.channels - c), none = 0;
      const std::uint16_t* const x = a.x + p * a.x_step + c;
      const std::int64_t pixels = a.pixels - p;
      __m512i pairs[16];
      for (int i = 0; i < 16; ++i) {
        // What probably comes next: the machine does not foresee the jumps from pixel to pixel.
        __builtin_prefetch(x + (32 + 2 * i) * a.x_step);
        __builtin_prefetch(x + (33 + 2 * i) * a.x_step);
        pairs[i] = load_pairs(x + 2 * i * a.x_step, 2 * i < pixels ? present : none, x + (2 * i + 1) * a.x_step,
                              2 * i + 1 < pixels ? present : none);
      }
      transpose_pairs(pairs);
      SPNET_UNROLL for (int i = 0; i < 16; ++i) {
        if (c + i < a.channels) _mm512_mask_storeu_epi16(a.to + (c + i) * a.step + p, first_halves(pixels), pairs[i]);
      }
    }
  }
}

constexpr Bf16Kernels bf16_kernels() {
  return {"avx512 vdpbf16ps", Bf16Pairs::kLanes, 4 * Bf16Pairs::kLanes, bf16_split,
          bf16_interleave,    bf16_transpose,    bf16_product,          1};
}

}  // namespace kernels::avx512
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
