// Vectors of neon, which every AArch64 machine has, in the compilers' own vector extension.
#pragma once

#if defined(__aarch64__)
#include <cstdint>

namespace spnet {
inline namespace v0 {
namespace kernels::neon {

struct Float {
  static constexpr int kLanes = 4;
  typedef float Vector __attribute__((vector_size(16)));
  typedef std::int32_t Bits __attribute__((vector_size(16)));
  typedef float Unaligned __attribute__((vector_size(16), aligned(4), may_alias));

  [[gnu::always_inline]] static void zero(Vector& v) { v = Vector{}; }
  [[gnu::always_inline]] static void load(Vector& v, const float* from) {
    v = *reinterpret_cast<const Unaligned*>(from);
  }
  [[gnu::always_inline]] static void store(float* to, const Vector& v) { *reinterpret_cast<Unaligned*>(to) = v; }
  [[gnu::always_inline]] static void keep(Vector& v, const Vector& mask) {
    v = reinterpret_cast<Vector>(reinterpret_cast<Bits>(v) & reinterpret_cast<Bits>(mask));
  }
  [[gnu::always_inline]] static void add(Vector& sum, const Vector& v) { sum += v; }
  [[gnu::always_inline]] static void multiply_add(Vector& sum, const Vector& a, const Vector& b) { sum += a * b; }
  [[gnu::always_inline]] static void multiply_add(Vector& sum, const Vector& a, float b) { sum += a * b; }
};

}  // namespace kernels::neon
}  // namespace v0
}  // namespace spnet
#endif  // __aarch64__
