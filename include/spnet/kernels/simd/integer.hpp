// Integer convolution kernels of the portable tier: vectors of 16 bytes, which every CPU of interest has.
#pragma once

#include "spnet/kernels/depthwise_body.hpp"
#include "spnet/kernels/integer_body.hpp"
#include "spnet/kernels/simd/quantize.hpp"
#include "spnet/kernels/totals_body.hpp"
#include "spnet/kernels/weights_body.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::simd {

// Units of two int16.
struct Words {
  static constexpr int kLanes = 4;
  static constexpr int kElementBytes = 2;
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
    const Wide even = reinterpret_cast<Wide>(v < 0 ? Bits{} - reinterpret_cast<Bits>(v) : reinterpret_cast<Bits>(v)) & 0xffffffff;
    squares = even * even;
  }
  [[gnu::always_inline]] static void dot(Vector& sum, const Vector& x, const Vector& w) {
#if defined(__SSE2__)
    typedef short Halves __attribute__((vector_size(16)));
    body::add_modulo<Words>(sum, reinterpret_cast<Vector>(
                 __builtin_ia32_pmaddwd128(reinterpret_cast<Halves>(x), reinterpret_cast<Halves>(w))));
#else
    const Vector x_low = reinterpret_cast<Vector>(reinterpret_cast<Bits>(x) << 16) >> 16;
    const Vector w_low = reinterpret_cast<Vector>(reinterpret_cast<Bits>(w) << 16) >> 16;
    body::add_modulo<Words>(sum, x_low * w_low);
    body::add_modulo<Words>(sum, (x >> 16) * (w >> 16));
#endif
  }
};

inline void word_product(const IntegerProductArgs& a) {
  if (a.width == 2 * Words::kLanes) return body::integer_tiles<Words, 4, 2>(a);
  body::integer_tiles<Words, 4, 1>(a);
}
inline void word_elements(const ElementArgs& a) { body::code_elements<std::int16_t>(a); }
inline void code_depthwise(const CodeDepthwiseArgs& a) { body::depthwise<body::DepthwiseCodes<Lanes, Words>, 4>(a); }
inline void sum_pixels(const PixelSumArgs& a) { body::sum_pixels(a); }
inline void sum_windows(const WindowSumArgs& a) { body::sum_windows<Words>(a); }
inline void totals(const TotalsArgs& a) { body::totals<Words>(a); }
inline void gather_values(const ValueGatherArgs& a) { body::gather_values<Lanes>(a); }
inline void unpack_planes(const UnpackPlanesArgs& a) { body::unpack_planes<Words>(a); }
inline void pack_bytes(const PackWeightsArgs& a) { body::pack_weights<Words, std::int8_t>(a); }
inline void pack_words(const PackWeightsArgs& a) { body::pack_weights<Words, std::int16_t>(a); }
inline void pack_floats(const PackFloatsArgs& a) { body::pack_floats<Words>(a); }

constexpr CodeKernels code_kernels() {
  constexpr IntegerKernels words{"simd madd", Words::kLanes, 2 * Words::kLanes, 2, 1, 255, 0, word_elements, word_product};
  return {
      {},     words,         words,         {},         0,          0,          code_depthwise, sum_pixels, sum_windows,
      totals, gather_values, unpack_planes, pack_bytes, pack_words, pack_floats};
}

}  // namespace kernels::simd
}  // namespace v0
}  // namespace spnet
