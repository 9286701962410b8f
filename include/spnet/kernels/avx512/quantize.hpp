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
  typedef std::uint16_t Half __attribute__((vector_size(32)));
  typedef std::uint8_t Byte __attribute__((vector_size(16)));
  SPNET_INLINE static void pack(Byte& bytes, const Int& v) { bytes = __builtin_convertvector(v, Byte); }

#if !defined(__clang__)  // which knows these operands in functions with a target attribute alone
  // Masked moves, which neither read nor write the other lanes.
  class First {
   public:
    SPNET_INLINE explicit First(std::int64_t count) : mask_(static_cast<std::uint16_t>((1 << count) - 1)) {}
    SPNET_INLINE void load(Float& v, const float* from) const { load_words(v, from); }
    SPNET_INLINE void load(Int& v, const std::int32_t* from) const { load_words(v, from); }
    SPNET_INLINE void load(Byte& v, const std::uint8_t* from) const {
      asm("vmovdqu8 %1, %0%{%2%}%{z%}" : "=v"(v) : "m"(*reinterpret_cast<const Bytes*>(from)), "Yk"(mask_));
    }
    SPNET_INLINE void store(float* to, const Float& v) const { store_words(to, v); }
    SPNET_INLINE void store(std::int32_t* to, const Int& v) const { store_words(to, v); }
    SPNET_INLINE void store(std::uint8_t* to, const Byte& v) const {
      asm("vmovdqu8 %1, %0%{%2%}" : "+m"(*reinterpret_cast<Bytes*>(to)) : "v"(v), "Yk"(mask_));
    }

   private:
    typedef std::int32_t Words __attribute__((vector_size(64), aligned(4), may_alias));
    typedef std::uint8_t Bytes __attribute__((vector_size(16), aligned(1), may_alias));
    template <class V, class E>
    SPNET_INLINE void load_words(V& v, const E* from) const {
      asm("vmovups %1, %0%{%2%}%{z%}" : "=v"(v) : "m"(*reinterpret_cast<const Words*>(from)), "Yk"(mask_));
    }
    template <class V, class E>
    SPNET_INLINE void store_words(E* to, const V& v) const {
      asm("vmovups %1, %0%{%2%}" : "+m"(*reinterpret_cast<Words*>(to)) : "v"(v), "Yk"(mask_));
    }

    std::uint16_t mask_;
  };
  SPNET_INLINE static First first(std::int64_t count) { return First(count); }
#endif
};

SPNET_AVX512 inline bool uniform_codes(const UniformCodesArgs& a) { return body::uniform_codes<Lanes>(a); }
SPNET_AVX512 inline bool sign_codes(const float* x, std::int64_t count, bool zero_is_positive, std::uint8_t* codes) {
  return body::sign_codes<Lanes>(x, count, zero_is_positive, codes);
}
SPNET_AVX512 inline bool tanh(const float* x, float* y, std::int64_t count) { return body::tanh<Lanes>(x, y, count); }
SPNET_AVX512 inline void centered_codes(const CenteredCodesArgs& a) { body::centered_codes<Lanes>(a); }
SPNET_AVX512 inline void centered_sums(const CenteredGradientArgs& a, double* products, double* attained) {
  body::centered_sums<Lanes>(a, products, attained);
}
SPNET_AVX512 inline void centered_gradient(const CenteredGradientArgs& a) { body::centered_gradient<Lanes>(a); }
SPNET_AVX512 inline void decode(const DecodeArgs& a) { body::decode<Lanes>(a); }
SPNET_AVX512 inline void clamp_gradient(const ClampGradientArgs& a) { body::clamp_gradient<Lanes>(a); }
SPNET_AVX512 inline double scale_gradient(const ScaleGradientArgs& a) { return body::scale_gradient<Lanes>(a); }
SPNET_AVX512 inline bool log_codes(const LogCodesArgs& a) { return body::log_codes<Lanes>(a); }
SPNET_AVX512 inline void log2(const float* x, float* y, std::int64_t count) { body::log2<Lanes>(x, y, count); }
SPNET_AVX512 inline void extremes(const float* x, std::int64_t count, bool absolute, float* smallest, float* largest) {
  body::extremes<Lanes>(x, count, absolute, smallest, largest);
}

constexpr QuantizeKernels quantize_kernels() {
  return {uniform_codes, sign_codes,     tanh,           centered_codes, centered_sums, centered_gradient,
          decode,        clamp_gradient, scale_gradient, log_codes,      log2,          extremes};
}

}  // namespace kernels::avx512
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
