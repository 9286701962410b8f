// The fully connected layer as a convolution: rows [N,in] are images of one pixel, weights [out,in] kernels of one tap.
#pragma once

#include <utility>
#include <variant>

#include "spnet/ops/quantize.hpp"
#include "spnet/ops/sums.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

/// A matrix [rows,columns] as [rows,1,1,columns]; what has four axes stays as it is.
inline Shape as_images(const Shape& shape) {
  return shape.rank() == 2 ? Shape{shape[0], 1, 1, shape[1]} : shape;
}
template <class T>
Tensor<T> as_images(const Tensor<T>& x) {
  return x.rank() == 2 ? x.reshape(as_images(x.shape())) : x;
}
inline Quantized as_images(const Quantized& q) {
  if (q.codes.rank() != 2) return q;
  CodeMap map = q.map;
  if (auto* affine = std::get_if<AffineCodes>(&map); affine && affine->channel_axis == 1) affine->channel_axis = 3;
  return {as_images(q.codes), std::move(map)};
}
/// The same elements as `shape`; nothing else holds them if nothing did before.
template <class T>
Tensor<T> reshaped(Tensor<T>&& x, const Shape& shape) {
  if (x.shape() == shape) return std::move(x);
  return std::exchange(x, {}).reshape(shape);
}
inline Sums reshaped(Sums&& sums, const Shape& shape) {
  sums.sums = sums.sums.reshape(shape);
  return std::move(sums);
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
