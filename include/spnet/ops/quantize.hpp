// Codes: what a quantizer lowers a tensor to and what integer kernels run on, and the formulas that make them. Nothing
// here knows of gradients.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/elementwise.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {

/// Evenly spaced values: value = scale[c] · float(step·code − zero_point), the integers exact, one float product.
struct AffineCodes {
  Tensor<float> scale;    ///< [1], or one for each channel; finite and > 0
  std::int32_t step = 1;  ///< 2 where values lie symmetrically around zero without touching it, as ±1
  std::int32_t zero_point = 0;
  std::int32_t qmin = 0, qmax = 255;  ///< range of the codes, within 0..255
  int channel_axis = -1;              ///< axis of `scale`; −1: one scale for the tensor
};

/// Unevenly spaced values: value = table[code].
struct LutCodes {
  Tensor<float> table;  ///< [n], n ≤ 256
};

/// What codes stand for.
using CodeMap = std::variant<AffineCodes, LutCodes>;

/// A tensor as codes, and what they mean.
struct Quantized {
  Tensor<std::uint8_t> codes;
  CodeMap map;
};

namespace ops {

/// Throws ValueError or ShapeError, naming `op`, where the codes' map is not usable: for quantizers from outside.
inline void check_quantized(const Quantized& q, const char* op) {
  check<ValueError>(q.codes.defined(), op, ": the quantizer gave no codes");
  if (const auto* lut = std::get_if<LutCodes>(&q.map)) {
    check<ShapeError>(
        lut->table.defined() && lut->table.rank() == 1 && lut->table.size() >= 1 && lut->table.size() <= 256, op,
        ": a table of 1 to 256 values is expected");
    return;
  }
  const auto& affine = std::get<AffineCodes>(q.map);
  check<ValueError>(0 <= affine.qmin && affine.qmin <= affine.qmax && affine.qmax <= 255, op, ": codes from ",
                    affine.qmin, " to ", affine.qmax, " given, expected a range within 0..255");
  // int32 sums of integers, and their exact floats, need these.
  check<ValueError>(std::abs(affine.step) <= 256 && std::abs(affine.zero_point) <= 65536, op, ": step ", affine.step,
                    ", zero point ", affine.zero_point, " given, expected at most 256 and 65536");
  check<ShapeError>(affine.scale.defined(), op, ": the quantizer gave no scale");
  const std::int64_t channels = affine.channel_axis < 0 ? 1 : q.codes.dim(affine.channel_axis);
  check<ShapeError>(affine.scale.size() == channels, op, ": ", affine.scale.size(), " scales given, codes ",
                    q.codes.shape(), " with channel axis ", affine.channel_axis, " expect ", channels);
  affine.scale.for_each_offset([&](std::int64_t at) {
    const float s = affine.scale.data()[at];
    check<ValueError>(std::isfinite(s) && s > 0, op, ": scale ", s, " given, expected finite and > 0");
  });
}

/// What codes stand for, a range of them at a time.
class Decoder {
 public:
  /// For codes of `shape`. `map` has passed `check_quantized`.
  Decoder(const CodeMap& map, const Shape& shape) {
    if (const auto* lut = std::get_if<LutCodes>(&map)) {
      lut->table.copy_to(table_.emplace().data());
      return;
    }
    affine_ = std::get<AffineCodes>(map);
    affine_.scale = affine_.scale.contiguous();
    for (int i = affine_.channel_axis < 0 ? 0 : shape.index(affine_.channel_axis) + 1; i < shape.rank(); ++i)
      inner_ *= shape[i];
  }
  /// Writes the values of the `count` codes from number `begin` of all on.
  void operator()(const std::uint8_t* codes, std::int64_t begin, std::int64_t count, float* values) const {
    if (table_) {
      for (std::int64_t i = 0; i < count; ++i) values[i] = (*table_)[codes[i]];
      return;
    }
    for (std::int64_t at = 0, n; at < count; at += n) {
      const std::int64_t row = (begin + at) / inner_;
      n = std::min(count - at, (row + 1) * inner_ - begin - at);
      kernels::active().quantize.decode({codes + at, n, affine_.step, affine_.zero_point,
                                         affine_.scale.data()[row % affine_.scale.size()], values + at});
    }
  }
  /// Null for a table. Its scales lie in a row.
  const AffineCodes* map() const { return table_ ? nullptr : &affine_; }
  /// Whether every `row` codes, from the first on, have one scale.
  bool has_scale_of(std::int64_t row) const { return affine_.scale.size() == 1 || inner_ == row; }

 private:
  std::optional<std::array<float, 256>> table_;  // full, so that no code reads outside
  AffineCodes affine_;
  std::int64_t inner_ = 1;  // codes with one scale that follow each other
};

/// The values that the codes stand for. Throws as `check_quantized`.
inline Tensor<float> decode(const Quantized& q) {
  check_quantized(q, "decode");
  const Tensor<std::uint8_t> codes = q.codes.contiguous();
  Tensor<float> values(codes.shape());
  const Decoder decoder(q.map, codes.shape());
  parallel_ranges(codes.size(), kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
    decoder(codes.data() + begin, begin, end - begin, values.data() + begin);
  });
  return values;
}

namespace detail {

[[noreturn]] inline void throw_not_finite(const char* quantizer, const Tensor<float>& x) {
  std::int64_t at = 0;
  while (at < x.size() && std::isfinite(x.data()[at])) ++at;
  throw NumericError(message("quantize: ", quantizer, " got ", x.data()[at], " at element ", at, " of ", x.shape()));
}

// Runs `kernel(begin, end) → all finite` over x in chunks; throws NumericError where a value was not finite.
template <class Kernel>
void finite_ranges(const char* quantizer, const Tensor<float>& x, const Kernel& kernel) {
  std::atomic<bool> finite{true};
  parallel_ranges(x.size(), kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
    if (!kernel(begin, end)) finite.store(false, std::memory_order_relaxed);
  });
  if (!finite.load()) throw_not_finite(quantizer, x);
}

}  // namespace detail

// The formulas. Each throws NumericError, naming `quantizer`, the shape and the first element that is not finite.

/// code = round(clamp(x·factor, low, high)) − low, half to even, the product rounded to float first.
inline Tensor<std::uint8_t> uniform_codes(const char* quantizer, const Tensor<float>& x, float factor, int low,
                                          int high) {
  const Tensor<float> dense = x.contiguous();
  Tensor<std::uint8_t> codes(x.shape());
  std::uint8_t* to = codes.data();
  const auto kernel = kernels::active().quantize.uniform_codes;
  detail::finite_ranges(quantizer, dense, [&, from = dense.data()](std::int64_t begin, std::int64_t end) {
    return kernel({from + begin, end - begin, factor, static_cast<float>(low), static_cast<float>(high), to + begin});
  });
  return codes;
}

/// code = x > 0, or x ≥ 0 where `zero_is_positive`; they stand for ±scale: see `sign_map`.
inline Tensor<std::uint8_t> sign_codes(const char* quantizer, const Tensor<float>& x, bool zero_is_positive) {
  const Tensor<float> dense = x.contiguous();
  Tensor<std::uint8_t> codes(x.shape());
  std::uint8_t* to = codes.data();
  const auto kernel = kernels::active().quantize.sign_codes;
  detail::finite_ranges(quantizer, dense, [&, from = dense.data()](std::int64_t begin, std::int64_t end) {
    return kernel(from + begin, end - begin, zero_is_positive, to + begin);
  });
  return codes;
}

/// The form of codes that depend on their own element alone: code = round(clamp(x·factor, low, high)) − low, half to
/// even, or x > 0 where `sign`.
struct UniformForm {
  bool sign = false;
  float factor = 1;
  int low = 0, high = 1;

  Tensor<std::uint8_t> codes(const char* quantizer, const Tensor<float>& x) const {
    return sign ? sign_codes(quantizer, x, false) : uniform_codes(quantizer, x, factor, low, high);
  }
};

/// Codes {0, 1} as {−scale, +scale}.
inline AffineCodes sign_map(Tensor<float> scale, int channel_axis = -1) {
  return {.scale = std::move(scale), .step = 2, .zero_point = 1, .qmin = 0, .qmax = 1, .channel_axis = channel_axis};
}

/// Smallest and largest value of a tensor.
struct Extremes {
  float smallest = 0, largest = 0;
};

/// The extremes of |x|, or of x unless `absolute`; zeros for an empty tensor. x must be finite.
inline Extremes extremes(const Tensor<float>& x, bool absolute) {
  if (x.size() == 0) return {};
  const Tensor<float> dense = x.contiguous();
  const float* from = dense.data();
  const auto kernel = kernels::active().quantize.extremes;
  std::vector<Extremes, PoolAllocator<Extremes>> partial(
      static_cast<std::size_t>(chunk_count(x.size(), kElementwiseChunk)));
  parallel_ranges(x.size(), kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
    Extremes& p = partial[static_cast<std::size_t>(begin / kElementwiseChunk)];
    kernel(from + begin, end - begin, absolute, &p.smallest, &p.largest);
  });
  Extremes all = partial.front();
  for (const Extremes& p : partial) all = {std::min(all.smallest, p.smallest), std::max(all.largest, p.largest)};
  return all;
}
inline float max_abs(const Tensor<float>& x) { return extremes(x, true).largest; }

namespace detail {

inline void clamp_gradient(const Tensor<float>& gradient, const Tensor<float>& x, float low, float high,
                           Tensor<float>& dx, bool adds) {
  check<ShapeError>(gradient.shape() == x.shape(), "clamp_gradient: gradient ", gradient.shape(), ", input ",
                    x.shape());
  const Tensor<float> dense_gradient = gradient.contiguous(), dense_x = x.contiguous();
  const float *g = dense_gradient.data(), *at = dense_x.data();
  float* to = dx.span().data();
  const auto kernel = kernels::active().quantize.clamp_gradient;
  parallel_ranges(x.size(), kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
    kernel({g + begin, at + begin, low, high, to + begin, end - begin, adds});
  });
}

}  // namespace detail

/// The gradient where low ≤ x ≤ high, else 0. Written to `dx` where one is given (it may be `gradient`).
inline Tensor<float> clamp_gradient(const Tensor<float>& gradient, const Tensor<float>& x, float low, float high,
                                    Tensor<float> dx = {}) {
  if (!dx.defined()) dx = Tensor<float>(x.shape());
  detail::clamp_gradient(gradient, x, low, high, dx, false);
  return dx;
}
/// Adds the gradient where low ≤ x ≤ high to `sum`, row-major. Throws ShapeError on other shapes.
inline void add_clamped_gradient_(Tensor<float>& sum, const Tensor<float>& gradient, const Tensor<float>& x, float low,
                                  float high) {
  check<ShapeError>(sum.shape() == x.shape(), "add_clamped_gradient_: sum ", sum.shape(), ", input ", x.shape());
  detail::clamp_gradient(gradient, x, low, high, sum, true);
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
