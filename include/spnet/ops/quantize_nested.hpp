// One integer master of kMasterBits bits that serves every lower width by dropping bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "spnet/ops/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

inline constexpr int kMasterBits = 8;

/// clip(⌊master/2^Δ + ½⌋) to b bits, Δ = 8 − b, for a master in −128..127 and b in 1..8: Double Rounding
/// (arXiv 2502.01199), rounding half up so that b + 1 bit-planes decide.
constexpr int double_rounded(int master, int bits) {
  const int shift = kMasterBits - bits, half = shift > 0 ? 1 << (shift - 1) : 0, limit = 1 << (bits - 1);
  return std::clamp((master + half) >> shift, -limit, limit - 1);
}

/// clamp(⌊master/2^Δ⌋) to ±(2^(b−1) − 1), b in 2..8: Bit-Mixer (arXiv 2103.17267); b bit-planes decide.
constexpr int floor_nested(int master, int bits) {
  const int limit = (1 << (bits - 1)) - 1;
  return std::clamp(master >> (kMasterBits - bits), -limit, limit);
}

/// ⌊master/2^Δ⌋, b in 1..8; b bit-planes decide.
constexpr int prefix_nested(int master, int bits) { return master >> (kMasterBits - bits); }

/// codes = f(master − 128) + offset, element by element; masters are stored plus 128.
template <class F>
Tensor<std::uint8_t> from_master(const Tensor<std::uint8_t>& master, int offset, const F& f) {
  const Tensor<std::uint8_t> dense = master.contiguous();
  Tensor<std::uint8_t> codes(master.shape());
  const std::uint8_t* from = dense.data();
  std::uint8_t* to = codes.data();
  parallel_ranges(codes.size(), kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = static_cast<std::uint8_t>(f(from[i] - 128) + offset);
  });
  return codes;
}

/// Masters ⌊x·(1/scale)⌋ clamped to −128..127, plus 128; 1/scale and the product rounded to float. Throws NumericError
/// where x is not finite.
inline Tensor<std::uint8_t> floor_master(const char* quantizer, const Tensor<float>& x, float scale) {
  const Tensor<float> dense = x.contiguous();
  Tensor<std::uint8_t> codes(x.shape());
  std::uint8_t* to = codes.data();
  const float factor = 1.0f / scale;
  detail::finite_ranges(quantizer, dense, [&, from = dense.data()](std::int64_t begin, std::int64_t end) {
    bool finite = true;
    for (std::int64_t i = begin; i < end; ++i) {
      finite = finite && std::isfinite(from[i]);
      // The comparison keeps NaN from the conversion.
      const float v = from[i] * factor, low = v > -128.0f ? v : -128.0f;
      to[i] = static_cast<std::uint8_t>(static_cast<int>(std::floor(low < 127.0f ? low : 127.0f)) + 128);
    }
    return finite;
  });
  return codes;
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
