// The weight form of DoReFa: tanh, scaled by its largest magnitude, as codes around the middle.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "spnet/ops/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

/// The quantizers' tanh: the same bits on every machine, relative error below 3e-7.
inline Tensor<float> finite_tanh(const char* quantizer, const Tensor<float>& x) {
  const Tensor<float> dense = x.contiguous();
  Tensor<float> y(x.shape());
  float* to = y.data();
  const auto kernel = kernels::active().quantize.tanh;
  detail::finite_ranges(quantizer, dense, [&, from = dense.data()](std::int64_t begin, std::int64_t end) {
    return kernel(from + begin, to + begin, end - begin);
  });
  return y;
}

/// code = round((t/(2·max_abs) + ½)·levels), clamped to 0..levels, half to even: the weight form of DoReFa.
inline Tensor<std::uint8_t> centered_codes(const Tensor<float>& t, float max_abs, int levels) {
  const Tensor<float> dense = t.contiguous();
  Tensor<std::uint8_t> codes(t.shape());
  const float* from = dense.data();
  std::uint8_t* to = codes.data();
  const auto kernel = kernels::active().quantize.centered_codes;
  parallel_ranges(t.size(), kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
    kernel({from + begin, end - begin, 2 * max_abs, static_cast<float>(levels), to + begin});
  });
  return codes;
}

/// The gradient of t/max|t|, t = tanh(x), w.r.t. x: through tanh and through the maximum, which shares its part evenly
/// among elements that attain it (as PyTorch's max does). Where all t are zero, the maximum counts as a constant 1.
/// Written to `dx` where one is given (it may be `gradient`).
inline Tensor<float> centered_gradient(const Tensor<float>& gradient, const Tensor<float>& t, Tensor<float> dx = {}) {
  check<ShapeError>(gradient.shape() == t.shape(), "centered_gradient: gradient ", gradient.shape(), ", tanh ",
                    t.shape());
  if (!dx.defined()) dx = Tensor<float>(t.shape());
  const Tensor<float> dense_gradient = gradient.contiguous(), dense_t = t.contiguous();
  const float most = max_abs(t), range = most > 0 ? most : 1.0f;
  kernels::CenteredGradientArgs all{dense_gradient.data(), dense_t.data(), t.size(), range, range, 0.0f,
                                    dx.span().data()};
  const auto chunk = [&](std::int64_t begin, std::int64_t end) {
    kernels::CenteredGradientArgs part = all;
    part.gradient += begin;
    part.t += begin;
    part.dx += begin;
    part.count = end - begin;
    return part;
  };
  const auto& k = kernels::active().quantize;
  struct Sums {
    double products, attained;
  };
  std::vector<Sums, PoolAllocator<Sums>> partial(static_cast<std::size_t>(chunk_count(t.size(), kElementwiseChunk)));
  parallel_ranges(t.size(), kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
    Sums& sums = partial[static_cast<std::size_t>(begin / kElementwiseChunk)];
    k.centered_sums(chunk(begin, end), &sums.products, &sums.attained);
  });
  Sums total{};
  for (const Sums& sums : partial) total = {total.products + sums.products, total.attained + sums.attained};
  if (total.attained > 0)
    all.to_range = static_cast<float>(-total.products / (static_cast<double>(range) * range) / total.attained);
  parallel_ranges(t.size(), kElementwiseChunk,
                  [&](std::int64_t begin, std::int64_t end) { k.centered_gradient(chunk(begin, end)); });
  return dx;
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
