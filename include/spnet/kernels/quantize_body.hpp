// The bodies of the quantizers' kernels, written once for every vector length in the compilers' own vector extension.
// `L` names the vector types. As with the convolution's: no target attribute, no vector by value, always inlined.
#pragma once

#include <cstdint>
#include <cstring>

#include "spnet/kernels/conv_body.hpp"
#include "spnet/kernels/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::body {

// How a step moves lanes to and from memory: all of them, or the first `count`, the rest being zero.
struct AllLanes {
  template <class V, class E>
  SPNET_INLINE void load(V& v, const E* from) const {
    std::memcpy(&v, from, sizeof v);
  }
  template <class E, class V>
  SPNET_INLINE void store(E* to, const V& v) const {
    std::memcpy(to, &v, sizeof v);
  }
};
struct FirstLanes {
  std::size_t count;
  template <class V, class E>
  SPNET_INLINE void load(V& v, const E* from) const {
    v = V{};
    std::memcpy(&v, from, count * sizeof(E));
  }
  template <class E, class V>
  SPNET_INLINE void store(E* to, const V& v) const {
    std::memcpy(to, &v, count * sizeof(E));
  }
};

// Calls pass.step(i, move) for every vector of `count` elements.
template <class L, class Pass>
SPNET_INLINE void sweep(Pass& pass, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + L::kCount <= count; i += L::kCount) pass.step(i, AllLanes{});
  if (i < count) pass.step(i, FirstLanes{static_cast<std::size_t>(count - i)});
}

// x - x is zero for finite x and NaN for the rest, in whose bits something is set.
template <class L>
SPNET_INLINE void note_flaws(typename L::Int& flaws, const typename L::Float& x) {
  flaws |= reinterpret_cast<typename L::Int>(x - x);
}
template <class L>
SPNET_INLINE bool flawless(const typename L::Int& flaws) {
  std::int32_t any = 0;
  for (int i = 0; i < L::kCount; ++i) any |= flaws[i];
  return any == 0;
}

template <class L>
SPNET_INLINE void clamp_lanes(typename L::Float& v, const typename L::Float& low, const typename L::Float& high) {
  v = v < low ? low : v;
  v = v > high ? high : v;
}

// Adding 1.5 · 2^23 leaves the integer nearest to |v| < 2^22, half to even, in the low bits. The caller's clamp stands
// between its product and this addition, so nothing can be fused.
template <class L, class Move>
SPNET_INLINE void store_codes(const Move& move, std::uint8_t* codes, const typename L::Float& v, std::int32_t low) {
  const typename L::Float shifted = v + 12582912.0f;
  const typename L::Int integers = reinterpret_cast<typename L::Int>(shifted) - (0x4b400000 + low);
  typename L::Byte bytes;
  L::pack(bytes, integers);
  move.store(codes, bytes);
}

// sum = sum · z + c, the product rounded before the addition.
template <class V>
SPNET_INLINE void horner_step(V& sum, const V& z, float c) {
#if defined(__clang__)
#pragma clang fp contract(off)
#endif
  sum = sum * z;
#if !defined(__clang__)
#if defined(__x86_64__)
  asm("" : "+v"(sum));
#elif defined(__aarch64__)
  asm("" : "+w"(sum));
#else
  asm("" : "+m"(sum));
#endif
#endif
  sum = sum + c;
}

// tanh(x) as x · P(x²) / Q(x²): relative error 2.3e-8 before rounding up to |x| = 9.1, where the result is 1.
template <class L>
SPNET_INLINE void tanh_lanes(typename L::Float& v) {
  using F = typename L::Float;
  clamp_lanes<L>(v, F{} - 9.1f, F{} + 9.1f);
  const F z = v * v;
  F p = F{} + 1.3177542e-8f, q = F{} + 7.7040543e-7f;
  horner_step(p, z, 2.0481201e-5f);
  horner_step(p, z, 3.4878119e-3f);
  horner_step(p, z, 1.3374476e-1f);
  horner_step(p, z, 1.0f);
  horner_step(q, z, 3.2729216e-4f);
  horner_step(q, z, 2.5847392e-2f);
  horner_step(q, z, 4.6707790e-1f);
  horner_step(q, z, 1.0f);
  v = v * p / q;
  clamp_lanes<L>(v, F{} - 1.0f, F{} + 1.0f);
}

template <class L>
struct UniformCodes {
  using Float = typename L::Float;
  const float* x;
  std::uint8_t* codes;
  Float factor, low, high;
  std::int32_t first;
  typename L::Int flaws{};
  SPNET_INLINE explicit UniformCodes(const UniformCodesArgs& a)
      : x(a.x), codes(a.codes), factor(Float{} + a.factor), low(Float{} + a.low), high(Float{} + a.high),
        first(static_cast<std::int32_t>(a.low)) {}
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    Float v;
    move.load(v, x + i);
    note_flaws<L>(flaws, v);
    v = v * factor;
    clamp_lanes<L>(v, low, high);
    store_codes<L>(move, codes + i, v, first);
  }
};
template <class L>
SPNET_INLINE bool uniform_codes(const UniformCodesArgs& a) {
  UniformCodes<L> pass(a);
  sweep<L>(pass, a.count);
  return flawless<L>(pass.flaws);
}

template <class L>
struct SignCodes {
  const float* x;
  std::uint8_t* codes;
  typename L::Int zero;  // all bits set where zero counts as positive
  typename L::Int flaws{};
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    typename L::Float v;
    move.load(v, x + i);
    note_flaws<L>(flaws, v);
    const typename L::Int positive = ((v > 0.0f) | ((v == 0.0f) & zero)) & 1;
    typename L::Byte bytes;
    L::pack(bytes, positive);
    move.store(codes + i, bytes);
  }
};
template <class L>
SPNET_INLINE bool sign_codes(const float* x, std::int64_t count, bool zero_is_positive, std::uint8_t* codes) {
  SignCodes<L> pass{x, codes, typename L::Int{} - (zero_is_positive ? 1 : 0)};
  sweep<L>(pass, count);
  return flawless<L>(pass.flaws);
}

template <class L>
struct Tanh {
  const float* x;
  float* y;
  typename L::Int flaws{};
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    typename L::Float v;
    move.load(v, x + i);
    note_flaws<L>(flaws, v);
    tanh_lanes<L>(v);
    move.store(y + i, v);
  }
};
template <class L>
SPNET_INLINE bool tanh(const float* x, float* y, std::int64_t count) {
  Tanh<L> pass{x, y};
  sweep<L>(pass, count);
  return flawless<L>(pass.flaws);
}

template <class L>
struct CenteredCodes {
  using Float = typename L::Float;
  const float* t;
  std::uint8_t* codes;
  Float divisor, levels;
  SPNET_INLINE explicit CenteredCodes(const CenteredCodesArgs& a)
      : t(a.t), codes(a.codes), divisor(Float{} + a.divisor), levels(Float{} + a.levels) {}
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    Float v;
    move.load(v, t + i);
    v = (v / divisor + 0.5f) * levels;
    clamp_lanes<L>(v, Float{}, levels);
    store_codes<L>(move, codes + i, v, 0);
  }
};
template <class L>
SPNET_INLINE void centered_codes(const CenteredCodesArgs& a) {
  CenteredCodes<L> pass(a);
  sweep<L>(pass, a.count);
}

template <class L>
struct Decode {
  const std::uint8_t* codes;
  float* values;
  std::int32_t step_size, zero_point;
  float scale;
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    typename L::Byte bytes;
    move.load(bytes, codes + i);
    const typename L::Int integers = __builtin_convertvector(bytes, typename L::Int) * step_size - zero_point;
    const typename L::Float v = __builtin_convertvector(integers, typename L::Float) * scale;
    move.store(values + i, v);
  }
};
template <class L>
SPNET_INLINE void decode(const DecodeArgs& a) {
  Decode<L> pass{a.codes, a.values, a.step, a.zero_point, a.scale};
  sweep<L>(pass, a.count);
}

template <class L>
struct ClampGradient {
  const float* gradient;
  const float* x;
  float* dx;
  typename L::Float low, high;
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    typename L::Float g, v;
    move.load(g, gradient + i);
    move.load(v, x + i);
    const typename L::Int inside = (v >= low) & (v <= high);
    g = reinterpret_cast<typename L::Float>(reinterpret_cast<typename L::Int>(g) & inside);
    move.store(dx + i, g);
  }
};
template <class L>
SPNET_INLINE void clamp_gradient(const ClampGradientArgs& a) {
  using Float = typename L::Float;
  ClampGradient<L> pass{a.gradient, a.x, a.dx, Float{} + a.low, Float{} + a.high};
  sweep<L>(pass, a.count);
}

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
