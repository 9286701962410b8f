// Vectors of avx2, in the compilers' own vector extension: no intrinsics, so that bodies without a target attribute
// may use them and be inlined into functions with one.
#pragma once

#if defined(__x86_64__)
#include <cstdint>

#define SPNET_AVX2 __attribute__((target("avx2,fma")))

namespace spnet {
inline namespace v0 {
namespace kernels::avx2 {

struct Float {
  static constexpr int kLanes = 8;
  typedef float Vector __attribute__((vector_size(32)));
  typedef std::int32_t Bits __attribute__((vector_size(32)));
  typedef float Unaligned __attribute__((vector_size(32), aligned(4), may_alias));

  [[gnu::always_inline]] static void zero(Vector& v) { v = Vector{}; }
  [[gnu::always_inline]] static void load(Vector& v, const float* from) {
    v = *reinterpret_cast<const Unaligned*>(from);
  }
  [[gnu::always_inline]] static void store(float* to, const Vector& v) { *reinterpret_cast<Unaligned*>(to) = v; }
  // Past the caches, to whole cache lines; other threads see it after a fence.
  [[gnu::always_inline]] static void stream(float* to, const Vector& v) {
#if defined(__clang__)
    __builtin_nontemporal_store(v, reinterpret_cast<Vector*>(to));
#else
    asm("vmovntps %1, %0" : "=m"(*reinterpret_cast<Vector*>(to)) : "x"(v));
#endif
  }
  [[gnu::always_inline]] static void keep(Vector& v, const Vector& mask) {
    v = reinterpret_cast<Vector>(reinterpret_cast<Bits>(v) & reinterpret_cast<Bits>(mask));
  }
  [[gnu::always_inline]] static void add(Vector& sum, const Vector& v) { sum += v; }
  [[gnu::always_inline]] static void multiply_add(Vector& sum, const Vector& a, const Vector& b) { sum += a * b; }
  // Multiplying by a scalar, not by a vector made of it, leaves the compiler free to fold the broadcast into the FMA.
  [[gnu::always_inline]] static void multiply_add(Vector& sum, const Vector& a, float b) { sum += a * b; }
};

}  // namespace kernels::avx2
}  // namespace v0
}  // namespace spnet
#endif  // __x86_64__
