// Convolution where one or both factors are codes.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "spnet/ops/conv2d.hpp"
#include "spnet/ops/conv2d_depthwise_codes.hpp"
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
  return {x.codes.span().data(), map.step, map.zero_point, IntegerRange(map).largest()};
}
inline float scale_of(const AffineCodes& map) { return *map.scale.contiguous().data(); }
/// What the codes' integers alone stand for.
inline AffineCodes without_scale(AffineCodes map) {
  map.scale = Tensor<float>::ones({1});
  map.channel_axis = -1;
  return map;
}
/// That of every output's weights, which have one scale, or one for each output.
inline Tensor<float> output_scales(const AffineCodes& w, std::int64_t outputs) {
  const Tensor<float> of_map = w.scale.contiguous();
  Tensor<float> scales({outputs});
  for (std::int64_t o = 0; o < outputs; ++o) scales(o) = of_map.data()[of_map.size() == 1 ? 0 : o];
  return scales;
}

}  // namespace detail

/// Why codes of `x` and w have no integer form, null where they do: they are evenly spaced, those of x [N,H,W,C] with
/// one scale, w [O,kH,kW,C/groups] with one or one for each output, integers of w within int16, and no sum can pass
/// int32.
inline const char* integer_form_obstacle(const AffineCodes& x, const CodeMap& w, const Shape& w_shape) {
  const auto* w_map = std::get_if<AffineCodes>(&w);
  if (x.channel_axis >= 0) return "the input's codes have more than one scale";
  if (!w_map || w_map->channel_axis > 0)
    return "the weights' codes are not evenly spaced with one scale, or one for each output";
  if (w_shape.rank() != 4 || element_count(w_shape) == 0) return "the weights are not [O,kH,kW,C/groups], or empty";
  const detail::IntegerRange x_range(x), w_range(*w_map);
  if (w_range.largest() > std::numeric_limits<std::int16_t>::max()) return "the weights' integers pass int16";
  const std::int64_t length = element_count(w_shape) / w_shape[0];
  const std::int64_t most = std::numeric_limits<std::int32_t>::max() / std::max<std::int64_t>(length, 1);
  return x_range.largest() * w_range.largest() <= most ? nullptr : "sums of so many products could pass int32";
}
inline const char* integer_form_obstacle(const AffineCodes& x, const Quantized& w) {
  return integer_form_obstacle(x, w.map, w.codes.shape());
}
inline bool has_integer_form(const Quantized& x, const Quantized& w) {
  const auto* x_map = std::get_if<AffineCodes>(&x.map);
  return x_map && !integer_form_obstacle(*x_map, w);
}

namespace detail {

/// Codes as weights, times `factor` where there is one. Throws as check_quantized.
struct CodedWeights {
  explicit CodedWeights(const Quantized& w, std::optional<float> factor = {})
      : codes(w.codes.contiguous()),
        reader(codes_in_memory(codes.span().data()), (check_quantized(w, "conv2d"), w.map), codes.shape(), factor) {}

  Tensor<std::uint8_t> codes;  // which the reader reads: it allocates nothing
  WeightReader reader;
};

// conv2d of codes' integers with floats.
inline Tensor<float> conv2d_of_codes(const Quantized& x, const AffineCodes& map, const Shape& w_shape,
                                     const WeightReader& w, const Conv2dOptions& options) {
  const ConvSizes s = conv_sizes("conv2d", x.codes.shape(), w_shape, options);
  Tensor<float> y(output_shape(s));
  if (y.size() == 0) return y;
  const Quantized dense{x.codes.contiguous(), x.map};
  conv2d(s, code_source(dense, map), w, y.data());
  return y;
}

}  // namespace detail

/// conv2d of the values of x with float weights, as that of floats. x is read as codes: no float copy of all of it is
/// made. Throws as conv2d.
inline Tensor<float> conv2d(const Quantized& x, const Tensor<float>& w, const Conv2dOptions& options = {}) {
  const AffineCodes* map = detail::as_source(x);
  if (!map) return conv2d(decode(x), w, options);
  const Tensor<float> dense = w.contiguous();
  return detail::conv2d_of_codes(x, *map, w.shape(), WeightReader(dense.span().data(), detail::scale_of(*map)),
                                 options);
}
/// conv2d of floats with the values of w, which are decoded a panel at a time, depthwise at once. Throws as conv2d.
inline Tensor<float> conv2d(const Tensor<float>& x, const Quantized& w, const Conv2dOptions& options = {}) {
  const detail::ConvSizes s = detail::conv_sizes("conv2d", x.shape(), w.codes.shape(), options);
  Tensor<float> y(detail::output_shape(s));
  if (y.size() > 0) detail::conv2d(s, x.contiguous().data(), detail::CodedWeights(w).reader, y.data());
  return y;
}
/// The same where both are codes, multiplied as floats.
inline Tensor<float> conv2d(const Quantized& x, const Quantized& w, const Conv2dOptions& options = {}) {
  const AffineCodes* map = detail::as_source(x);
  if (!map) return conv2d(decode(x), w, options);
  return detail::conv2d_of_codes(x, *map, w.codes.shape(), detail::CodedWeights(w, detail::scale_of(*map)).reader,
                                 options);
}

/// The same where w are codes, whose integers are multiplied: those of several scales ask for a gradient that takes the
/// scales before it is rounded.
inline bool conv2d_reads_bf16_gradient(const Shape& x_shape, const Quantized& w, const Conv2dOptions& options = {}) {
  const auto* map = std::get_if<AffineCodes>(&w.map);
  return (!map || map->scale.size() == 1) && conv2d_reads_bf16_gradient(x_shape, w.codes.shape(), options);
}

/// Gradient of conv2d with respect to x, of the values of w, codes, which are decoded a panel at a time; `grad` is float
/// or bf16. On products of bf16 the weights are the codes' integers, which are exact there; one scale multiplies the
/// result, several the gradient. Throws as conv2d.
template <class Gradient>
Tensor<float> conv2d_backward_data(const Tensor<Gradient>& grad, const Quantized& w, const Shape& x_shape,
                                   const Conv2dOptions& options = {}) {
  const detail::ConvSizes s = detail::conv_sizes("conv2d_backward_data", x_shape, w.codes.shape(), options);
  check<ShapeError>(grad.shape() == detail::output_shape(s), "conv2d_backward_data: gradient ", grad.shape(),
                    " given, expected ", detail::output_shape(s));
  if constexpr (std::is_same_v<Gradient, bf16>) {
    if (!conv2d_reads_bf16_gradient(x_shape, w, options))
      return conv2d_backward_data(grad.template to<float>(), w, x_shape, options);
  }
  Tensor<float> dx(x_shape);
  if (dx.size() == 0) return dx;
  const Tensor<Gradient> g = grad.contiguous();
  const auto* map = std::get_if<AffineCodes>(&w.map);
  const bool is_exact =
      map && map->channel_axis <= 0 && detail::is_exact_in_bf16({nullptr, 1, 0, detail::IntegerRange(*map).largest()});
  const detail::Correlation c = detail::backward_correlation(s);
  const auto parts = detail::bf16_parts(c, false, is_exact);
  if (!is_exact || !parts || detail::is_depthwise(s)) {
    detail::conv2d_backward_data(s, g.data(), detail::CodedWeights(w).reader, dx.data());
    return dx;
  }
  const Tensor<float> scale = detail::output_scales(*map, s.o);
  const bool has_one_scale = map->scale.size() == 1;
  const detail::CodedWeights integers({w.codes, detail::without_scale(*map)});
  for (std::int64_t i = 0; i < s.groups; ++i)
    detail::Bf16Correlation(c, {integers.reader, i * c.channels * c.w_channel}, *parts,
                            has_one_scale ? nullptr : scale.data() + i * c.channels,
                            has_one_scale ? scale(0) : 1.0f)(g.data() + i * c.channels, dx.data() + i * c.outputs);
  return dx;
}

/// What sums of products of these codes stand for, [outputs]: see Sums. w has one scale, or one for each output.
inline Tensor<float> sums_scale(const AffineCodes& x, const AffineCodes& w, std::int64_t outputs) {
  Tensor<float> scale = detail::output_scales(w, outputs);
  for (float& value : scale.span()) value = detail::scale_of(x) * value;
  return scale;
}

/// A convolution of codes whose weights are packed once, for inputs of one shape. Calls may come from several threads.
class PackedCodesConv2d {
 public:
  /// For inputs x [N,H,W,C] of the codes `x_map`. Throws as conv2d_sums.
  PackedCodesConv2d(const Shape& x_shape, const AffineCodes& x_map, const Quantized& w,
                    const Conv2dOptions& options = {}, CodesProduct product = CodesProduct::kFastest)
      : PackedCodesConv2d(x_shape, x_map, w.codes.shape(), w.map, codes_in_memory(w.codes.contiguous().data()), options,
                          product) {}
  /// For weights of `w_shape` and `w` whose codes are read now, a panel at a time.
  PackedCodesConv2d(const Shape& x_shape, const AffineCodes& x_map, const Shape& w_shape, const CodeMap& w,
                    const CodesReader& codes, const Conv2dOptions& options = {},
                    CodesProduct product = CodesProduct::kFastest)
      : x_shape_(x_shape), x_map_(x_map) {
    if (const char* obstacle = integer_form_obstacle(x_map, w, w_shape))
      throw ValueError(message("conv2d: codes ", x_shape, " and ", w_shape, " have no integer form: ", obstacle));
    s_ = detail::conv_sizes("conv2d", x_shape, w_shape, options);
    const auto& w_map = std::get<AffineCodes>(w);
    const std::int64_t count = element_count(w_shape);
    largest_ = detail::largest_sum(x_map, w_map, count / s_.o);
    scale_ = sums_scale(x_map, w_map, s_.o);
    if (element_count(detail::output_shape(s_)) == 0) return;
    const detail::Correlation c = detail::forward_correlation(s_);
    if (detail::is_depthwise(s_) && detail::IntegerDepthwise::takes(x_map, w_map)) {
      const Buffer scratch(static_cast<std::size_t>(count + 8));
      depthwise_.emplace(detail::depthwise(c, s_), s_.kh * s_.kw, x_map,
                         codes(0, count, static_cast<std::uint8_t*>(scratch.data())), w_map);
      return;
    }
    const auto form = detail::WeightForm::choose(x_map, w_map, c, product);
    for (std::int64_t first = 0; first < count; first += c.outputs * c.w_output) {
      const auto of_group = [&codes, first](std::int64_t begin, std::int64_t n, std::uint8_t* scratch) {
        return codes(first + begin, n, scratch);
      };
      groups_.emplace_back(c, x_map, of_group, w_map, form);
    }
  }

  /// With the channels' totals where asked for. Throws ShapeError where x has another shape, ValueError where its codes
  /// have another map.
  Sums operator()(const Quantized& x, bool with_totals = false) const {
    check<ShapeError>(x.codes.shape() == x_shape_, "conv2d: input ", x.codes.shape(),
                      " given, the weights were packed for ", x_shape_);
    const AffineCodes* map = detail::as_source(x);
    check<ValueError>(map && map->step == x_map_.step && map->zero_point == x_map_.zero_point &&
                          map->qmin == x_map_.qmin && map->qmax == x_map_.qmax &&
                          detail::scale_of(*map) == detail::scale_of(x_map_),
                      "conv2d: the input's codes are not those that the weights were packed for");
    Sums out{Tensor<std::int32_t>(detail::output_shape(s_)), scale_, largest_};
    if (with_totals && out.sums.size() > 0) out.totals.resize(static_cast<std::size_t>(s_.o));
    ChannelTotal* totals = out.totals.data();
    const Tensor<std::uint8_t> codes = x.codes.contiguous();
    if (depthwise_) (*depthwise_)(codes.data(), out.sums.data(), largest_, totals);
    const std::uint8_t* from = codes.data();
    std::int32_t* to = out.sums.data();
    for (const detail::IntegerCorrelation& group : groups_) {
      group(from, to, with_totals ? totals : nullptr);
      from += s_.c / s_.groups;
      to += s_.o / s_.groups;
      if (with_totals) totals += s_.o / s_.groups;
    }
    return out;
  }

  /// Calls consume(detail::SumsBlock) for blocks that cover all sums of row-major codes x, from several threads at
  /// once, while a block is in the cache.
  template <class Consume>
  void for_each_block(const std::uint8_t* x, const Consume& consume) const {
    if (depthwise_) depthwise_->for_each_block(x, consume);
    std::int64_t channel = 0;
    for (const detail::IntegerCorrelation& group : groups_) {
      group.for_each_block(x, channel, consume);
      x += s_.c / s_.groups;
      channel += s_.o / s_.groups;
    }
  }
  /// Of the packed weights.
  std::int64_t bytes() const {
    std::int64_t sum = depthwise_ ? depthwise_->bytes() : 0;
    for (const detail::IntegerCorrelation& group : groups_) sum += group.bytes();
    return sum;
  }

  /// [O], of the sums.
  const Tensor<float>& scale() const { return scale_; }
  /// No sum's magnitude is larger.
  std::int64_t largest() const { return largest_; }
  /// What it runs on, for reports.
  std::string kernel_name() const {
    if (depthwise_) return message(kernels::active().name, " depthwise");
    return groups_.empty() ? "none" : groups_.front().kernel_name();
  }

 private:
  Shape x_shape_;
  AffineCodes x_map_;
  detail::ConvSizes s_{};
  Tensor<float> scale_;
  std::int64_t largest_ = 0;
  detail::PoolVector<detail::IntegerCorrelation> groups_;
  std::optional<detail::IntegerDepthwise> depthwise_;
};

/// Where set true, conv2d_sums takes its sums from float kernels wherever those are exact, as simulated quantization
/// does: for tests and comparisons. The sums are the same.
inline std::atomic<bool>& simulates_in_float() {
  static std::atomic<bool> simulates{false};
  return simulates;
}

namespace detail {

// Few and small enough products are exact in float, too.
inline bool is_exact_in_float(const AffineCodes& x, const Quantized& w) {
  return largest_sum(x, std::get<AffineCodes>(w.map), w.codes.size() / w.codes.dim(0)) < (std::int64_t{1} << 24);
}
inline Tensor<std::int32_t> simulated_sums(const Tensor<std::uint8_t>& x, const AffineCodes& x_map,
                                           const Tensor<std::uint8_t>& w, AffineCodes w_map,
                                           const Conv2dOptions& options) {
  w_map.scale = Tensor<float>::ones({1});
  w_map.channel_axis = -1;
  const Tensor<float> values = decode(Quantized{w, w_map});
  const ConvSizes s = conv_sizes("conv2d", x.shape(), w.shape(), options);
  const Correlation c = forward_correlation(s);
  Tensor<float> y(output_shape(s));
  const Tensor<std::uint8_t> dense = x.contiguous();
  const CodeSource from{dense.data(), x_map.step, x_map.zero_point, IntegerRange(x_map).largest()};
  for (std::int64_t g = 0; g < s.groups && y.size() > 0; ++g)  // plain sums: others round on the way
    ScratchCorrelation(c, values.data() + g * c.outputs * c.w_output, false)(from + g * c.channels,
                                                                             y.data() + g * c.outputs);
  return y.template to<std::int32_t>();
}

}  // namespace detail

/// Convolution as conv2d, in integers: exact sums that stand for the values, the same on every instruction set. Throws
/// ValueError unless has_integer_form(x, w), and as conv2d.
inline Sums conv2d_sums(const Quantized& x, const Quantized& w, const Conv2dOptions& options = {},
                        bool with_totals = false) {
  const auto* x_map = std::get_if<AffineCodes>(&x.map);
  check<ValueError>(x_map, "conv2d: codes ", x.codes.shape(), " and ", w.codes.shape(),
                    " have no integer form: the input's codes are not evenly spaced");
  const PackedCodesConv2d packed(x.codes.shape(), *x_map, w, options);
  if (!simulates_in_float() || !detail::is_exact_in_float(*x_map, w)) return packed(x, with_totals);
  return {detail::simulated_sums(x.codes, *x_map, w.codes, std::get<AffineCodes>(w.map), options), packed.scale(),
          packed.largest()};
}

/// conv2d_backward_weight with the values of x, which is read as codes; `grad` is float or bf16. Throws as conv2d.
template <class Gradient>
Tensor<float> conv2d_backward_weight(const Tensor<Gradient>& grad, const Quantized& x, const Shape& w_shape,
                                     const Conv2dOptions& options = {}) {
  static_assert(std::is_same_v<Gradient, float> || std::is_same_v<Gradient, bf16>);
  const AffineCodes* map = detail::as_source(x);
  if (!map) return conv2d_backward_weight(grad, decode(x), w_shape, options);
  const detail::ConvSizes s = detail::conv_sizes("conv2d_backward_weight", x.codes.shape(), w_shape, options);
  check<ShapeError>(grad.shape() == detail::output_shape(s), "conv2d_backward_weight: gradient ", grad.shape(),
                    " given, expected ", detail::output_shape(s));
  if constexpr (!std::is_same_v<Gradient, float>) {
    if (!detail::reads_bf16_gradient(s)) return conv2d_backward_weight(grad.template to<float>(), x, w_shape, options);
  }
  if (grad.size() == 0 || element_count(w_shape) == 0) return Tensor<float>::zeros(w_shape);
  Tensor<float> dw(w_shape);
  const Quantized dense{x.codes.contiguous(), x.map};
  detail::conv2d_backward_weight(s, grad.contiguous().data(), detail::code_source(dense, *map), dw.data());
  return affine(dw, detail::scale_of(*map));
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
