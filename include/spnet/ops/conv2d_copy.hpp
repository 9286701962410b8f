// How the scratch of a convolution is filled: floats from floats, or floats from codes. Positions count elements
// from the scratch's begin, and the image's own elements (or codes) from its begin.
#pragma once

#include <algorithm>
#include <cstdint>

#include "spnet/kernels/dispatch.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

using kernels::kBlock;

struct FloatCopy {
  const kernels::ConvKernels& k;
  const float* x;
  float* to;

  void zero(std::int64_t at, std::int64_t count) const { std::fill_n(to + at, count, 0.0f); }
  void gather(std::int64_t from, std::int64_t step, std::int64_t pixels, std::int64_t channels, std::int64_t at,
              std::int64_t ahead) const {
    k.gather({x + from, step, pixels, channels, to + at, ahead});
  }
};

/// Codes that stand for the integers step·code − zero_point.
struct CodeSource {
  const std::uint8_t* codes;
  std::int32_t step, zero_point;

  friend CodeSource operator+(const CodeSource& x, std::int64_t offset) {
    return {x.codes + offset, x.step, x.zero_point};
  }
};

/// The integers that codes stand for, as floats.
struct ValueCopy {
  const kernels::CodeKernels& k;
  CodeSource x;
  float* to;

  void zero(std::int64_t at, std::int64_t count) const { std::fill_n(to + at, count, 0.0f); }
  void gather(std::int64_t from, std::int64_t step, std::int64_t pixels, std::int64_t channels, std::int64_t at,
              std::int64_t) const {
    k.gather_values({x.codes + from, step, pixels, channels, x.step, x.zero_point, to + at});
  }
};

inline FloatCopy copy_of(const float* x, float* to) { return {kernels::active().conv, x, to}; }
inline ValueCopy copy_of(const CodeSource& x, float* to) { return {kernels::active().codes, x, to}; }

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
