// The quantizers' kernels of the portable tier.
#pragma once

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#include "spnet/kernels/quantize_body.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::simd {

struct Lanes {
  static constexpr int kCount = 4;
  typedef float Float __attribute__((vector_size(16)));
  typedef std::int32_t Int __attribute__((vector_size(16)));
  typedef std::uint16_t Half __attribute__((vector_size(8)));
  typedef std::uint8_t Byte __attribute__((vector_size(4)));
  SPNET_INLINE static void pack(Byte& bytes, const Int& v) {
#if defined(__x86_64__)
    const __m128i words = _mm_packs_epi32(reinterpret_cast<__m128i>(v), __m128i{});
    const std::int32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    std::memcpy(&bytes, &four, sizeof bytes);
#else
    bytes = __builtin_convertvector(v, Byte);
#endif
  }
};

inline bool uniform_codes(const UniformCodesArgs& a) { return body::uniform_codes<Lanes>(a); }
inline bool sign_codes(const float* x, std::int64_t count, bool zero_is_positive, std::uint8_t* codes) {
  return body::sign_codes<Lanes>(x, count, zero_is_positive, codes);
}
inline bool tanh(const float* x, float* y, std::int64_t count) { return body::tanh<Lanes>(x, y, count); }
inline void centered_codes(const CenteredCodesArgs& a) { body::centered_codes<Lanes>(a); }
inline void centered_sums(const CenteredGradientArgs& a, double* products, double* attained) {
  body::centered_sums<Lanes>(a, products, attained);
}
inline void centered_gradient(const CenteredGradientArgs& a) { body::centered_gradient<Lanes>(a); }
inline void decode(const DecodeArgs& a) { body::decode<Lanes>(a); }
inline void clamp_gradient(const ClampGradientArgs& a) { body::clamp_gradient<Lanes>(a); }
inline double scale_gradient(const ScaleGradientArgs& a) { return body::scale_gradient<Lanes>(a); }
inline bool log_codes(const LogCodesArgs& a) { return body::log_codes<Lanes>(a); }
inline void log2(const float* x, float* y, std::int64_t count) { body::log2<Lanes>(x, y, count); }
inline void extremes(const float* x, std::int64_t count, bool absolute, float* smallest, float* largest) {
  body::extremes<Lanes>(x, count, absolute, smallest, largest);
}

constexpr QuantizeKernels quantize_kernels() {
  return {uniform_codes, sign_codes,     tanh,           centered_codes, centered_sums, centered_gradient,
          decode,        clamp_gradient, scale_gradient, log_codes,      log2,          extremes};
}

}  // namespace kernels::simd
}  // namespace v0
}  // namespace spnet
