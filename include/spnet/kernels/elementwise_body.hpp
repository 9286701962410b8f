// The bodies of the element-wise kernels, written once for every vector length, under the rules of quantize_body.hpp.
// Channels are the lanes, so that nothing is ever summed across a vector.
#pragma once

#include <cstdint>
#include <type_traits>

#include "spnet/kernels/elementwise.hpp"
#include "spnet/kernels/quantize_body.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::body {

// v = v · factor + term, the product rounded before the addition, whatever the compiler would like to fuse.
template <class V>
SPNET_INLINE void scale_shift(V& v, const V& factor, const V& term) {
  multiply_rounded(v, factor);
  v = v + term;
}

template <class L>
SPNET_INLINE void keep_where(typename L::Float& v, const typename L::Int& mask) {
  v = reinterpret_cast<typename L::Float>(reinterpret_cast<typename L::Int>(v) & mask);
}

// v = y <= most ? v : 0, by the sign: see lanes.hpp.
template <class L>
SPNET_INLINE void keep_up_to(typename L::Float& v, const typename L::Float& y, const typename L::Float& most) {
  keep_signed<L>(v, ~reinterpret_cast<typename L::Int>(most - y));
}

// v = x as floats.
template <class L, class X, class Move>
SPNET_INLINE void load_values(typename L::Float& v, const X* x, const Move& move) {
  if constexpr (std::is_same_v<X, float>) {
    move.load(v, x);
  } else {
    typename L::Int n;
    move.load(n, x);
    v = __builtin_convertvector(n, typename L::Float);
  }
}

// A block of rows short enough for its float sums to be accurate and for a second look to find it in L1.
template <class L, int N>
inline constexpr std::int64_t kBlockRows = 16384 / (N * L::kCount * static_cast<int>(sizeof(float)));

// N vectors of columns, from `column` on, of which `width` exist.
template <class L, int N, class Move>
SPNET_INLINE void moments_columns(const MomentsArgs<float>& a, std::int64_t column, std::int64_t width,
                                  const Move& move) {
  using Float = typename L::Float;
  double* const mean = a.mean + column;
  double* const squares = a.squares + column;
  for (std::int64_t i = 0; i < width; ++i) mean[i] = squares[i] = 0;
  for (std::int64_t begin = 0; begin < a.rows; begin += kBlockRows<L, N>) {
    const std::int64_t rows = a.rows - begin < kBlockRows<L, N> ? a.rows - begin : kBlockRows<L, N>;
    const float* const block = a.x + begin * a.channels + column;
    Float centre[N], sum[N], square[N], v;
    SPNET_UNROLL for (int j = 0; j < N; ++j) centre[j] = sum[j] = square[j] = Float{};
    const float* x = block;
    for (std::int64_t r = 0; r < rows; ++r, x += a.channels) {
      SPNET_UNROLL for (int j = 0; j < N; ++j) {
        move.load(v, x + j * L::kCount);
        centre[j] += v;
      }
    }
    SPNET_UNROLL for (int j = 0; j < N; ++j) centre[j] *= 1.0f / static_cast<float>(rows);
    x = block;
    for (std::int64_t r = 0; r < rows; ++r, x += a.channels) {
      SPNET_UNROLL for (int j = 0; j < N; ++j) {
        move.load(v, x + j * L::kCount);
        v -= centre[j];
        sum[j] += v;
        square[j] += v * v;
      }
    }
    float c[N * L::kCount], s[N * L::kCount], q[N * L::kCount];
    SPNET_UNROLL for (int j = 0; j < N; ++j) {
      std::memcpy(c + j * L::kCount, &centre[j], sizeof v);
      std::memcpy(s + j * L::kCount, &sum[j], sizeof v);
      std::memcpy(q + j * L::kCount, &square[j], sizeof v);
    }
    // Chan, Golub, LeVeque: merge this block into those before. `s` corrects for the rounded centre.
    const double inverse = 1.0 / static_cast<double>(rows);
    const double share = static_cast<double>(rows) / static_cast<double>(begin + rows);
    const double weight = static_cast<double>(begin) * share;
    for (std::int64_t i = 0; i < width; ++i) {
      const double off = s[i] * inverse;
      const double delta = c[i] + off - mean[i];
      mean[i] += delta * share;
      squares[i] += q[i] - s[i] * off + delta * delta * weight;
    }
  }
}

template <class L>
SPNET_INLINE void moments(const MomentsArgs<float>& a) {
  std::int64_t c = 0;
  for (; c + 4 * L::kCount <= a.channels; c += 4 * L::kCount) moments_columns<L, 4>(a, c, 4 * L::kCount, AllLanes{});
  for (; c + L::kCount <= a.channels; c += L::kCount) moments_columns<L, 1>(a, c, L::kCount, AllLanes{});
  if (c < a.channels) moments_columns<L, 1>(a, c, a.channels - c, first_lanes<L>(a.channels - c));
}

// level = round(clamp(v, low, high)), half to even: see store_codes.
template <class L>
SPNET_INLINE void round_level(typename L::Float& level, const typename L::Float& v, const typename L::Float& low,
                              const typename L::Float& high) {
  level = v;
  clamp_lanes<L>(level, low, high);
  level = level + 12582912.0f;
  hold(level);
  level = level - 12582912.0f;
}

template <class L, GradientMask kMask, bool kOfScale, int N, class X, class Move>
SPNET_INLINE void sums_columns(const NormalizeSumsArgs<float, X>& a, std::int64_t column, std::int64_t width,
                               const Move& move) {
  using Float = typename L::Float;
  double* const sums = a.sums + column;
  double* const products = a.sums + a.channels + column;
  for (std::int64_t i = 0; i < width; ++i) sums[i] = products[i] = 0;
  Float mean[N], scale[N], shift[N];
  const Float most = Float{} + a.most, factor = Float{} + a.factor, high = Float{} + a.high;
  SPNET_UNROLL for (int j = 0; j < N; ++j) {
    move.load(mean[j], a.mean + column + j * L::kCount);
    if constexpr (kMask == GradientMask::kInput) {
      move.load(scale[j], a.scale + column + j * L::kCount);
      move.load(shift[j], a.shift + column + j * L::kCount);
    }
  }
  for (std::int64_t begin = 0; begin < a.rows; begin += kBlockRows<L, N>) {
    const std::int64_t rows = a.rows - begin < kBlockRows<L, N> ? a.rows - begin : kBlockRows<L, N>;
    std::int64_t at = begin * a.channels + column;
    Float sum[N], product[N], of_scale{}, g, v, y;
    SPNET_UNROLL for (int j = 0; j < N; ++j) sum[j] = product[j] = Float{};
    for (std::int64_t r = 0; r < rows; ++r, at += a.channels) {
      SPNET_UNROLL for (int j = 0; j < N; ++j) {
        const std::int64_t i = at + j * L::kCount;
        move.load(g, a.gradient + i);
        load_values<L>(v, a.x + i, move);
        if constexpr (kMask == GradientMask::kInput) {
          y = v;
          scale_shift(y, scale[j], shift[j]);
          if constexpr (kOfScale) {
            Float level, place = y;
            multiply_rounded(place, factor);
            round_level<L>(level, place, Float{}, high);
            keep_where<L>(place, y > 0.0f);
            keep_up_to<L>(place, y, most);
            of_scale += g * (level - place);
          }
          keep_where<L>(g, y > 0.0f);
          keep_up_to<L>(g, y, most);
        }
        if constexpr (kMask == GradientMask::kOutput) {
          move.load(y, a.y + i);
          keep_where<L>(g, y > 0.0f);
          move.store(a.masked + i, g);
        }
        sum[j] += g;
        product[j] += g * (v - mean[j]);
      }
    }
    float s[N * L::kCount], p[N * L::kCount];
    SPNET_UNROLL for (int j = 0; j < N; ++j) {
      std::memcpy(s + j * L::kCount, &sum[j], sizeof g);
      std::memcpy(p + j * L::kCount, &product[j], sizeof g);
    }
    for (std::int64_t i = 0; i < width; ++i) {
      sums[i] += s[i];
      products[i] += p[i];
    }
    if constexpr (kOfScale) {
      for (int i = 0; i < L::kCount; ++i) *a.of_scale += static_cast<double>(of_scale[i]);
    }
  }
}

template <class L, GradientMask kMask, bool kOfScale, class X>
SPNET_INLINE void masked_sums(const NormalizeSumsArgs<float, X>& args) {
  const NormalizeSumsArgs<float, X> a = args;  // a copy of its own, which stores through `masked` cannot change
  if constexpr (kOfScale) *a.of_scale = 0;
  std::int64_t c = 0;
  for (; c + 4 * L::kCount <= a.channels; c += 4 * L::kCount)
    sums_columns<L, kMask, kOfScale, 4>(a, c, 4 * L::kCount, AllLanes{});
  for (; c + L::kCount <= a.channels; c += L::kCount)
    sums_columns<L, kMask, kOfScale, 1>(a, c, L::kCount, AllLanes{});
  if (c < a.channels) sums_columns<L, kMask, kOfScale, 1>(a, c, a.channels - c, first_lanes<L>(a.channels - c));
}
template <class L, class X>
SPNET_INLINE void normalize_sums(const NormalizeSumsArgs<float, X>& a) {
  if (a.mask == GradientMask::kNone) return masked_sums<L, GradientMask::kNone, false>(a);
  if (a.mask == GradientMask::kOutput) return masked_sums<L, GradientMask::kOutput, false>(a);
  if (a.factor == 0.0f) return masked_sums<L, GradientMask::kInput, false>(a);
  masked_sums<L, GradientMask::kInput, true>(a);
}

// Calls pass.step(channel, element of x, element of all else, move) for every vector of every row.
template <class L, class Pass>
SPNET_INLINE void sweep_rows(Pass& pass, std::int64_t rows, std::int64_t channels, std::int64_t x_step,
                             std::int64_t y_step) {
  const std::int64_t whole = channels - channels % L::kCount;
  const auto rest = first_lanes<L>(channels - whole);
  for (std::int64_t r = 0, x = 0, y = 0; r < rows; ++r, x += x_step, y += y_step) {
    for (std::int64_t c = 0; c < whole; c += L::kCount) pass.step(c, x + c, y + c, AllLanes{});
    if (whole < channels) pass.step(whole, x + whole, y + whole, rest);
  }
}
template <class L, class Pass, class X>
SPNET_INLINE void sweep_rows(Pass& pass, const NormalizeArgs<float, X>& a) {
  sweep_rows<L>(pass, a.rows, a.channels, a.x_step ? a.x_step : a.channels, a.y_step ? a.y_step : a.channels);
}

// v = x·scale + shift, plus the residual, through relu: of one vector.
template <class L, bool kResidual, bool kRelu, class X, class Move>
SPNET_INLINE void normalize_lanes(typename L::Float& v, const NormalizeArgs<float, X>& a, std::int64_t c,
                                  std::int64_t from, std::int64_t i, const Move& move) {
  typename L::Float factor, term;
  load_values<L>(v, a.x + from, move);
  move.load(factor, a.scale + c);
  move.load(term, a.shift + c);
  scale_shift(v, factor, term);
  if constexpr (kResidual) {
    move.load(term, a.residual + i);
    v = v + term;
  }
  if constexpr (kRelu) v = v < 0.0f ? typename L::Float{} : v;
}

template <class L, bool kResidual, bool kRelu, class X>
struct Normalize {
  const NormalizeArgs<float, X> a;
  template <class Move>
  SPNET_INLINE void step(std::int64_t c, std::int64_t x, std::int64_t i, const Move& move) {
    typename L::Float v;
    normalize_lanes<L, kResidual, kRelu>(v, a, c, x, i, move);
    move.store(a.y + i, v);
  }
};
template <class L, bool kResidual, bool kRelu, class X>
SPNET_INLINE void normalize_as(const NormalizeArgs<float, X>& a) {
  Normalize<L, kResidual, kRelu, X> pass{a};
  sweep_rows<L>(pass, a);
}
template <class L, class X>
SPNET_INLINE void normalize(const NormalizeArgs<float, X>& a) {
  if (a.residual && a.relu) return normalize_as<L, true, true>(a);
  if (a.residual) return normalize_as<L, true, false>(a);
  if (a.relu) return normalize_as<L, false, true>(a);
  normalize_as<L, false, false>(a);
}

template <class L, bool kResidual, bool kRelu, bool kSign, class X>
struct NormalizeCodes {
  const NormalizeCodesArgs<float, X> a;
  typename L::Float factor, low, high;
  std::int32_t first;
  typename L::Int flaws{};
  SPNET_INLINE explicit NormalizeCodes(const NormalizeCodesArgs<float, X>& args)
      : a(args), factor(typename L::Float{} + args.factor), low(typename L::Float{} + args.low),
        high(typename L::Float{} + args.high), first(static_cast<std::int32_t>(args.low)) {}
  template <class Move>
  SPNET_INLINE void step(std::int64_t c, std::int64_t x, std::int64_t i, const Move& move) {
    typename L::Float v;
    normalize_lanes<L, kResidual, kRelu>(v, a.normalize, c, x, i, move);
    note_flaws<L>(flaws, v);
    if (a.normalize.y) move.store(a.normalize.y + i, v);
    typename L::Int codes;
    if constexpr (kSign) {
      codes = (v > 0.0f) & 1;
    } else {
      v = v * factor;
      clamp_lanes<L>(v, low, high);
      nearest_codes<L>(codes, v, first);
    }
    if (a.codes) {
      typename L::Byte bytes;
      L::pack(bytes, codes);
      move.store(a.codes + i, bytes);
    }
    if (a.values) {
      v = __builtin_convertvector(codes, typename L::Float) * a.step - a.zero_point;
      v = v * a.scale;
      move.store(a.values + i, v);
    }
  }
};
template <class L, bool kResidual, bool kRelu, class X>
SPNET_INLINE bool normalize_codes_as(const NormalizeCodesArgs<float, X>& a) {
  if (a.sign) {
    NormalizeCodes<L, kResidual, kRelu, true, X> pass(a);
    sweep_rows<L>(pass, a.normalize);
    return flawless<L>(pass.flaws);
  }
  NormalizeCodes<L, kResidual, kRelu, false, X> pass(a);
  sweep_rows<L>(pass, a.normalize);
  return flawless<L>(pass.flaws);
}
template <class L, class X>
SPNET_INLINE bool normalize_codes(const NormalizeCodesArgs<float, X>& a) {
  if (a.normalize.residual && a.normalize.relu) return normalize_codes_as<L, true, true>(a);
  if (a.normalize.residual) return normalize_codes_as<L, true, false>(a);
  if (a.normalize.relu) return normalize_codes_as<L, false, true>(a);
  return normalize_codes_as<L, false, false>(a);
}

template <class L, bool kMasked, class X>
struct NormalizeGradient {
  const NormalizeGradientArgs<float, X> a;
  template <class Move>
  SPNET_INLINE void step(std::int64_t c, std::int64_t, std::int64_t i, const Move& move) {
    typename L::Float g, v, gain, mean, slope, offset;
    move.load(g, a.gradient + i);
    load_values<L>(v, a.x + i, move);
    if constexpr (kMasked) {
      typename L::Float y = v, scale, shift, most = typename L::Float{} + a.most;
      move.load(scale, a.scale + c);
      move.load(shift, a.shift + c);
      scale_shift(y, scale, shift);
      keep_where<L>(g, y > 0.0f);
      keep_up_to<L>(g, y, most);
    }
    move.load(gain, a.gain + c);
    move.load(mean, a.mean + c);
    move.load(slope, a.slope + c);
    move.load(offset, a.offset + c);
    v = (v - mean) * slope + offset;
    v += g * gain;
    move.store(a.dx + i, v);
  }
};
template <class L, class X>
SPNET_INLINE void normalize_gradient(const NormalizeGradientArgs<float, X>& a) {
  if (a.mask == GradientMask::kInput) {
    NormalizeGradient<L, true, X> pass{a};
    return sweep_rows<L>(pass, a.rows, a.channels, a.channels, a.channels);
  }
  NormalizeGradient<L, false, X> pass{a};
  sweep_rows<L>(pass, a.rows, a.channels, a.channels, a.channels);
}

template <class L>
struct Maximum {
  float* largest;
  const float* x;
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    typename L::Float a, b;
    move.load(a, largest + i);
    move.load(b, x + i);
    a = a < b ? b : a;
    // NaNs of b, by the sign: see lanes.hpp.
    using Int = typename L::Int;
    const Int bits = reinterpret_cast<Int>(b);
    const Int is_nan = (0x7F800000 - (bits & 0x7FFFFFFF)) >> 31;
    a = reinterpret_cast<typename L::Float>((reinterpret_cast<Int>(a) & ~is_nan) | (bits & is_nan));
    move.store(largest + i, a);
  }
};
template <class L>
SPNET_INLINE void maximum(float* largest, const float* x, std::int64_t count) {
  Maximum<L> pass{largest, x};
  sweep<L>(pass, count);
}

template <class L>
struct Add {
  float* sum;
  const float* term;
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    typename L::Float a, b;
    move.load(a, sum + i);
    move.load(b, term + i);
    a += b;
    move.store(sum + i, a);
  }
};
template <class L>
SPNET_INLINE void add(float* sum, const float* term, std::int64_t count) {
  Add<L> pass{sum, term};
  sweep<L>(pass, count);
}

template <class L>
struct Relu {
  const float* x;
  float* y;
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    typename L::Float v;
    move.load(v, x + i);
    v = v < 0.0f ? typename L::Float{} : v;
    move.store(y + i, v);
  }
};
template <class L>
SPNET_INLINE void relu(const float* x, float* y, std::int64_t count) {
  Relu<L> pass{x, y};
  sweep<L>(pass, count);
}

template <class L>
struct ReluGradient {
  const float* gradient;
  const float* y;
  float* dx;
  template <class Move>
  SPNET_INLINE void step(std::int64_t i, const Move& move) {
    typename L::Float g, v;
    move.load(g, gradient + i);
    move.load(v, y + i);
    keep_where<L>(g, v > 0.0f);
    move.store(dx + i, g);
  }
};
template <class L>
SPNET_INLINE void relu_gradient(const float* gradient, const float* y, float* dx, std::int64_t count) {
  ReluGradient<L> pass{gradient, y, dx};
  sweep<L>(pass, count);
}

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
