// The quantizers' kernels of avx2.
#pragma once

#if defined(__x86_64__)
#include "spnet/kernels/avx2/vector.hpp"
#include "spnet/kernels/quantize_body.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::avx2 {

struct Lanes {
  static constexpr int kCount = 8;
  typedef float Float __attribute__((vector_size(32)));
  typedef std::int32_t Int __attribute__((vector_size(32)));
  typedef std::uint16_t Half __attribute__((vector_size(16)));
  typedef std::uint8_t Byte __attribute__((vector_size(8)));
  SPNET_INLINE static void pack(Byte& bytes, const Int& v) {
    typedef std::uint8_t Whole __attribute__((vector_size(32)));
    const Whole all = reinterpret_cast<Whole>(v);
    bytes = __builtin_shufflevector(all, all, 0, 4, 8, 12, 16, 20, 24, 28);
  }
};

SPNET_AVX2 inline bool uniform_codes(const UniformCodesArgs& a) { return body::uniform_codes<Lanes>(a); }
SPNET_AVX2 inline bool sign_codes(const float* x, std::int64_t count, bool zero_is_positive, std::uint8_t* codes) {
  return body::sign_codes<Lanes>(x, count, zero_is_positive, codes);
}
SPNET_AVX2 inline bool tanh(const float* x, float* y, std::int64_t count) { return body::tanh<Lanes>(x, y, count); }
SPNET_AVX2 inline void centered_codes(const CenteredCodesArgs& a) { body::centered_codes<Lanes>(a); }
SPNET_AVX2 inline void centered_sums(const CenteredGradientArgs& a, double* products, double* attained) {
  body::centered_sums<Lanes>(a, products, attained);
}
SPNET_AVX2 inline void centered_gradient(const CenteredGradientArgs& a) { body::centered_gradient<Lanes>(a); }
SPNET_AVX2 inline void decode(const DecodeArgs& a) { body::decode<Lanes>(a); }
SPNET_AVX2 inline void clamp_gradient(const ClampGradientArgs& a) { body::clamp_gradient<Lanes>(a); }
SPNET_AVX2 inline double scale_gradient(const ScaleGradientArgs& a) { return body::scale_gradient<Lanes>(a); }
SPNET_AVX2 inline bool log_codes(const LogCodesArgs& a) { return body::log_codes<Lanes>(a); }
SPNET_AVX2 inline void log2(const float* x, float* y, std::int64_t count) { body::log2<Lanes>(x, y, count); }
SPNET_AVX2 inline void extremes(const float* x, std::int64_t count, bool absolute, float* smallest, float* largest) {
  body::extremes<Lanes>(x, count, absolute, smallest, largest);
}

constexpr QuantizeKernels quantize_kernels() {
  return {uniform_codes, sign_codes,     tanh,           centered_codes, centered_sums, centered_gradient,
          decode,        clamp_gradient, scale_gradient, log_codes,      log2,          extremes};
}

}  // namespace kernels::avx2
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
