// The common steps of kernel bodies that are written once for every vector length, in the compilers' own vector
// extension. `L` names the vector types of an instruction set. No target attribute, no vector by value, always inlined
// into functions that have one: see conv_body.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "spnet/kernels/conv_body.hpp"

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
    copy<sizeof v / 2>(&v, from, count * sizeof(E));
  }
  template <class E, class V>
  SPNET_INLINE void store(E* to, const V& v) const {
    copy<sizeof v / 2>(to, &v, count * sizeof(E));
  }

 private:
  // By powers of two from kMost down: memcpy with a length that the compiler does not know is a call.
  template <std::size_t kMost>
  SPNET_INLINE static void copy(void* to, const void* from, std::size_t bytes) {
    if (bytes & kMost) {
      std::memcpy(to, from, kMost);
      to = static_cast<std::byte*>(to) + kMost;
      from = static_cast<const std::byte*>(from) + kMost;
    }
    if constexpr (kMost > 1) copy<kMost / 2>(to, from, bytes);
  }
};
// The first lanes of L's vectors, by instructions of its own where it has such.
template <class L>
SPNET_INLINE auto first_lanes(std::int64_t count) {
  if constexpr (requires { L::first(count); })
    return L::first(count);
  else
    return FirstLanes{static_cast<std::size_t>(count)};
}

// Calls pass.step(i, move) for every vector of `count` elements.
template <class L, class Pass>
SPNET_INLINE void sweep(Pass& pass, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + L::kCount <= count; i += L::kCount) pass.step(i, AllLanes{});
  if (i < count) pass.step(i, first_lanes<L>(count - i));
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

// By way of 16 bits: the direct conversion is taken apart into single elements.
template <class L>
SPNET_INLINE void widen(typename L::Int& v, const typename L::Byte& bytes) {
  v = __builtin_convertvector(__builtin_convertvector(bytes, typename L::Half), typename L::Int);
}

template <class L>
SPNET_INLINE void clamp_lanes(typename L::Float& v, const typename L::Float& low, const typename L::Float& high) {
  v = v < low ? low : v;
  v = v > high ? high : v;
}

// v stays as it is, in a register: what comes next is neither fused with what made it nor loads it again.
template <class V>
SPNET_INLINE void hold([[maybe_unused]] V& v) {
#if defined(__clang__)
#elif defined(__x86_64__)
  asm("" : "+v"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#else
  asm("" : "+m"(v));
#endif
}

// v = v · factor, rounded, whatever is added to it next.
template <class V, class F>
SPNET_INLINE void multiply_rounded(V& v, const F& factor) {
#if defined(__clang__)
#pragma clang fp contract(off)
#endif
  v = v * factor;
  hold(v);
}

// sum = sum · z + c, in two roundings.
template <class V, class C>
SPNET_INLINE void horner_step(V& sum, const V& z, const C& c) {
  multiply_rounded(sum, z);
  sum = sum + c;
}

// Masks come from sign bits: GCC takes most comparisons apart into single elements when it compiles them before they
// are inlined into a function that knows the instruction set.

// v = mask's sign bit ? v : 0.
template <class L>
SPNET_INLINE void keep_signed(typename L::Float& v, const typename L::Int& mask) {
  v = reinterpret_cast<typename L::Float>(reinterpret_cast<typename L::Int>(v) & (mask >> 31));
}

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
