// The quantizers' kernels of avx512.
#pragma once

#if defined(__x86_64__)
#include "spnet/kernels/avx512/vector.hpp"
#include "spnet/kernels/quantize_body.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::avx512 {

struct Lanes {
  static constexpr int kCount = 16;
  typedef float Float __attribute__((vector_size(64)));
  typedef std::int32_t Int __attribute__((vector_size(64)));
  typedef std::uint8_t Byte __attribute__((vector_size(16)));
  SPNET_INLINE static void pack(Byte& bytes, const Int& v) { bytes = __builtin_convertvector(v, Byte); }
};

SPNET_AVX512 inline bool uniform_codes(const UniformCodesArgs& a) { return body::uniform_codes<Lanes>(a); }
SPNET_AVX512 inline bool sign_codes(const float* x, std::int64_t count, bool zero_is_positive, std::uint8_t* codes) {
  return body::sign_codes<Lanes>(x, count, zero_is_positive, codes);
}
SPNET_AVX512 inline bool tanh(const float* x, float* y, std::int64_t count) { return body::tanh<Lanes>(x, y, count); }
SPNET_AVX512 inline void centered_codes(const CenteredCodesArgs& a) { body::centered_codes<Lanes>(a); }
SPNET_AVX512 inline void decode(const DecodeArgs& a) { body::decode<Lanes>(a); }
SPNET_AVX512 inline void clamp_gradient(const ClampGradientArgs& a) { body::clamp_gradient<Lanes>(a); }

constexpr QuantizeKernels quantize_kernels() {
  return {uniform_codes, sign_codes, tanh, centered_codes, decode, clamp_gradient};
}

}  // namespace kernels::avx512
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
