// Convolution where one or both factors are codes.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <utility>
#include <variant>

#include "spnet/ops/conv2d.hpp"
#include "spnet/ops/conv2d_integer.hpp"
#include "spnet/ops/quantize.hpp"
#include "spnet/ops/sums.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

namespace detail {

/// One scale for all of x, evenly spaced.
inline const AffineCodes* as_source(const Quantized& x) {
  const auto* map = std::get_if<AffineCodes>(&x.map);
  return map && map->channel_axis < 0 ? map : nullptr;
}
inline CodeSource code_source(const Quantized& x, const AffineCodes& map) {
  return {x.codes.span().data(), map.step, map.zero_point};
}
// Few and small enough products are exact in float, too.
inline bool is_exact_in_float(const ConvSizes& s, const AffineCodes& x, const AffineCodes& w) {
  return s.kh * s.kw * (s.c / s.groups) * IntegerRange(x).largest() * IntegerRange(w).largest() < (std::int64_t{1} << 24);
}
inline void float_sums(const ConvSizes& s, const CodeSource& x, const std::uint8_t* w, const AffineCodes& w_map,
                       std::int32_t* y) {
  Tensor<float> weights({s.o, s.kh, s.kw, s.c / s.groups}), sums(output_shape(s));
  for (std::int64_t i = 0; i < weights.size(); ++i)
    weights.data()[i] = static_cast<float>(w_map.step * w[i] - w_map.zero_point);
  conv2d(s, x, weights.data(), sums.data());
  const float* from = sums.data();
  parallel_ranges(sums.size(), kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) y[i] = static_cast<std::int32_t>(from[i]);
  });
}

inline float scale_of(const AffineCodes& map) { return *map.scale.contiguous().data(); }

}  // namespace detail

/// Why `conv2d_sums` does not take x and w, null where it does. It takes evenly spaced codes, x [N,H,W,C] with one scale,
/// w [O,kH,kW,C/groups] with one or one for each output, integers of w within int16, and no sum that could pass int32.
inline const char* integer_form_obstacle(const Quantized& x, const Quantized& w) {
  const auto* x_map = detail::as_source(x);
  const auto* w_map = std::get_if<AffineCodes>(&w.map);
  if (!x_map) return "the input's codes are not evenly spaced with one scale";
  if (!w_map || w_map->channel_axis > 0) return "the weights' codes are not evenly spaced with one scale, or one for each output";
  if (w.codes.rank() != 4 || w.codes.size() == 0) return "the weights are not [O,kH,kW,C/groups], or empty";
  const detail::IntegerRange x_range(*x_map), w_range(*w_map);
  if (w_range.largest() > std::numeric_limits<std::int16_t>::max()) return "the weights' integers pass int16";
  const std::int64_t length = w.codes.size() / w.codes.dim(0);
  const std::int64_t most = std::numeric_limits<std::int32_t>::max() / std::max<std::int64_t>(length, 1);
  return x_range.largest() * w_range.largest() <= most ? nullptr : "sums of so many products could pass int32";
}
inline bool has_integer_form(const Quantized& x, const Quantized& w) { return !integer_form_obstacle(x, w); }

/// The kernel that conv2d_sums runs x and w on, for reports.
inline const char* integer_kernel_name(const Quantized& x, const Quantized& w) {
  return has_integer_form(x, w)
             ? detail::WeightForm::choose(std::get<AffineCodes>(x.map), std::get<AffineCodes>(w.map), w.codes.dim(3)).k.name
             : "none";
}

/// Where set true, conv2d_sums takes its sums from float kernels wherever those are exact, as simulated quantization does:
/// for tests and comparisons. The sums are the same.
inline std::atomic<bool>& simulates_in_float() {
  static std::atomic<bool> simulates{false};
  return simulates;
}

/// Convolution as conv2d, in integers: exact sums that stand for the values, the same on every instruction set. Throws
/// ValueError unless has_integer_form(x, w), and as conv2d.
inline Sums conv2d_sums(const Quantized& x, const Quantized& w, const Conv2dOptions& options = {}) {
  if (const char* obstacle = integer_form_obstacle(x, w))
    throw ValueError(message("conv2d: codes ", x.codes.shape(), " and ", w.codes.shape(), " have no integer form: ", obstacle));
  const detail::ConvSizes s = detail::conv_sizes("conv2d", x.codes.shape(), w.codes.shape(), options);
  const auto& x_map = std::get<AffineCodes>(x.map);
  const auto& w_map = std::get<AffineCodes>(w.map);
  Sums out{Tensor<std::int32_t>(detail::output_shape(s)), Tensor<float>({s.o})};
  const Tensor<float> w_scale = w_map.scale.contiguous();
  for (std::int64_t o = 0; o < s.o; ++o)
    out.scale(o) = detail::scale_of(x_map) * w_scale.data()[w_scale.size() == 1 ? 0 : o];
  if (out.sums.size() == 0) return out;
  const Tensor<std::uint8_t> x_codes = x.codes.contiguous(), w_codes = w.codes.contiguous();
  // Depthwise products have one channel each, which the integer kernels would waste.
  if ((detail::is_depthwise(s) || simulates_in_float()) && detail::is_exact_in_float(s, x_map, w_map)) {
    detail::float_sums(s, detail::code_source({x_codes, x_map}, x_map), w_codes.data(), w_map, out.sums.data());
    return out;
  }
  const detail::Correlation c = detail::forward_correlation(s);
  for (std::int64_t g = 0; g < s.groups; ++g) {
    const detail::IntegerCorrelation group(c, x_map, w_codes.data() + g * c.outputs * c.w_output, w_map);
    group(x_codes.data() + g * c.channels, out.sums.data() + g * c.outputs);
  }
  return out;
}

/// conv2d of the values of x with float weights. x is read as codes: no float copy of it is made. Throws as conv2d.
inline Tensor<float> conv2d(const Quantized& x, const Tensor<float>& w, const Conv2dOptions& options = {}) {
  const AffineCodes* map = detail::as_source(x);
  if (!map) return conv2d(decode(x), w, options);
  const detail::ConvSizes s = detail::conv_sizes("conv2d", x.codes.shape(), w.shape(), options);
  Tensor<float> y(detail::output_shape(s));
  if (y.size() == 0) return y;
  const Quantized dense{x.codes.contiguous(), x.map};
  const Tensor<float> scaled = affine(w, detail::scale_of(*map));
  detail::conv2d(s, detail::code_source(dense, *map), scaled.data(), y.data());
  return y;
}

/// conv2d_backward_weight with the values of x, which is read as codes. Throws as conv2d.
inline Tensor<float> conv2d_backward_weight(const Tensor<float>& grad, const Quantized& x, const Shape& w_shape,
                                            const Conv2dOptions& options = {}) {
  const AffineCodes* map = detail::as_source(x);
  if (!map) return conv2d_backward_weight(grad, decode(x), w_shape, options);
  const detail::ConvSizes s = detail::conv_sizes("conv2d_backward_weight", x.codes.shape(), w_shape, options);
  check<ShapeError>(grad.shape() == detail::output_shape(s), "conv2d_backward_weight: gradient ", grad.shape(),
                    " given, expected ", detail::output_shape(s));
  if (grad.size() == 0 || element_count(w_shape) == 0) return Tensor<float>::zeros(w_shape);
  Tensor<float> dw(w_shape);
  const Quantized dense{x.codes.contiguous(), x.map};
  detail::conv2d_backward_weight(s, grad.contiguous().data(), detail::code_source(dense, *map), dw.data());
  return affine(dw, detail::scale_of(*map));
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
