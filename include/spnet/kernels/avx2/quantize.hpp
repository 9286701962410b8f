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

#if !defined(__clang__)  // which knows these operands in functions with a target attribute alone
  // Words come by a masked load: a vector made of parts waits for them to reach memory. Masked stores are slow on some.
  class First : public body::FirstLanes {
   public:
    SPNET_INLINE explicit First(std::int64_t count) : FirstLanes{static_cast<std::size_t>(count)} {
      std::memcpy(&mask_, kMasks + kCount - count, sizeof mask_);
    }
    using FirstLanes::load;
    SPNET_INLINE void load(Float& v, const float* from) const { load_words(v, from); }
    SPNET_INLINE void load(Int& v, const std::int32_t* from) const { load_words(v, from); }

   private:
    typedef std::int32_t Words __attribute__((vector_size(32), aligned(4), may_alias));
    static constexpr std::int32_t kMasks[2 * kCount] = {-1, -1, -1, -1, -1, -1, -1, -1};
    template <class V, class E>
    SPNET_INLINE void load_words(V& v, const E* from) const {
      asm("vmaskmovps %1, %2, %0" : "=x"(v) : "m"(*reinterpret_cast<const Words*>(from)), "x"(mask_));
    }

    Int mask_;
  };
  SPNET_INLINE static First first(std::int64_t count) { return First(count); }
#endif
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
