// Vectors of the portable tier: xsimd at the program's own architecture.
#pragma once

#include <xsimd/xsimd.hpp>

namespace spnet {
inline namespace v0 {
namespace kernels::simd {

struct Float {
  using Vector = xsimd::batch<float>;
  static constexpr int kLanes = static_cast<int>(Vector::size);

  [[gnu::always_inline]] static void zero(Vector& v) { v = Vector(0.0f); }
  [[gnu::always_inline]] static void load(Vector& v, const float* from) { v = Vector::load_unaligned(from); }
  [[gnu::always_inline]] static void store(float* to, const Vector& v) { v.store_unaligned(to); }
  [[gnu::always_inline]] static void keep(Vector& v, const Vector& mask) { v = v & mask; }
  [[gnu::always_inline]] static void add(Vector& sum, const Vector& v) { sum = sum + v; }
  [[gnu::always_inline]] static void multiply_add(Vector& sum, const Vector& a, const Vector& b) {
    sum = xsimd::fma(a, b, sum);
  }
  [[gnu::always_inline]] static void multiply_add(Vector& sum, const Vector& a, float b) {
    sum = xsimd::fma(a, Vector(b), sum);
  }
};

}  // namespace kernels::simd
}  // namespace v0
}  // namespace spnet
