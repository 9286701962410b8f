// The bodies of the depthwise kernels, of floats and of codes, written once for every instruction set: see conv_body.hpp.
#pragma once

#include <cstdint>

#include "spnet/kernels/conv.hpp"
#include "spnet/kernels/lanes.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::body {

template <class F>
struct DepthwiseFloats {
  using Vector = typename F::Vector;
  static constexpr int kLanes = F::kLanes;
  template <class Move>
  SPNET_INLINE static void load(Vector& v, const float* from, const Move& move) {
    move.load(v, from);
  }
  SPNET_INLINE static void multiply_add(Vector& sum, const Vector& x, const Vector& w) { F::multiply_add(sum, x, w); }
};

// Codes are widened to the 32 bits that they are summed in; `I::dot` multiplies pairs of int16, the upper of which are
// zero.
template <class L, class I>
struct DepthwiseCodes {
  using Vector = typename L::Int;
  static constexpr int kLanes = L::kCount;
  SPNET_INLINE static void load(Vector& v, const std::uint8_t* from, const AllLanes& move) {
    if constexpr (requires { I::widen(v, from); }) {
      I::widen(v, from);
    } else {
      load_narrow(v, from, move);
    }
  }
  SPNET_INLINE static void load(Vector& v, const std::uint8_t* from, const FirstLanes& move) { load_narrow(v, from, move); }
  SPNET_INLINE static void multiply_add(Vector& sum, const Vector& x, const Vector& w) { I::dot(sum, x, w); }

 private:
  template <class Move>
  SPNET_INLINE static void load_narrow(Vector& v, const std::uint8_t* from, const Move& move) {
    typename L::Byte codes;
    move.load(codes, from);
    widen<L>(v, codes);
  }
};

// M pixels of a vector of channels from c on, T taps of a row at a time: where T > 1, a tap reads of a pixel what the next
// tap reads of the pixel before. `I` loads elements as vectors of what they are multiplied and summed in.
template <class I, int M, int T, class Args, class Move>
SPNET_INLINE void depthwise_vector(const Args& a, std::int64_t pixel, std::int64_t c, const Move& move) {
  using V = typename I::Vector;
  const auto* const x = a.x + pixel * a.x_step + c;
  const auto* const w = a.w + c / kBlock * a.w_block + c % kBlock;
  V sum[M];
  SPNET_UNROLL for (int i = 0; i < M; ++i) sum[i] = V{};
  if constexpr (requires { a.initial; }) {
    if (a.initial) {
      V initial;
      move.load(initial, a.initial + c);
      SPNET_UNROLL for (int i = 0; i < M; ++i) sum[i] = initial;
    }
  }
  for (std::int64_t t = 0; t < a.tap_count; t += T) {
    const auto* const at = x + a.taps[t].offset;
    V v[M + T - 1];
    SPNET_UNROLL for (int i = 0; i < M + T - 1; ++i) {
      I::load(v[i], at + i * a.x_step, move);
      if constexpr (T > 1) hold(v[i]);
    }
    SPNET_UNROLL for (int k = 0; k < T; ++k) {
      V row;
      AllLanes{}.load(row, w + a.taps[t + k].weights);
      SPNET_UNROLL for (int i = 0; i < M; ++i) I::multiply_add(sum[i], v[i + k], row);
    }
  }
  auto* const y = a.y + pixel * a.y_step + c;
  SPNET_UNROLL for (int i = 0; i < M; ++i) move.store(y + i * a.y_step, sum[i]);
}

template <class I, int M, int T, class Args>
SPNET_INLINE void depthwise_tile_of(const Args& a, std::int64_t pixel, std::int64_t size) {
  if (size == M) {
    std::int64_t c = 0;
    for (; c + I::kLanes <= a.channels; c += I::kLanes) depthwise_vector<I, M, T>(a, pixel, c, AllLanes{});
    if (c < a.channels) depthwise_vector<I, M, T>(a, pixel, c, FirstLanes{static_cast<std::size_t>(a.channels - c)});
  } else if constexpr (M > 1) {
    depthwise_tile_of<I, M - 1, T>(a, pixel, size);
  }
}

// Tiles of at most M pixels.
template <class I, int M, int T, class Args>
SPNET_INLINE void depthwise_tiles(const Args& a) {
  for (std::int64_t pixel = 0, size; pixel < a.pixels; pixel += size) {
    size = even_tile<M>(a.pixels - pixel);
    depthwise_tile_of<I, M, T>(a, pixel, size);
  }
}

// True where taps come in rows of three that share what they read.
template <class Args>
SPNET_INLINE bool shares_rows(const Args& a) {
  bool shared = a.tap_count > 0 && a.tap_count % 3 == 0;
  for (std::int64_t t = 0; shared && t < a.tap_count; ++t)
    shared = t % 3 == 0 || a.taps[t].offset == a.taps[t - 1].offset + a.x_step;
  return shared;
}

// kPixels at a time where rows are shared.
template <class I, int kPixels, class Args>
SPNET_INLINE void depthwise(const Args& a) {
  if (shares_rows(a)) return depthwise_tiles<I, kPixels, 3>(a);
  depthwise_tiles<I, 8, 1>(a);
}

// T taps of a vector of channels from c on, over all pixels.
template <class I, int T, class Move>
SPNET_INLINE void depthwise_grad_vector(const DepthwiseGradArgs& a, std::int64_t tap, std::int64_t c, const Move& move) {
  using V = typename I::Vector;
  float* const dw = a.dw + c / kBlock * a.dw_block + c % kBlock;
  const float* at[T];
  V sum[T];
  SPNET_UNROLL for (int t = 0; t < T; ++t) {
    at[t] = a.x + a.taps[tap + t].offset + c;
    AllLanes{}.load(sum[t], dw + a.taps[tap + t].weights);
  }
  for (std::int64_t row = 0; row < a.rows; ++row) {
    const float* dy = a.dy + row * a.dy_row + c;
    std::int64_t x = row * a.x_row;
    for (std::int64_t col = 0; col < a.cols; ++col, x += a.x_step, dy += a.dy_step) {
      V d;
      move.load(d, dy);
      SPNET_UNROLL for (int t = 0; t < T; ++t) {
        V v;
        move.load(v, at[t] + x);
        I::multiply_add(sum[t], v, d);
      }
    }
  }
  SPNET_UNROLL for (int t = 0; t < T; ++t) AllLanes{}.store(dw + a.taps[tap + t].weights, sum[t]);
}

template <class I, int T>
SPNET_INLINE void depthwise_grad_taps(const DepthwiseGradArgs& a, std::int64_t& tap) {
  for (; a.tap_count - tap >= T; tap += T) {
    std::int64_t c = 0;
    for (; c + I::kLanes <= a.channels; c += I::kLanes) depthwise_grad_vector<I, T>(a, tap, c, AllLanes{});
    if (c < a.channels) depthwise_grad_vector<I, T>(a, tap, c, FirstLanes{static_cast<std::size_t>(a.channels - c)});
  }
}

// P pixels of R rows of three taps that share what they read.
template <class I, int R, int P, class Move>
SPNET_INLINE void depthwise_grad_pixels(typename I::Vector (&sum)[3 * R], const float* const (&at)[R], std::int64_t x,
                                        std::int64_t x_step, const float* dy, std::int64_t dy_step, const Move& move) {
  using V = typename I::Vector;
  V d[P];
  SPNET_UNROLL for (int i = 0; i < P; ++i) move.load(d[i], dy + i * dy_step);
  SPNET_UNROLL for (int r = 0; r < R; ++r) {
    V v[P + 2];
    const float* const from = at[r] + x;
    SPNET_UNROLL for (int i = 0; i < P + 2; ++i) {
      move.load(v[i], from + i * x_step);
      hold(v[i]);
    }
    SPNET_UNROLL for (int i = 0; i < P; ++i) {
      SPNET_UNROLL for (int k = 0; k < 3; ++k) I::multiply_add(sum[3 * r + k], v[i + k], d[i]);
    }
  }
}

template <class I, int R, int P, class Move>
SPNET_INLINE void depthwise_grad_shared(const DepthwiseGradArgs& a, std::int64_t tap, std::int64_t c, const Move& move) {
  float* const dw = a.dw + c / kBlock * a.dw_block + c % kBlock;
  const float* at[R];
  typename I::Vector sum[3 * R];
  SPNET_UNROLL for (int t = 0; t < 3 * R; ++t) AllLanes{}.load(sum[t], dw + a.taps[tap + t].weights);
  for (std::int64_t row = 0; row < a.rows; ++row) {
    SPNET_UNROLL for (int r = 0; r < R; ++r) at[r] = a.x + row * a.x_row + a.taps[tap + 3 * r].offset + c;
    const float* dy = a.dy + row * a.dy_row + c;
    std::int64_t col = 0;
    for (; col + P <= a.cols; col += P)
      depthwise_grad_pixels<I, R, P>(sum, at, col * a.x_step, a.x_step, dy + col * a.dy_step, a.dy_step, move);
    for (; col < a.cols; ++col)
      depthwise_grad_pixels<I, R, 1>(sum, at, col * a.x_step, a.x_step, dy + col * a.dy_step, a.dy_step, move);
  }
  SPNET_UNROLL for (int t = 0; t < 3 * R; ++t) AllLanes{}.store(dw + a.taps[tap + t].weights, sum[t]);
}

template <class I, int R, int P>
SPNET_INLINE void depthwise_grad_rows(const DepthwiseGradArgs& a, std::int64_t& tap) {
  for (; a.tap_count - tap >= 3 * R; tap += 3 * R) {
    std::int64_t c = 0;
    for (; c + I::kLanes <= a.channels; c += I::kLanes) depthwise_grad_shared<I, R, P>(a, tap, c, AllLanes{});
    if (c < a.channels) depthwise_grad_shared<I, R, P>(a, tap, c, FirstLanes{static_cast<std::size_t>(a.channels - c)});
  }
}

// kPixels at a time where rows are shared.
template <class I, int kPixels>
SPNET_INLINE void depthwise_grad(const DepthwiseGradArgs& a) {
  std::int64_t tap = 0;
  if (shares_rows(a)) {
    depthwise_grad_rows<I, 3, kPixels>(a, tap);
    depthwise_grad_rows<I, 2, kPixels>(a, tap);
    depthwise_grad_rows<I, 1, kPixels>(a, tap);
    return;
  }
  depthwise_grad_taps<I, 9>(a, tap);
  depthwise_grad_taps<I, 6>(a, tap);
  depthwise_grad_taps<I, 4>(a, tap);
  depthwise_grad_taps<I, 2>(a, tap);
  depthwise_grad_taps<I, 1>(a, tap);
}

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
