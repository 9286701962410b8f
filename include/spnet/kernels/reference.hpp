// Plain loops for every element type: what double runs on, and the oracle of the fast kernels' tests.
#pragma once

#include <cstdint>

namespace spnet {
inline namespace v0 {
namespace kernels::reference {

/// Sizes of a convolution x [n,h,w,c] * w [o,kh,kw,c/groups] -> y [n,oh,ow,o].
struct ConvSizes {
  std::int64_t n, h, w, c;
  std::int64_t o, kh, kw;
  std::int64_t oh, ow;
  std::int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  std::int64_t groups;
};

/// Calls visit(y index, x index, w index) for every product of the convolution; sums of y run in (kh, kw, c) order.
template <class Visit>
void for_each_product(const ConvSizes& s, const Visit& visit) {
  const std::int64_t group_c = s.c / s.groups, group_o = s.o / s.groups;
  for (std::int64_t n = 0; n < s.n; ++n) {
    for (std::int64_t oy = 0; oy < s.oh; ++oy) {
      for (std::int64_t ox = 0; ox < s.ow; ++ox) {
        for (std::int64_t o = 0; o < s.o; ++o) {
          const std::int64_t y = ((n * s.oh + oy) * s.ow + ox) * s.o + o;
          for (std::int64_t ky = 0; ky < s.kh; ++ky) {
            const std::int64_t iy = oy * s.stride_h - s.pad_h + ky * s.dilation_h;
            if (iy < 0 || iy >= s.h) continue;
            for (std::int64_t kx = 0; kx < s.kw; ++kx) {
              const std::int64_t ix = ox * s.stride_w - s.pad_w + kx * s.dilation_w;
              if (ix < 0 || ix >= s.w) continue;
              const std::int64_t x = ((n * s.h + iy) * s.w + ix) * s.c + o / group_o * group_c;
              const std::int64_t w = ((o * s.kh + ky) * s.kw + kx) * group_c;
              for (std::int64_t c = 0; c < group_c; ++c) visit(y, x + c, w + c);
            }
          }
        }
      }
    }
  }
}

/// y += x * w; the caller zeroes y.
template <class T>
void conv2d(const ConvSizes& s, const T* x, const T* w, T* y) {
  for_each_product(s, [&](std::int64_t yi, std::int64_t xi, std::int64_t wi) { y[yi] += x[xi] * w[wi]; });
}

/// dx += the gradient with respect to x; the caller zeroes dx.
template <class T>
void conv2d_backward_data(const ConvSizes& s, const T* dy, const T* w, T* dx) {
  for_each_product(s, [&](std::int64_t yi, std::int64_t xi, std::int64_t wi) { dx[xi] += dy[yi] * w[wi]; });
}

/// dw += the gradient with respect to w; the caller zeroes dw.
template <class T>
void conv2d_backward_weight(const ConvSizes& s, const T* dy, const T* x, T* dw) {
  for_each_product(s, [&](std::int64_t yi, std::int64_t xi, std::int64_t wi) { dw[wi] += dy[yi] * x[xi]; });
}

/// c [m,n] = a [m,k] · b [k,n], where a row or column step of either operand may be anything.
template <class T>
void matmul(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t a_row, std::int64_t a_col,
            const T* b, std::int64_t b_row, std::int64_t b_col, T* c) {
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      T sum{};
      for (std::int64_t l = 0; l < k; ++l) sum += a[i * a_row + l * a_col] * b[l * b_row + j * b_col];
      c[i * n + j] = sum;
    }
  }
}

}  // namespace kernels::reference
}  // namespace v0
}  // namespace spnet
