// Integer convolution kernels of neon, without and with the dot product and i8mm extensions.
#pragma once

#if defined(__aarch64__)
#include <arm_neon.h>

#include "spnet/kernels/depthwise_body.hpp"
#include "spnet/kernels/integer_body.hpp"
#include "spnet/kernels/simd/quantize.hpp"
#include "spnet/kernels/totals_body.hpp"
#include "spnet/kernels/weights_body.hpp"

#define SPNET_NEON_DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#define SPNET_NEON_I8MM __attribute__((target("arch=armv8.2-a+dotprod+i8mm")))

namespace spnet {
inline namespace v0 {
namespace kernels::neon {

struct Units {
  static constexpr int kLanes = 4;
  typedef std::int32_t Vector __attribute__((vector_size(16)));
  typedef std::uint32_t Bits __attribute__((vector_size(16)));
  typedef std::uint64_t Wide __attribute__((vector_size(16)));

  [[gnu::always_inline]] static void broadcast(Vector& v, const std::byte* from) {
    std::int32_t unit;
    std::memcpy(&unit, from, sizeof unit);
    v = unit - Vector{};
  }
  // The squares of the even lanes.
  [[gnu::always_inline]] static void square_even(Wide& squares, const Vector& v) {
    const int32x2_t even = vmovn_s64((int64x2_t)v);
    squares = (Wide)vmull_s32(even, even);
  }
};

// Products of bytes by way of int16, which their pairs must fit; codes of 7 bits at most, for both factors are signed.
struct Bytes : Units {
  static constexpr int kElementBytes = 1;
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    const int16x8_t low = vmull_s8(vget_low_s8((int8x16_t)x), vget_low_s8((int8x16_t)w));
    const int16x8_t high = vmull_high_s8((int8x16_t)x, (int8x16_t)w);
    sum = (Vector)vpadalq_s16((int32x4_t)sum, vpaddq_s16(low, high));
  }
};

struct Words : Units {
  static constexpr int kElementBytes = 2;
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    const int32x4_t low = vmull_s16(vget_low_s16((int16x8_t)x), vget_low_s16((int16x8_t)w));
    const int32x4_t high = vmull_high_s16((int16x8_t)x, (int16x8_t)w);
    body::add_modulo<Units>(sum, (Vector)vpaddq_s32(low, high));
  }
};

// Of int32, which fit int16.
struct Products {
  [[gnu::always_inline]] static void dot(Units::Vector& sum, const Units::Vector& x, const Units::Vector& w) { sum += x * w; }
};

// Codes of 7 bits at most, for both factors are signed.
struct Dot : Units {
  static constexpr int kElementBytes = 1;
#if defined(__clang__)
  SPNET_NEON_DOTPROD static void dot(Vector& sum, const Vector& x, const Vector& w) {
    sum = (Vector)vdotq_s32((int32x4_t)sum, (int8x16_t)x, (int8x16_t)w);
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    asm("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(x), "w"(w));
  }
#endif
};

// The highest bit of a code apart: as a signed byte it stands for -128.
struct SplitDot : Units {
  static constexpr int kElementBytes = 1;
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    Vector negative{};
    Dot::dot(sum, x & 0x7f7f7f7f, w);
    Dot::dot(negative, (Vector)((Bits)x & 0x80808080u), w);
    sum = (Vector)((Bits)sum - (Bits)negative);
  }
};

struct MixedDot : Units {
  static constexpr int kElementBytes = 1;
#if defined(__clang__)
  SPNET_NEON_I8MM static void dot(Vector& sum, const Vector& x, const Vector& w) {
    sum = (Vector)vusdotq_s32((int32x4_t)sum, (uint8x16_t)x, (int8x16_t)w);
  }
#else
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    asm("usdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(x), "w"(w));
  }
#endif
};

// How many bits differ, summed in bytes, which whole sums must fit.
struct Differences : Units {
  static constexpr int kElementBytes = 1, kCodes = 8;
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
    sum = (Vector)vaddq_u8((uint8x16_t)sum, vcntq_u8((uint8x16_t)(x ^ w)));
  }
  [[gnu::always_inline]] static void finish(Vector& sum) { sum = (Vector)vpaddlq_u16(vpaddlq_u8((uint8x16_t)sum)); }
};

// Beside the largest tile's sums and weights there is room for the steps of a product.
template <class I>
SPNET_INLINE void integer_product(const IntegerProductArgs& a) {
  switch (a.width / Units::kLanes) {
    case 4: return body::integer_tiles<I, 5, 4>(a);
    case 3: return body::integer_tiles<I, 6, 3>(a);
    case 2: return body::integer_tiles<I, 8, 2>(a);
    default: return body::integer_tiles<I, 8, 1>(a);
  }
}

inline void byte_product(const IntegerProductArgs& a) { integer_product<Bytes>(a); }
inline void word_product(const IntegerProductArgs& a) { integer_product<Words>(a); }
inline void bit_product(const IntegerProductArgs& a) { integer_product<Differences>(a); }
SPNET_NEON_DOTPROD inline void dot_product(const IntegerProductArgs& a) { integer_product<Dot>(a); }
SPNET_NEON_DOTPROD inline void split_dot_product(const IntegerProductArgs& a) { integer_product<SplitDot>(a); }
SPNET_NEON_I8MM inline void mixed_dot_product(const IntegerProductArgs& a) { integer_product<MixedDot>(a); }
inline void byte_elements(const ElementArgs& a) { body::code_elements<std::uint8_t>(a); }
inline void word_elements(const ElementArgs& a) { body::code_elements<std::int16_t>(a); }
inline void bit_elements(const ElementArgs& a) { body::bit_elements<Units>(a); }
inline void code_depthwise(const CodeDepthwiseArgs& a) { body::depthwise<body::DepthwiseCodes<simd::Lanes, Products>, 8>(a); }
inline void sum_pixels(const PixelSumArgs& a) { body::sum_pixels(a); }
inline void sum_windows(const WindowSumArgs& a) { body::sum_windows<Units>(a); }
inline void totals(const TotalsArgs& a) { body::totals<Units>(a); }
inline void gather_values(const ValueGatherArgs& a) { body::gather_values<simd::Lanes>(a); }
inline void unpack_planes(const UnpackPlanesArgs& a) { body::unpack_planes<Units>(a); }
inline void pack_bytes(const PackWeightsArgs& a) { body::pack_weights<Units, std::int8_t>(a); }
inline void pack_words(const PackWeightsArgs& a) { body::pack_weights<Units, std::int16_t>(a); }
inline void pack_floats(const PackFloatsArgs& a) { body::pack_floats<Units>(a); }

constexpr IntegerKernels byte_kernels(const char* name, std::int64_t largest_code, void (*product)(const IntegerProductArgs&)) {
  return {name, Units::kLanes, 4 * Units::kLanes, 1, 1, largest_code, 0, byte_elements, product};
}
constexpr CodeKernels code_kernels() {
  return {{},
          byte_kernels("neon smull", 127, byte_product),
          {"neon smull words", Units::kLanes, 4 * Units::kLanes, 2, 1, 255, 0, word_elements, word_product},
          {"neon cnt", Units::kLanes, 4 * Units::kLanes, 1, Differences::kCodes, 255, 255, bit_elements, bit_product},
          1,
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
constexpr CodeKernels dotprod_code_kernels() {
  CodeKernels kernels = code_kernels();
  kernels.small = byte_kernels("neon sdot", 127, dot_product);
  kernels.exact = byte_kernels("neon sdot twice", 255, split_dot_product);
  kernels.plane_pairs = 1;
  return kernels;
}
constexpr CodeKernels i8mm_code_kernels() {
  CodeKernels kernels = code_kernels();
  kernels.small = kernels.exact = byte_kernels("neon usdot", 255, mixed_dot_product);
  kernels.plane_pairs = 1;
  return kernels;
}

}  // namespace kernels::neon
}  // namespace v0
}  // namespace spnet
#endif  // __aarch64__
