// bf16 kernels in plain C++, for every machine: the product's body with emulated vectors, and conversions one by one.
#pragma once

#include <cmath>
#include <cstring>

#include "spnet/core/bf16.hpp"
#include "spnet/kernels/bf16_body.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/float32_precision.hpp"

namespace portable {

using spnet::bf16;
using spnet::kernels::Bf16OrderArgs;
using spnet::kernels::Bf16ProductArgs;
using spnet::kernels::Bf16SplitArgs;

struct Pairs4 {
  static constexpr int kLanes = 4;
  typedef float Vector __attribute__((vector_size(16)));
  typedef std::uint32_t Pairs __attribute__((vector_size(16)));

  static void zero(Vector& v) { v = Vector{}; }
  static void load(Vector& v, const float* from) { std::memcpy(&v, from, sizeof v); }
  static void store(float* to, const Vector& v) { std::memcpy(to, &v, sizeof v); }
  static void add(Vector& sum, const Vector& v) { sum += v; }
  static void broadcast(Pairs& v, const std::uint16_t* from) {
    std::uint32_t pair;
    std::memcpy(&pair, from, sizeof pair);
    v = pair - Pairs{};
  }
  static void dot(Vector& sum, const Pairs& x, const Pairs& w) {
    sum += reinterpret_cast<Vector>(x << 16) * reinterpret_cast<Vector>(w << 16);
    sum += reinterpret_cast<Vector>(x >> 16 << 16) * reinterpret_cast<Vector>(w >> 16 << 16);
  }
};

inline void product(const Bf16ProductArgs& a) {
  if (a.width == 2 * Pairs4::kLanes) return spnet::kernels::body::bf16_tiles<Pairs4, 4, 2>(a);
  spnet::kernels::body::bf16_tiles<Pairs4, 5, 1>(a);
}

/// high and low of one float.
inline void split(float x, std::uint16_t* high, std::uint16_t* low, std::int64_t at) {
  const bf16 rounded(x);
  high[at] = rounded.bits;
  if (!low) return;
  const float left = x - static_cast<float>(rounded);
  low[at] = std::isfinite(left) ? bf16(left).bits : std::uint16_t{0};
}
inline void split(const Bf16SplitArgs& a) {
  for (std::int64_t p = 0; p < a.pixels; ++p)
    for (std::int64_t c = 0; c < (a.channels + 1) / 2 * 2; ++c)
      split(c < a.channels ? a.x[p * a.x_step + c] * (a.scale ? a.scale[c] : 1.0f) : 0.0f, a.high, a.low,
            p * a.step + c);
}
inline void interleave(const Bf16OrderArgs& a) {
  const std::int64_t first = a.leads ? 1 : 0;
  for (std::int64_t p = 0; p < (a.pixels + 1) / 2 * 2; ++p)
    for (std::int64_t c = 0; c < a.step; ++c)
      a.to[(p / 2 * a.step + c) * 2 + p % 2] =
          p >= first && p < a.pixels && c < a.channels ? a.x[(p - first) * a.x_step + c] : std::uint16_t{0};
}
inline void transpose(const Bf16OrderArgs& a) {
  for (std::int64_t p = 0; p < a.pixels; ++p)
    for (std::int64_t c = 0; c < a.channels; ++c) a.to[c * a.step + p] = a.x[p * a.x_step + c];
}

constexpr spnet::kernels::Bf16Kernels kKernels{"portable", 4, 8, split, interleave, transpose, product, 3};

/// The portable tier with these kernels.
inline const spnet::kernels::KernelTable& table() {
  static const spnet::kernels::KernelTable table = [] {
    spnet::kernels::KernelTable with_bf16 = spnet::kernels::find("simd");
    with_bf16.name = "simd with bf16";
    with_bf16.bf16 = kKernels;
    return with_bf16;
  }();
  return table;
}

/// Uses a table and a precision as long as it lives.
struct Setting {
  Setting(const spnet::kernels::KernelTable& table, spnet::ops::Float32Precision precision) {
    spnet::kernels::detail::forced() = &table;
    spnet::ops::float32_matmul_precision() = precision;
  }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;
  ~Setting() {
    spnet::kernels::force("");
    spnet::ops::float32_matmul_precision() = spnet::ops::Float32Precision::kHighest;
  }
};

}  // namespace portable
