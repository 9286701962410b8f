// The bodies of the quantizers' kernels, under the rules of lanes.hpp.
#pragma once

#include <cstdint>
#include <cstring>

#include "spnet/kernels/lanes.hpp"
#include "spnet/kernels/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::body {

// Adding 1.5 · 2^23 leaves the integer nearest to |v| < 2^22, half to even, in the low bits. The caller's clamp stands
// between its product and this addition, so nothing can be fused.
template <class L>
SPNET_INLINE void nearest_codes(typename L::Int& codes, const typename L::Float& v, std::int32_t low) {
  const typename L::Float shifted = v + 12582912.0f;
  codes = reinterpret_cast<typename L::Int>(shifted) - (0x4b400000 + low);
}
template <class L, class Move>
SPNET_INLINE void store_codes(const Move& move, std::uint8_t* codes, const typename L::Float& v, std::int32_t low) {
  typename L::Int integers;
  nearest_codes<L>(integers, v, low);
  typename L::Byte bytes;
  L::pack(bytes, integers);
  move.store(codes, bytes);
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
      : x(a.x),
        codes(a.codes),
        factor(Float{} + a.factor),
        low(Float{} + a.low),
        high(Float{} + a.high),
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
    typename L::Int integers;
    widen<L>(integers, bytes);
    integers = integers * step_size - zero_point;
    move.store(values + i, __builtin_convertvector(integers, typename L::Float) * scale);
  }
};
template <class L>
SPNET_INLINE void decode(const DecodeArgs& a) {
  Decode<L> pass{a.codes, a.values, a.step, a.zero_point, a.scale};
  sweep<L>(pass, a.count);
}

template <class L, bool kAdds>
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
    using Int = typename L::Int;
    keep_signed<L>(g, ~(reinterpret_cast<Int>(v - low) | reinterpret_cast<Int>(high - v)));
    if constexpr (kAdds) {
      move.load(v, dx + i);
      g += v;
    }
    move.store(dx + i, g);
  }
};
template <class L, bool kAdds>
SPNET_INLINE void clamp_gradient_to(const ClampGradientArgs& a) {
  using Float = typename L::Float;
  ClampGradient<L, kAdds> pass{a.gradient, a.x, a.dx, Float{} + a.low, Float{} + a.high};
  sweep<L>(pass, a.count);
}
template <class L>
SPNET_INLINE void clamp_gradient(const ClampGradientArgs& a) {
  if (a.adds) return clamp_gradient_to<L, true>(a);
  clamp_gradient_to<L, false>(a);
}

// All bits set where |v| = range.
template <class L>
SPNET_INLINE void attains(typename L::Int& mask, const typename L::Float& v, const typename L::Float& range) {
  const typename L::Int differ =
      (reinterpret_cast<typename L::Int>(v) ^ reinterpret_cast<typename L::Int>(range)) & 0x7fffffff;
  mask = ((differ - 1) & ~differ) >> 31;
}

template <class L>
struct CenteredSums {
  using Float = typename L::Float;
  const float* gradient;
  const float* t;
  Float range;
  Float products{};
  typename L::Int attained{};
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    Float g, v;
    move.load(g, gradient + i);
    move.load(v, t + i);
    products += g * v;
    typename L::Int mask;
    attains<L>(mask, v, range);
    attained -= mask;
  }
};
template <class L>
SPNET_INLINE void centered_sums(const CenteredGradientArgs& a, double* products, double* attained) {
  // Short runs of float sums, so that their error does not grow with the count.
  constexpr std::int64_t kRun = 32 * L::kCount;
  *products = *attained = 0;
  for (std::int64_t begin = 0; begin < a.count; begin += kRun) {
    CenteredSums<L> pass{a.gradient + begin, a.t + begin, typename L::Float{} + a.range};
    sweep<L>(pass, a.count - begin < kRun ? a.count - begin : kRun);
    for (int i = 0; i < L::kCount; ++i) {
      *products += static_cast<double>(pass.products[i]);
      *attained += static_cast<double>(pass.attained[i]);
    }
  }
}

template <class L>
struct CenteredGradient {
  using Float = typename L::Float;
  CenteredGradientArgs a;
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    Float g, v;
    move.load(g, a.gradient + i);
    move.load(v, a.t + i);
    const Float zero = Float{}, range = zero + a.range, up = zero + a.to_range;
    typename L::Int mask;
    attains<L>(mask, v, range);
    const typename L::Int sign = reinterpret_cast<typename L::Int>(v) & static_cast<std::int32_t>(0x80000000);
    const Float through = reinterpret_cast<Float>((reinterpret_cast<typename L::Int>(up) ^ sign) & mask);
    v = (g / (zero + a.divisor) + through) * (1.0f - v * v);
    move.store(a.dx + i, v);
  }
};
template <class L>
SPNET_INLINE void centered_gradient(const CenteredGradientArgs& a) {
  CenteredGradient<L> pass{a};
  sweep<L>(pass, a.count);
}

template <class L>
struct ScaleGradient {
  using Float = typename L::Float;
  using Int = typename L::Int;
  ScaleGradientArgs a;
  Float factor, low, high;
  Float sum{};
  SPNET_INLINE explicit ScaleGradient(const ScaleGradientArgs& args)
      : a(args), factor(Float{} + args.factor), low(Float{} + args.low), high(Float{} + args.high) {}
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    Float g, v;
    typename L::Byte bytes;
    move.load(g, a.gradient + i);
    move.load(v, a.x + i);
    move.load(bytes, a.codes + i);
    Int integers;
    widen<L>(integers, bytes);
    const Float level = __builtin_convertvector(integers * a.step - a.zero_point, Float) * a.unit;
    multiply_rounded(v, factor);
    const Int inside = reinterpret_cast<Int>(low - v) & reinterpret_cast<Int>(v - high);
    keep_signed<L>(v, inside);
    sum += g * (level - v);
    keep_signed<L>(g, inside);
    move.store(a.dx + i, g);
  }
};
template <class L>
SPNET_INLINE double scale_gradient(const ScaleGradientArgs& args) {
  // Short runs of float sums, so that their error does not grow with the count.
  constexpr std::int64_t kRun = 32 * L::kCount;
  double sum = 0;
  for (std::int64_t begin = 0; begin < args.count; begin += kRun) {
    ScaleGradientArgs a = args;
    a.gradient += begin;
    a.x += begin;
    a.codes += begin;
    a.dx += begin;
    ScaleGradient<L> pass(a);
    sweep<L>(pass, args.count - begin < kRun ? args.count - begin : kRun);
    for (int i = 0; i < L::kCount; ++i) sum += static_cast<double>(pass.sum[i]);
  }
  return sum;
}

// log2(v), v > 0 and normal: v = m · 2^e with m in [√½, √2), and the series of log2(m) in s = (m − 1)/(m + 1).
template <class L>
SPNET_INLINE void log2_lanes(typename L::Float& v) {
  using Float = typename L::Float;
  using Int = typename L::Int;
  const Int bits = reinterpret_cast<Int>(v);
  const Int exponent = (bits - 0x3f3504f3) >> 23;
  const Float m = reinterpret_cast<Float>(bits - (exponent << 23));
  const Float s = (m - 1.0f) / (m + 1.0f), z = s * s;
  Float sum = Float{} + 0.26230818f;  // 2 / (9 ln 2), then 2 / (7 ln 2) down to 2 / ln 2
  horner_step(sum, z, 0.41219858f);
  horner_step(sum, z, 0.57707802f);
  horner_step(sum, z, 0.96179669f);
  horner_step(sum, z, 2.8853901f);
  horner_step(sum, s, __builtin_convertvector(exponent, Float));
  v = sum;
}

template <class L>
struct Log2 {
  const float* x;
  float* y;
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    typename L::Float v;
    move.load(v, x + i);
    log2_lanes<L>(v);
    move.store(y + i, v);
  }
};
template <class L>
SPNET_INLINE void log2(const float* x, float* y, std::int64_t count) {
  Log2<L> pass{x, y};
  sweep<L>(pass, count);
}

template <class L>
struct LogCodes {
  using Float = typename L::Float;
  using Int = typename L::Int;
  LogCodesArgs a;
  Float floor, low, factor, levels;
  Int magnitude_bits, two_sided;
  std::int32_t last;
  Int flaws{};
  SPNET_INLINE explicit LogCodes(const LogCodesArgs& args)
      : a(args),
        floor(Float{} + args.floor),
        low(Float{} + args.low),
        factor(Float{} + args.factor),
        levels(Float{} + args.levels),
        magnitude_bits(Int{} + (args.two_sided ? 0x7fffffff : -1)),
        two_sided(Int{} - (args.two_sided ? 1 : 0)),
        last(static_cast<std::int32_t>(args.levels)) {}
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    Float x;
    move.load(x, a.x + i);
    note_flaws<L>(flaws, x);
    Float v = reinterpret_cast<Float>(reinterpret_cast<Int>(x) & magnitude_bits);
    v = v < floor ? floor : v;
    log2_lanes<L>(v);
    v = (v - low) * factor;
    clamp_lanes<L>(v, Float{}, levels);
    const Float shifted = v + 12582912.0f;
    const Int code = reinterpret_cast<Int>(shifted) - 0x4b400000;
    const Int positive = x >= 0.0f;
    const Int signed_code = (positive & (code + (last + 1))) | (~positive & (last - code));
    typename L::Byte bytes;
    L::pack(bytes, (two_sided & signed_code) | (~two_sided & code));
    move.store(a.codes + i, bytes);
  }
};
template <class L>
SPNET_INLINE bool log_codes(const LogCodesArgs& a) {
  LogCodes<L> pass(a);
  sweep<L>(pass, a.count);
  return flawless<L>(pass.flaws);
}

template <class L>
SPNET_INLINE void extremes(const float* x, std::int64_t count, bool absolute, float* smallest, float* largest) {
  using Float = typename L::Float;
  using Int = typename L::Int;
  const std::int32_t kept_bits = absolute ? 0x7fffffff : -1;
  const auto kept = [kept_bits](float v) {
    std::int32_t bits;
    std::memcpy(&bits, &v, sizeof bits);
    bits &= kept_bits;
    std::memcpy(&v, &bits, sizeof v);
    return v;
  };
  Float low = Float{} + kept(x[0]), high = low;
  std::int64_t i = 0;
  for (; i + L::kCount <= count; i += L::kCount) {
    Float v;
    AllLanes{}.load(v, x + i);
    v = reinterpret_cast<Float>(reinterpret_cast<Int>(v) & kept_bits);
    low = v < low ? v : low;
    high = v > high ? v : high;
  }
  float least = low[0], most = high[0];
  for (int j = 1; j < L::kCount; ++j) {
    least = low[j] < least ? low[j] : least;
    most = high[j] > most ? high[j] : most;
  }
  for (; i < count; ++i) {
    const float v = kept(x[i]);
    least = v < least ? v : least;
    most = v > most ? v : most;
  }
  *smallest = least;
  *largest = most;
}

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
