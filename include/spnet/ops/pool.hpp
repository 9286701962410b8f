// Pooling over height and width of [N,H,W,C], forward and adjoint, on plain tensors.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "spnet/core/parallel.hpp"
#include "spnet/ops/elementwise.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

struct Pool2dOptions {
  std::int64_t kernel = 2;         ///< height and width of the window, > 0
  std::int64_t stride = 0;         ///< 0: that of the kernel
  std::int64_t padding = 0;        ///< on every side, at most half the kernel
  bool count_include_pad = true;   ///< average over padded positions too, as PyTorch's default
};

namespace detail {

// Sizes of one pooling, and the window of an output position clipped to the input.
struct PoolGeometry {
  std::int64_t n, h, w, c, out_h, out_w, kernel, stride, padding;
  struct Range {
    std::int64_t begin, end;
    std::int64_t size() const { return end - begin; }
  };
  Range window(std::int64_t out, std::int64_t size) const {
    const std::int64_t begin = out * stride - padding;
    return {std::max<std::int64_t>(begin, 0), std::min(begin + kernel, size)};
  }
  // Elements under the window where padding counts but what lies beyond it does not.
  std::int64_t padded_length(std::int64_t out, std::int64_t size) const {
    const std::int64_t begin = out * stride - padding;
    return std::min(begin + kernel, size + padding) - begin;
  }
};

inline PoolGeometry pool_geometry(const char* op, const Shape& x, const Pool2dOptions& options) {
  check<ShapeError>(x.rank() == 4, op, ": input ", x, " given, expected [N,H,W,C]");
  const std::int64_t stride = options.stride == 0 ? options.kernel : options.stride;
  check<ValueError>(options.kernel > 0 && options.kernel <= 4096 && stride > 0, op, ": kernel ", options.kernel, ", stride ",
                    stride, " given, expected > 0 and kernels up to 4096");
  check<ValueError>(options.padding >= 0 && options.padding <= options.kernel / 2, op, ": padding ", options.padding,
                    " given, expected 0 to half the kernel of ", options.kernel);
  const auto out = [&](std::int64_t size) { return (size + 2 * options.padding - options.kernel) / stride + 1; };
  check<ShapeError>(x[1] + 2 * options.padding >= options.kernel && x[2] + 2 * options.padding >= options.kernel, op,
                    ": input ", x, " with padding ", options.padding, " is smaller than the kernel of ", options.kernel);
  return {x[0], x[1], x[2], x[3], out(x[1]), out(x[2]), options.kernel, stride, options.padding};
}

// An output position: its image, where its first channel lies, and its window.
template <class T>
struct PoolWindow {
  const T* image;
  std::int64_t out, out_y, out_x;
  PoolGeometry::Range ys, xs;

  // Calls call(position in the image) for all under it, in their order.
  template <class Call>
  void for_each_pixel(const PoolGeometry& s, const Call& call) const {
    for (std::int64_t y = ys.begin; y < ys.end; ++y)
      for (std::int64_t x = xs.begin; x < xs.end; ++x) call(y * s.w + x);
  }
};
// Calls call(PoolWindow) for every output position, on several threads. x is row-major.
template <class T, class Call>
void for_each_window(const PoolGeometry& s, const T* x, const Call& call) {
  parallel_for(s.n * s.out_h, [&](std::int64_t row) {
    const T* const image = x + row / s.out_h * s.h * s.w * s.c;
    const std::int64_t out_y = row % s.out_h;
    for (std::int64_t out_x = 0; out_x < s.out_w; ++out_x)
      call(PoolWindow<T>{image, (row * s.out_w + out_x) * s.c, out_y, out_x, s.window(out_y, s.h),
                         s.window(out_x, s.w)});
  });
}

// x and `value` are row-major.
template <class T>
void max_pool2d(const PoolGeometry& s, const T* x, T* value) {
  const auto maximum = elementwise_kernels<T>().maximum;
  for_each_window(s, x, [&](const PoolWindow<T>& window) {
    T* const best = value + window.out;
    std::copy_n(window.image + (window.ys.begin * s.w + window.xs.begin) * s.c, s.c, best);
    window.for_each_pixel(s, [&](std::int64_t at) { maximum(best, window.image + at * s.c, s.c); });
  });
}
// And which element of the image each is.
template <class T>
void max_pool2d(const PoolGeometry& s, const T* x, T* value, std::int32_t* index) {
  for_each_window(s, x, [&](const PoolWindow<T>& window) {
    T* const best = value + window.out;
    std::int32_t* const which = index + window.out;
    const std::int64_t first = window.ys.begin * s.w + window.xs.begin;
    std::copy_n(window.image + first * s.c, s.c, best);
    std::fill_n(which, s.c, static_cast<std::int32_t>(first));
    window.for_each_pixel(s, [&](std::int64_t at) {
      const T* const v = window.image + at * s.c;
      for (std::int64_t c = 0; c < s.c; ++c) {
        const bool wins = v[c] > best[c] || (std::isnan(v[c]) && !std::isnan(best[c]));
        best[c] = wins ? v[c] : best[c];
        which[c] = wins ? static_cast<std::int32_t>(at) : which[c];
      }
    });
  });
}
template <class T>
void avg_pool2d(const PoolGeometry& s, bool count_include_pad, const T* x, T* value) {
  for_each_window(s, x, [&](const PoolWindow<T>& window) {
    T* const sum = value + window.out;
    std::fill_n(sum, s.c, T{});
    window.for_each_pixel(s, [&](std::int64_t at) {
      for (std::int64_t c = 0; c < s.c; ++c) sum[c] += window.image[at * s.c + c];
    });
    const std::int64_t count = count_include_pad
                                   ? s.padded_length(window.out_y, s.h) * s.padded_length(window.out_x, s.w)
                                   : window.ys.size() * window.xs.size();
    for (std::int64_t c = 0; c < s.c; ++c) sum[c] /= static_cast<T>(count);
  });
}
// x [n,pixels,channels] → [n,channels].
template <class T>
void global_avg_pool2d(std::int64_t images, std::int64_t pixels, std::int64_t channels, const T* x, T* value) {
  parallel_for(images, [&](std::int64_t n) {
    T* sum = value + n * channels;
    std::fill_n(sum, channels, T{});
    for (std::int64_t p = 0; p < pixels; ++p)
      for (std::int64_t c = 0; c < channels; ++c) sum[c] += x[(n * pixels + p) * channels + c];
    for (std::int64_t c = 0; c < channels; ++c) sum[c] /= static_cast<T>(pixels);
  });
}

}  // namespace detail

/// The maxima and, for the adjoint, which element of the image each is (row·W + column).
template <class T>
struct MaxPool2dResult {
  Tensor<T> value;
  Tensor<std::int32_t> index;
};

/// Largest element of every window, the first of equals; NaN counts as largest. x [N,H,W,C] → [N,H',W',C].
/// Padding never wins. Throws ShapeError or ValueError on sizes that do not fit.
template <class T>
MaxPool2dResult<T> max_pool2d(const Tensor<T>& x, const Pool2dOptions& options) {
  const auto s = detail::pool_geometry("max_pool2d", x.shape(), options);
  check<ShapeError>(s.h * s.w <= std::numeric_limits<std::int32_t>::max(), "max_pool2d: image ", s.h, "×", s.w,
                    " is too large");
  const Tensor<T> dense = x.contiguous();
  const Shape shape{s.n, s.out_h, s.out_w, s.c};
  MaxPool2dResult<T> out{Tensor<T>(shape), Tensor<std::int32_t>(shape)};
  detail::max_pool2d(s, dense.data(), out.value.data(), out.index.data());
  return out;
}

/// Adds every gradient to the element that `index` names. gradient [N,H',W',C] → x_shape [N,H,W,C]. Expects `index` and shapes
/// as max_pool2d gave them for x_shape, and so below: none is checked again.
template <class T>
Tensor<T> max_pool2d_backward(const Tensor<T>& gradient, const Tensor<std::int32_t>& index, const Shape& x_shape) {
  const Tensor<T> dense = gradient.contiguous();
  Tensor<T> dx(x_shape);
  const std::int64_t image = x_shape[1] * x_shape[2] * x_shape[3], channels = x_shape[3];
  const std::int64_t outputs = x_shape[0] ? gradient.size() / x_shape[0] : 0;
  const T* from = dense.data();
  const std::int32_t* which = index.data();
  T* to = dx.data();
  // Windows may overlap: one image belongs to one thread.
  parallel_for(x_shape[0], [&](std::int64_t n) {
    std::fill_n(to + n * image, image, T{});
    for (std::int64_t i = 0; i < outputs; i += channels)
      for (std::int64_t c = 0; c < channels; ++c)
        to[n * image + which[n * outputs + i + c] * channels + c] += from[n * outputs + i + c];
  });
  return dx;
}

/// Mean of every window. x [N,H,W,C] → [N,H',W',C]. Throws ShapeError or ValueError on sizes that do not fit.
template <class T>
Tensor<T> avg_pool2d(const Tensor<T>& x, const Pool2dOptions& options) {
  const auto s = detail::pool_geometry("avg_pool2d", x.shape(), options);
  const Tensor<T> dense = x.contiguous();
  Tensor<T> out({s.n, s.out_h, s.out_w, s.c});
  detail::avg_pool2d(s, options.count_include_pad, dense.data(), out.data());
  return out;
}

/// Spreads every gradient evenly over its window. gradient [N,H',W',C] → x_shape [N,H,W,C].
template <class T>
Tensor<T> avg_pool2d_backward(const Tensor<T>& gradient, const Shape& x_shape, const Pool2dOptions& options) {
  const auto s = detail::pool_geometry("avg_pool2d", x_shape, options);
  const Tensor<T> dense = gradient.contiguous();
  Tensor<T> dx = Tensor<T>::zeros(x_shape);
  const T* from = dense.data();
  T* to = dx.data();
  parallel_for(s.n, [&](std::int64_t n) {
    T* image = to + n * s.h * s.w * s.c;
    for (std::int64_t oy = 0; oy < s.out_h; ++oy) {
      const auto ys = s.window(oy, s.h);
      for (std::int64_t ox = 0; ox < s.out_w; ++ox) {
        const auto xs = s.window(ox, s.w);
        const T* g = from + ((n * s.out_h + oy) * s.out_w + ox) * s.c;
        const std::int64_t count = options.count_include_pad ? s.padded_length(oy, s.h) * s.padded_length(ox, s.w)
                                                             : (ys.end - ys.begin) * (xs.end - xs.begin);
        for (std::int64_t y = ys.begin; y < ys.end; ++y)
          for (std::int64_t i = xs.begin * s.c; i < xs.end * s.c; i += s.c)
            for (std::int64_t c = 0; c < s.c; ++c) image[y * s.w * s.c + i + c] += g[c] / static_cast<T>(count);
      }
    }
  });
  return dx;
}

/// Mean over height and width. x [N,H,W,C] → [N,C]. Throws ShapeError on another rank or an empty image.
template <class T>
Tensor<T> global_avg_pool2d(const Tensor<T>& x) {
  check<ShapeError>(x.rank() == 4 && x.dim(1) * x.dim(2) > 0, "global_avg_pool2d: input ", x.shape(),
                    " given, expected [N,H,W,C] with pixels");
  const Tensor<T> dense = x.contiguous();
  Tensor<T> out({x.dim(0), x.dim(3)});
  detail::global_avg_pool2d(x.dim(0), x.dim(1) * x.dim(2), x.dim(3), dense.data(), out.data());
  return out;
}

/// Spreads every gradient evenly over its image. gradient [N,C] → x_shape [N,H,W,C].
template <class T>
Tensor<T> global_avg_pool2d_backward(const Tensor<T>& gradient, const Shape& x_shape) {
  const Tensor<T> dense = gradient.contiguous();
  Tensor<T> dx(x_shape);
  const std::int64_t pixels = x_shape[1] * x_shape[2], channels = x_shape[3];
  const T* from = dense.data();
  T* to = dx.data();
  parallel_for(x_shape[0], [&](std::int64_t n) {
    T* image = to + n * pixels * channels;
    for (std::int64_t c = 0; c < channels; ++c) image[c] = from[n * channels + c] / static_cast<T>(pixels);
    for (std::int64_t p = 1; p < pixels; ++p) std::copy_n(image, channels, image + p * channels);
  });
  return dx;
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
