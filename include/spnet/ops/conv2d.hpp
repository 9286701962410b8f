// Convolution of images in NHWC and its two gradients.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "spnet/core/memory.hpp"
#include "spnet/kernels/reference.hpp"
#include "spnet/ops/conv2d_correlate.hpp"
#include "spnet/ops/conv2d_depthwise.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_weight_grad.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

namespace detail {

inline bool is_depthwise(const ConvSizes& s) { return s.groups > 1 && s.groups == s.c && s.c == s.o; }

// All groups of a depthwise convolution at once.
inline Correlation depthwise(Correlation c, const ConvSizes& s) {
  c.channels = c.outputs = s.c;
  return c;
}

inline DepthwiseCorrelation depthwise_engine(const Correlation& c, const ConvSizes& s, const WeightSource& w) {
  const std::int64_t count = s.o * s.kh * s.kw;
  const Buffer scratch(w.memory() ? 0 : static_cast<std::size_t>(count) * sizeof(float));
  return DepthwiseCorrelation(depthwise(c, s), s.kh * s.kw, w.all(count, static_cast<float*>(scratch.data())));
}

// x is floats or a CodeSource.
template <class Source>
void conv2d(const ConvSizes& s, const Source& x, const WeightSource& w, float* y) {
  const Correlation c = forward_correlation(s);
  if (is_depthwise(s)) return depthwise_engine(c, s, w)(x, y);
  for (std::int64_t g = 0; g < s.groups; ++g)
    correlate_forward(c, x + g * c.channels, w + g * c.outputs * c.w_output, y + g * c.outputs);
}
inline void conv2d(const ConvSizes& s, const double* x, const double* w, double* y) {
  std::fill_n(y, s.n * s.oh * s.ow * s.o, 0.0);
  kernels::reference::conv2d(s, x, w, y);
}

/// Whether both gradients of a convolution read that of its output as one bf16 in place of each float.
inline bool reads_bf16_gradient(const ConvSizes& s) {
  const auto is_read_as_one = [](const Correlation& c) {
    const auto parts = bf16_parts(c, false);
    return parts && parts->first == 1;
  };
  if (is_depthwise(s)) return false;
  const Correlation forward = forward_correlation(s);
  return suits_bf16_weight_grad(forward) && is_read_as_one(forward) && is_read_as_one(backward_correlation(s));
}

// dy is floats, or bf16 where reads_bf16_gradient.
template <class Gradient>
void conv2d_backward_data(const ConvSizes& s, const Gradient* dy, const WeightSource& w, float* dx) {
  const Correlation c = backward_correlation(s);
  if constexpr (std::is_same_v<Gradient, float>) {
    if (is_depthwise(s)) return depthwise_engine(c, s, w)(dy, dx);
  }
  for (std::int64_t g = 0; g < s.groups; ++g)
    correlate_backward(c, dy + g * c.channels, w + g * c.channels * c.w_channel, dx + g * c.outputs);
}
inline void conv2d_backward_data(const ConvSizes& s, const double* dy, const double* w, double* dx) {
  std::fill_n(dx, s.n * s.h * s.w * s.c, 0.0);
  kernels::reference::conv2d_backward_data(s, dy, w, dx);
}

template <class Gradient, class Source>
void conv2d_backward_weight(const ConvSizes& s, const Gradient* dy, const Source& x, float* dw) {
  const Correlation c = forward_correlation(s);
  if constexpr (std::is_same_v<Gradient, float>) {
    if (is_depthwise(s)) return correlate_depthwise_grad(depthwise(c, s), s.kh * s.kw, dy, x, dw);
  }
  for (std::int64_t g = 0; g < s.groups; ++g)
    correlate_weight_grad(c, dy + g * c.outputs, x + g * c.channels, dw + g * c.outputs * c.w_output);
}
inline void conv2d_backward_weight(const ConvSizes& s, const double* dy, const double* x, double* dw) {
  std::fill_n(dw, s.o * s.kh * s.kw * (s.c / s.groups), 0.0);
  kernels::reference::conv2d_backward_weight(s, dy, x, dw);
}

}  // namespace detail

/// Cross-correlation x [N,H,W,C], w [O,kH,kW,C/groups] → y [N,H',W',O], H' = (H + 2·padding − dilation·(kH−1) − 1) /
/// stride + 1, rounded down. Double runs on plain loops; float on the fast kernels, 3×3 at stride 1 by Winograd's
/// filtering where it pays, where a value that is not finite spoils the outputs beside its own, too (see
/// allows_winograd), or on products of bf16 where float32_matmul_precision lets it. Throws ShapeError where shapes or
/// the kernel do not fit, ValueError where an option is out of range.
template <class T>
Tensor<T> conv2d(const Tensor<T>& x, const Tensor<T>& w, const Conv2dOptions& options = {}) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
  const detail::ConvSizes s = detail::conv_sizes("conv2d", x.shape(), w.shape(), options);
  Tensor<T> y(detail::output_shape(s));
  if (y.size() > 0) detail::conv2d(s, x.contiguous().data(), w.contiguous().data(), y.data());
  return y;
}

/// A convolution of floats, or of codes, with float weights that are packed once, for inputs of one shape. Calls may
/// come from several threads.
class PackedConv2d {
 public:
  /// For floats [N,H,W,C] = x_shape, or for codes of integers up to `largest`, as those of conv2d. Throws as conv2d.
  PackedConv2d(const Shape& x_shape, const Tensor<float>& w, const Conv2dOptions& options = {},
               std::optional<std::int64_t> largest = {})
      : PackedConv2d(x_shape, w.shape(), w.contiguous().data(), options, largest) {}
  /// The same for row-major weights of `w_shape`, which may go when this returns.
  PackedConv2d(const Shape& x_shape, const Shape& w_shape, const float* w, const Conv2dOptions& options = {},
               std::optional<std::int64_t> largest = {})
      : PackedConv2d(x_shape, w_shape, WeightReader(w), options, largest) {}
  /// The same for weights that are read now, a panel at a time.
  PackedConv2d(const Shape& x_shape, const Shape& w_shape, const WeightReader& w, const Conv2dOptions& options = {},
               std::optional<std::int64_t> largest = {})
      : x_shape_(x_shape), s_(detail::conv_sizes("conv2d", x_shape, w_shape, options)) {
    if (element_count(detail::output_shape(s_)) == 0) return;
    const detail::Correlation c = detail::forward_correlation(s_);
    if (detail::is_depthwise(s_)) {
      engines_.emplace_back(new detail::DepthwiseCorrelation(detail::depthwise_engine(c, s_, {w, 0})));
      return;
    }
    for (std::int64_t g = 0; g < s_.groups; ++g)
      engines_.push_back(detail::make_engine(c, {w, g * c.outputs * c.w_output}, largest));
  }
  /// Throws ShapeError where x has another shape.
  Tensor<float> operator()(const Tensor<float>& x) const {
    check<ShapeError>(x.shape() == x_shape_, "conv2d: input ", x.shape(), " given, the weights were packed for ",
                      x_shape_);
    Tensor<float> y(detail::output_shape(s_));
    (*this)(x.contiguous().data(), y.data());
    return y;
  }
  /// x, floats or a CodeSource, and y are row-major.
  template <class Source>
  void operator()(Source x, float* y, const detail::OutputConsumer& consume = {}) const {
    if (engines_.size() == 1) return (*engines_[0])(x, y, consume);
    std::int64_t channel = 0;
    detail::OutputConsumer of_group;
    if (consume)
      of_group = [&consume, &channel](const detail::OutputBlock& b) {
        consume({b.pixel, b.pixels, channel + b.channel, b.channels});
      };
    for (const auto& engine : engines_) {
      (*engine)(x, y, of_group);
      x = x + s_.c / s_.groups;
      y += s_.o / s_.groups;
      channel += s_.o / s_.groups;
    }
  }
  /// Of the packed weights.
  std::int64_t bytes() const {
    std::int64_t sum = 0;
    for (const auto& engine : engines_) sum += engine->bytes();
    return sum;
  }
  /// What it runs on, for reports.
  std::string kernel_name() const {
    return engines_.empty() ? "none" : message(kernels::active().name, ' ', engines_.front()->name());
  }

 private:
  Shape x_shape_;
  detail::ConvSizes s_;
  std::vector<std::unique_ptr<detail::FloatEngine>> engines_;  // of every group, or one for all
};

/// Whether the gradients of conv2d round that of its output to one bf16, so that nothing is lost where it comes as
/// such: see float32_matmul_precision. Throws as conv2d.
inline bool conv2d_reads_bf16_gradient(const Shape& x_shape, const Shape& w_shape, const Conv2dOptions& options = {}) {
  return detail::reads_bf16_gradient(detail::conv_sizes("conv2d", x_shape, w_shape, options));
}

/// What the gradients of a convolution of floats run on, for reports; as PackedConv2d::kernel_name. Throw as conv2d.
inline std::string conv2d_backward_data_kernel(const Shape& x_shape, const Shape& w_shape,
                                               const Conv2dOptions& options = {}) {
  const detail::ConvSizes s = detail::conv_sizes("conv2d_backward_data", x_shape, w_shape, options);
  const char* name = detail::is_depthwise(s) ? detail::DepthwiseCorrelation::name_of()
                                             : detail::backward_name(detail::backward_correlation(s));
  return message(kernels::active().name, ' ', name);
}
inline std::string conv2d_backward_weight_kernel(const Shape& x_shape, const Shape& w_shape,
                                                 const Conv2dOptions& options = {}) {
  const detail::ConvSizes s = detail::conv_sizes("conv2d_backward_weight", x_shape, w_shape, options);
  const char* name = detail::is_depthwise(s) ? detail::DepthwiseCorrelation::name_of()
                                             : detail::weight_grad_name(detail::forward_correlation(s));
  return message(kernels::active().name, ' ', name);
}

/// Gradient of conv2d with respect to x: grad [N,H',W',O], w [O,kH,kW,C/groups] → [N,H,W,C] = x_shape. `grad` may be
/// bf16 where w is float. Throws as conv2d.
template <class Gradient, class T>
Tensor<T> conv2d_backward_data(const Tensor<Gradient>& grad, const Tensor<T>& w, const Shape& x_shape,
                               const Conv2dOptions& options = {}) {
  static_assert((std::is_same_v<Gradient, T> && std::is_floating_point_v<T>) ||
                (std::is_same_v<Gradient, bf16> && std::is_same_v<T, float>));
  const detail::ConvSizes s = detail::conv_sizes("conv2d_backward_data", x_shape, w.shape(), options);
  check<ShapeError>(grad.shape() == detail::output_shape(s), "conv2d_backward_data: gradient ", grad.shape(),
                    " given, expected ", detail::output_shape(s));
  if constexpr (!std::is_same_v<Gradient, T>) {
    if (!detail::reads_bf16_gradient(s)) return conv2d_backward_data(grad.template to<T>(), w, x_shape, options);
  }
  Tensor<T> dx(x_shape);
  if (dx.size() > 0) detail::conv2d_backward_data(s, grad.contiguous().data(), w.contiguous().data(), dx.data());
  return dx;
}

/// Gradient of conv2d with respect to w: grad [N,H',W',O], x [N,H,W,C] → [O,kH,kW,C/groups] = w_shape. `grad` may be
/// bf16 where x is float. The same bits for any number of threads. Throws as conv2d.
template <class Gradient, class T>
Tensor<T> conv2d_backward_weight(const Tensor<Gradient>& grad, const Tensor<T>& x, const Shape& w_shape,
                                 const Conv2dOptions& options = {}) {
  static_assert((std::is_same_v<Gradient, T> && std::is_floating_point_v<T>) ||
                (std::is_same_v<Gradient, bf16> && std::is_same_v<T, float>));
  const detail::ConvSizes s = detail::conv_sizes("conv2d_backward_weight", x.shape(), w_shape, options);
  check<ShapeError>(grad.shape() == detail::output_shape(s), "conv2d_backward_weight: gradient ", grad.shape(),
                    " given, expected ", detail::output_shape(s));
  if constexpr (!std::is_same_v<Gradient, T>) {
    if (!detail::reads_bf16_gradient(s)) return conv2d_backward_weight(grad.template to<T>(), x, w_shape, options);
  }
  Tensor<T> dw(w_shape);
  if (grad.size() == 0) {
    dw.fill(T{});
  } else if (dw.size() > 0) {
    detail::conv2d_backward_weight(s, grad.contiguous().data(), x.contiguous().data(), dw.data());
  }
  return dw;
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
