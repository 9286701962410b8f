// How the scratch of a convolution is filled: floats from floats, or floats from codes. Positions count elements
// from the scratch's begin, and the image's own elements (or codes) from its begin.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_geometry.hpp"

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
  std::int64_t largest;  // of their magnitudes

  friend CodeSource operator+(const CodeSource& x, std::int64_t offset) {
    return {x.codes + offset, x.step, x.zero_point, x.largest};
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

/// Rows of one image as floats, without the first `skipped`.
struct ImageRows {
  const float* data;
  std::int64_t skipped;
};
/// What output rows [first, last) of all channels read: floats where they lie, or codes' values, for which `copy` has
/// room.
inline ImageRows read_rows(const Correlation&, const float* image, std::int64_t, std::int64_t, float*) {
  return {image, 0};
}
inline ImageRows read_rows(const Correlation& c, const CodeSource& image, std::int64_t first, std::int64_t last,
                           float* copy) {
  const auto [begin, end] = c.input_rows(first, last);
  const std::int64_t row = c.in_cols * c.in_step;
  kernels::active().quantize.decode(
      {image.codes + begin * row, (end - begin) * row, image.step, image.zero_point, 1.0f, copy});
  return {copy, begin};
}
/// Floats of the copy for `rows` output rows.
template <class Source>
std::int64_t copied_floats(const Correlation& c, std::int64_t rows) {
  return std::is_pointer_v<Source> ? 0 : c.most_input_rows(rows) * c.in_cols * c.in_step;
}

/// `count` values: floats where they lie, or codes' values, for which `copy` has room.
inline const float* read_row(const float* values, std::int64_t, float*) { return values; }
inline const float* read_row(const CodeSource& x, std::int64_t count, float* copy) {
  kernels::active().quantize.decode({x.codes, count, x.step, x.zero_point, 1.0f, copy});
  return copy;
}
/// Floats of that copy, whole cache lines.
template <class Source>
std::int64_t row_floats(std::int64_t count) {
  return std::is_pointer_v<Source> ? 0 : ceil_div(count, 16) * 16;
}

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
